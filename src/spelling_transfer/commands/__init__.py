"""What is typed: ``kedro run``, ``tune``, ``tokens``, ``bundle``, ``peek`` and ``doctor``, one module a command.

`cli` names them and imports one when it is used. `project` is the one place for the project's folder, its environment,
its catalog and output for programs; `errors` turns what a user can mend into one message and an exit code.
"""
