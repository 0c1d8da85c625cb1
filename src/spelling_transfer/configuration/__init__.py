"""What a run is told: the files of ``conf/``, its parameters, the defaults of the command line."""
