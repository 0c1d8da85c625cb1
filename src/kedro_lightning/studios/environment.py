"""The packages of a Studio: those of the run, in the same versions."""

from __future__ import annotations

import json
import shlex

from ..code import make_bundle, package_versions, project_distribution
from ..installed import INSTALLED_FILE, record
from .plugin import StudioContext

_CHECK = """
import importlib.metadata as m, json, sys
wanted = json.loads(sys.argv[1])
def here(name):
    try:
        return m.version(name).partition("+")[0]
    except m.PackageNotFoundError:
        return "missing"
other = [f"{n}: {here(n)} there, {v} here" for n, v in sorted(wanted.items()) if here(n) != v]
print("\\n".join(other))
sys.exit(1 if other else 0)
"""

_LIST = """
import importlib.metadata as m, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = m.version(name).partition("+")[0]
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class EnvironmentPlugin:
    """Installs the declared packages, or the direct dependencies of the project as they are here, and the variables."""

    def install(self, context: StudioContext) -> None:
        """Installs what is missing or of another version; where nothing is, pip does not run at all."""
        declared = context.environment.packages
        if declared:
            quoted = " ".join(shlex.quote(requirement) for requirement in declared)
            context.run(f"python -m pip install --quiet --disable-pip-version-check {quoted}")
        elif (wanted := self._wanted(context)) and not context.succeeds(_command(wanted)):
            quoted = " ".join(shlex.quote(f"{name}=={version}") for name, version in sorted(wanted.items()))
            context.run(f"python -m pip install --quiet --disable-pip-version-check {quoted}")
        name = project_distribution(context.project)
        if name and not context.succeeds(f"python -c 'import importlib.metadata as m; m.version(\"{name}\")'"):
            bundle = make_bundle(context.project, context.config.code)
            context.upload(bundle.content, bundle.place)
            folder = ".kedro-compute/project"
            context.run(
                f"mkdir -p {folder} && tar -xzf {bundle.place} -C {folder} && "
                f"python -m pip install --quiet --disable-pip-version-check --no-deps ./{folder}"
            )

    def configure(self, context: StudioContext) -> None:
        """Sets the variables and runs the commands of the start-up, each on its own."""
        if context.environment.variables:
            context.api.set_variables(context.studio, context.environment.variables)
        for command in context.environment.startup:
            context.run(command)

    def check(self, context: StudioContext) -> list[str]:
        """Compares the versions of the project's direct dependencies, and leaves word of them for later runs."""
        wanted = self._wanted(context)
        if not wanted:
            return []
        listed = context.run(f"python -c {shlex.quote(_LIST)} {shlex.quote(json.dumps(sorted(wanted)))}")
        context.upload(record(json.loads(listed.strip().splitlines()[-1]), context.project), INSTALLED_FILE)
        if context.environment.packages:
            return []  # chosen by hand: compared before each run (code.check_packages)
        output, code = context.api.run(context.studio, _command(wanted))
        return [f"packages: {line}" for line in output.splitlines() if line.strip()] if code else []

    def _wanted(self, context: StudioContext) -> dict[str, str]:
        return package_versions(project_distribution(context.project))


def _command(wanted: dict[str, str]) -> str:
    return f"python -c {shlex.quote(_CHECK)} {shlex.quote(json.dumps(wanted))}"
