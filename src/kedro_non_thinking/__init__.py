"""Non-thinking mode as a guarantee: rules, a hook, a mask at the token, a scanner and a probe.

A Kedro plugin that imports nothing else of this project: copy the folder, name its two entry points (``kedro.hooks``
and ``kedro.project_commands``), and it works in any Kedro project. The rules are in ``conf/base/policy.yml``; a project
without that file gets the ones in ``default_policy.yml``.
"""
