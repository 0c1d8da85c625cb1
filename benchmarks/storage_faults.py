"""Kills, cuts and damages transfers at random moments, and checks each time that what is visible is whole.

A round ends in an error if corrupt or partial data could be seen, if data was lost that the server had acknowledged, or
if a resumed transfer moved more than 10% more bytes than were missing (and 200 kB for the requests).

    python benchmarks/storage_faults.py --rounds 100 --json results.json
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmark_table import parser_of, row

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "platform"))

from fault_place import worst_ratio  # noqa: E402
from fault_rounds import FaultRounds, Outcome  # noqa: E402


def main() -> None:
    """Plays the rounds and prints what held; ``--json FILE`` also writes it. Ends with 1 if anything did not hold."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="one round of each fault")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="storage-faults-"))
    rounds = FaultRounds(place, arguments.seed, scale=2)
    outcomes: list[Outcome] = []
    failures: list[str] = []
    kinds = list(rounds.kinds)
    # Kills come twice as often as the faults that do not depend on the moment.
    order = kinds + [kind for kind in kinds if "killed" in kind]
    try:
        for number in range(len(kinds) if arguments.quick else arguments.rounds):
            kind = (kinds if arguments.quick else order)[number % len(kinds if arguments.quick else order)]
            try:
                outcome = rounds.run(kind)
            except Exception as error:  # noqa: BLE001 - whatever it is, the round has failed, and the next one counts, too
                failures.append(f"round {number + 1}, {kind}: {type(error).__name__}: {error}")
                print(f"{number + 1:>4} {kind:<34} FAILED {failures[-1]}", flush=True)
                continue
            outcomes.append(outcome)
            print(f"{number + 1:>4} {describe(outcome)}", flush=True)
    finally:
        rounds.close()
        shutil.rmtree(place, ignore_errors=True)
    rows = summarise(outcomes, failures)
    print(json.dumps(rows, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    raise SystemExit(1 if failures else 0)


def describe(outcome: Outcome) -> str:
    """Returns a round in one line."""
    line = f"{outcome.kind:<34} {'interrupted' if outcome.interrupted else 'done':<12} {outcome.seconds:5.1f} s"
    if outcome.missing_bytes is None:
        return line
    return f"{line} {outcome.missing_bytes:>11,} missing {outcome.moved_bytes:>11,} moved"


def summarise(outcomes: list[Outcome], failures: list[str]) -> list[dict[str, Any]]:
    """Returns the rows: how many rounds, how many held, and how much more than missing was moved at worst."""
    interrupted = Counter(outcome.kind for outcome in outcomes if outcome.interrupted)
    return [
        row("rounds of faults", len(outcomes) + len(failures), unit="rounds"),
        row("rounds in which the fault came before the end", sum(interrupted.values()), unit="rounds"),
        row("rounds with corrupt, partial or lost data, or too much sent", len(failures), unit="rounds", goal=0),
        row("bytes moved to bytes missing, at worst", round(worst_ratio(outcomes), 4), unit="ratio", goal=1.1),
    ]


if __name__ == "__main__":
    main()
