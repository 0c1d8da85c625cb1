"""The commands: ``kedro run``, ``tune``, ``tokens``, ``bundle``, ``peek`` and others, one module per command.

`cli` names them and imports one when it is used. `project` is the one place for the project's folder, its environment,
its catalog and output for programs; `errors` turns an error that a user can fix into one message and an exit code.
"""
