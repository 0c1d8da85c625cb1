"""How long commands take to answer, beside those of a bare Kedro project in the same environment: one table.

The bare project has one node that reads one table and writes another, both with pandas, and nothing else. What Kedro
has no command for, `peek` and `policy check`, stands beside `catalog describe-datasets`. Each command is a process of
its own; ours and Kedro's take turns, and the median counts. Half as long again as Kedro is the goal: a ratio of 0.667.
`policy check` reads every file of the repository, on all cores: where they are not free it takes longer.

    python benchmarks/commands.py --json benchmarks/results/commands.json
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmark_table import finish, parser_of, row

ROOT = Path(__file__).parents[1]
KEDRO = Path(sys.executable).with_name("kedro")
GOAL = round(1 / 1.5, 3)
_LISTED = ["catalog", "describe-datasets"]
COMMANDS = [
    (["--help"], ["--help"]),
    (["registry", "list"], ["registry", "list"]),
    (_LISTED, _LISTED),
    (["peek"], _LISTED),
    (["policy", "check"], _LISTED),
]
"""Ours, and Kedro's beside it."""

_BARE = {
    "pyproject.toml": (
        '[tool.kedro]\npackage_name = "bare"\nproject_name = "bare"\nkedro_init_version = "1.7.0"\nsource_dir = "src"\n'
    ),
    "src/bare/__init__.py": "",
    "src/bare/settings.py": "",
    "src/bare/nodes.py": (
        "import pandas as pd\n\n\ndef clean(companies: pd.DataFrame) -> pd.DataFrame:\n    return companies.dropna()\n"
    ),
    "src/bare/pipeline_registry.py": (
        "from kedro.pipeline import Pipeline, node\n\nfrom bare.nodes import clean\n\n\n"
        "def register_pipelines():\n"
        '    made = Pipeline([node(clean, "companies", "cleaned", name="clean")])\n'
        '    return {"__default__": made, "cleaning": made}\n'
    ),
    "conf/base/catalog.yml": (
        "companies: {type: pandas.CSVDataset, filepath: data/companies.csv}\n"
        "cleaned: {type: pandas.ParquetDataset, filepath: data/cleaned.parquet}\n"
    ),
    "conf/local/.gitkeep": "",
    "data/companies.csv": "name,employees\none,1\ntwo,\n",
}


def main() -> None:
    """Measures and prints the table; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "one round")
    parser.add_argument("--rounds", type=int, default=15, help="rounds; the median counts")
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="commands-benchmark-") as folder:
        rows = compare(make_bare(Path(folder)), 1 if arguments.quick else arguments.rounds)
    rows.append(row("load of the machine before and after", load_before, os.getloadavg()[0], "after"))
    finish(rows, arguments.json)


def compare(bare: Path, rounds: int) -> list[dict[str, Any]]:
    """Runs each command in turns with Kedro's. Of several rounds the first, which fills caches, does not count."""
    seconds: dict[int, tuple[list[float], list[float]]] = {place: ([], []) for place in range(len(COMMANDS))}
    for number in range(rounds + (rounds > 1)):
        for place, pair in enumerate(COMMANDS):
            for took, folder, command in zip(seconds[place], (ROOT, bare), pair, strict=True):
                took.append(measure(command, folder))
                if number == 0 and rounds > 1:
                    took.clear()
    return [
        row(
            f"kedro {' '.join(ours)}",
            statistics.median(seconds[place][0]),
            statistics.median(seconds[place][1]),
            f"bare project: kedro {' '.join(theirs)}",
            "s",
            goal=GOAL,
        )
        for place, (ours, theirs) in enumerate(COMMANDS)
    ]


def measure(arguments: list[str], folder: Path) -> float:
    """Returns the seconds that a command takes in a project."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KEDRO_ENV")}
    started = time.perf_counter()
    subprocess.run(
        [KEDRO, *arguments], cwd=folder, env={**environment, "DO_NOT_TRACK": "1"}, check=True, capture_output=True
    )
    return time.perf_counter() - started


def make_bare(folder: Path) -> Path:
    """Lays the bare project down."""
    for name, content in _BARE.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
