"""What the checks of the policy cost in processor seconds, beside what reading alone takes: one table from one run.

A folder of 5,000 files is checked as `kedro policy check` does, beside Python's own parsers, which only read them. A
table of 300,000 examples is checked as the hook does when a node saves one, beside writing it as Parquet.

    python benchmarks/policy.py --json results.json
"""

from __future__ import annotations

import ast
import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from benchmark_table import finish, parser_of, row

from kedro_non_thinking.datasets import judge_data
from kedro_non_thinking.judge import Judge
from kedro_non_thinking.policy import Policy, load_policy
from kedro_non_thinking.scanner.engine import scan_paths

FILES, ROWS = 5_000, 300_000
CORES = 2
LENGTH = 40
"""Tokens of an example."""
_BODY = "".join(
    f"\n\ndef function_{i}(first: int, second: str = 'word') -> dict[str, int]:\n"
    f'    """Counts the letters of word {i}.\n\n    Args:\n        first: Where to begin.\n    """\n'
    f"    values = [first + {i}, len(second) * {i}, {i} % 7]\n"
    "    return {letter: sum(values) for letter in second if letter not in 'xyz'}\n"
    for i in range(12)
)
_SETTINGS = "".join(f"section_{i}:\n  learning_rate: 0.{i}\n  names: [a, b, c]\n" for i in range(30))


def main() -> None:
    """Measures and prints the table; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "a fiftieth of it")
    arguments = parser.parse_args()
    part = 50 if arguments.quick else 1
    with tempfile.TemporaryDirectory(prefix="policy-benchmark-") as folder:
        rows = compare(Path(folder), load_policy(), FILES // part, ROWS // part)
    finish(rows, arguments.json)


def compare(folder: Path, policy: Policy, n_files: int, n_rows: int) -> list[dict[str, Any]]:
    """Checks files and a table in a folder, and reads or writes the same without a check."""
    tree, written = folder / "files", folder / "table.parquet"
    write_files(tree, n_files)
    scanned = spent(lambda: check_files(tree, policy)) / CORES
    parsed = spent(lambda: parse_files(tree)) / CORES
    frame, judge = make_examples(n_rows), Judge(policy)
    judged = spent(lambda: check_table(frame, judge))
    stored = spent(lambda: frame.to_parquet(written))
    return [
        row(f"{n_files:,} files, on {CORES} cores", scanned, parsed, "Python's parsers", "s"),
        row(f"{n_rows:,} examples", judged, stored, "to_parquet", "s"),
    ]


def spent(work: Callable[[], None]) -> float:
    """Returns the processor seconds that this process and its children need for some work."""
    before = os.times()
    work()
    return sum(os.times()[:4]) - sum(before[:4])


def check_files(folder: Path, policy: Policy) -> None:
    """Judges every file, on two processes."""
    if not scan_paths([folder], policy, folder, jobs=CORES).clean:
        raise RuntimeError("a file breaks the policy: what was measured is another thing")


def parse_files(folder: Path) -> None:
    """Reads every file with the parser of its form."""
    parsers = {".py": ast.parse, ".json": json.loads, ".yml": lambda text: yaml.load(text, yaml.CSafeLoader)}
    for file in folder.rglob("*.*"):
        parsers.get(file.suffix, str)(file.read_text(encoding="utf-8"))


def check_table(frame: pd.DataFrame, judge: Judge) -> None:
    """Judges a table of examples."""
    if list(judge_data(frame, judge)):
        raise RuntimeError("an example breaks the policy: what was measured is another thing")


def write_files(folder: Path, count: int) -> None:
    """Writes files as a project has them: modules of some hundred lines, of which every tenth speaks of thinking."""
    generator = random.Random(0)
    for number in range(count):
        target = folder / f"package_{number % 50}"
        target.mkdir(exist_ok=True, parents=True)
        kind = generator.choices(["py", "yml", "json", "md"], [70, 12, 8, 10])[0]
        mark = "enable_thinking: false" if number % 10 == 0 else "seed: 1"
        text = {
            "py": f"import json\n\nSETTINGS = '{mark}'\n{_BODY}",
            "yml": f"{mark}\n{_SETTINGS}",
            "json": json.dumps({"note": mark, "rows": [{"word": "thin", "n": i} for i in range(60)]}, indent=1),
            "md": f"# Title\n\n`{mark}`\n\n" + "Some words about letters and tokens.\n" * 60,
        }[kind]
        (target / f"file_{number}.{kind}").write_text(text, encoding="utf-8")


def make_examples(count: int) -> pd.DataFrame:
    """Returns examples of random tokens, each with the empty think block before its answer."""
    ids = np.random.default_rng(0).integers(0, 150_000, size=(count, LENGTH), dtype=np.int32)
    ids[:, 26:30] = load_policy().rules.think_token.prompt_end_ids
    return pd.DataFrame(
        {
            "question": [f"How many r are in word number {i} ?" for i in range(count)],
            "answer": ["s t r a w b e r r y"] * count,
            "template": ["spelling/03"] * count,
            "input_ids": list(ids),
            "label_start": np.full(count, 30, dtype=np.int32),
        }
    )


if __name__ == "__main__":
    main()
