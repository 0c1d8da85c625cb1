"""The platform, through the API layer of ``lightning-sdk``.

The SDK's own ``Job``, ``Studio`` and ``Teamspace`` classes are not used: a call of theirs that fails posts its
arguments, variables and secrets included, to the platform's command history, and their client repeats requests that
create things.
"""
