"""Studies: what is searched, how it is scored, how its trials are run."""
