"""The tables of ``docs/training.md`` about a GPU, from the results that ``gpu.py`` wrote.

python benchmarks/gpu_tables.py benchmarks/results/h100.json            # prints them
python benchmarks/gpu_tables.py benchmarks/results/h100.json --write docs/training.md
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gpu_results import hundred_steps_s, read_results, slowest_in_medians

BEGIN, END = "<!-- gpu-tables: made by benchmarks/gpu_tables.py -->", "<!-- end of gpu-tables -->"
_SHOWN = ("torch", "transformers", "peft", "trl", "liger-kernel", "triton")


def main() -> None:
    """Prints the tables, or puts them between the markers of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file that gpu.py wrote")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    arguments = parser.parse_args()
    results = read_results(arguments.results)
    if not results["details"]:
        parser.error(f"{arguments.results}: no results there. Run benchmarks/gpu.py with --json {arguments.results}.")
    if arguments.write is None:
        print(render(results))
        return
    text = arguments.write.read_text()
    if BEGIN not in text or END not in text:
        parser.error(f"{arguments.write}: the lines '{BEGIN}' and '{END}' are not there.")
    arguments.write.write_text(replaced(text, render(results)))


def replaced(page: str, tables: str) -> str:
    """Returns a page with other tables between its markers."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}"


def between_markers(page: str) -> str | None:
    """Returns what stands between the markers of a page, or ``None`` where it has none."""
    if BEGIN not in page or END not in page:
        return None
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n")


def render(results: dict[str, Any]) -> str:
    """Returns the tables as Markdown."""
    details, versions = results["details"], results["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if versions.get(name))
    parts = [f"Device: {versions.get('device', 'unknown')}; {named}."]
    if versions.get("quick"):
        parts.append("**Made with `--quick`: a tiny model, which proves nothing.**")
    parts += [_training(details), _answers(details), _attention(details), _compared(results["rows"])]
    missing: dict[str, list[str]] = {}
    for each in [*results["failures"], *results["not_measured"]]:
        missing.setdefault(_why(each), []).append(f"{each['part']}, {each['contestant']}, {each['setting']}")
    parts += [f"Not measured ({why}): {'; '.join(names)}." for why, names in missing.items()]
    return "\n\n".join(part for part in parts if part)


def _why(entry: dict[str, Any]) -> str:
    why = entry["why"].strip() or "no reason given"
    return str(why.splitlines()[-1].removeprefix("not measured: ")[:120])


def _table(head: list[str], rows: list[list[str]], texts: int) -> str:
    if not rows:
        return ""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def _training(details: list[dict[str, Any]]) -> str:
    rows = [
        [
            each["setting"],
            each["contestant"],
            _number(each["examples_per_second"]),
            _number(each["median_ms"]),
            f"{each['peak_gb']:.1f}",
            f"{each['start_up_s']:.1f}",
            f"{slowest_in_medians(each):.1f}",
            f"{hundred_steps_s(each):.0f}" if each["part"] == "train-mission" else "",
        ]
        for each in details
        if each["part"].startswith(("train-", "small-"))
    ]
    head = ["examples a step", "trainer", "examples/s", "ms a step", "peak GB", "start-up s"]
    return _table([*head, "slowest step, medians", "100 steps, s"], rows, 2)


def _answers(details: list[dict[str, Any]]) -> str:
    rows = [
        [
            each["setting"],
            each["contestant"],
            _number(each["tokens_per_second"]),
            _number(each["decode_tokens_per_second"]) if "decode_tokens_per_second" in each else "",
            f"{each['seconds']:.2f}",
            f"{each['first_s']:.2f}",
            f"{each['peak_gb']:.1f}",
        ]
        for each in details
        if each["part"] == "generate"
    ]
    head = ["what", "generator", "tokens/s", "decoding alone", "seconds", "first call, s", "peak GB"]
    return _table(head, rows, 2)


def _attention(details: list[dict[str, Any]]) -> str:
    found = [each for each in details if each["part"] == "shapes"]
    if not found:
        return ""
    widths = [each["width"] for each in found[0]["widths"]]
    rows = [
        [each["contestant"], *(f"{_number(at['first_ms'])} / {at['steady_ms']:.2f}" for at in each["widths"])]
        for each in found
    ]
    return _table(["attention, ms first / then", *(f"{width} wide" for width in widths)], rows, 1)


def _compared(rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        return "" if value is None else _number(value) if isinstance(value, int | float) else str(value)

    shown = [
        [each["metric"], *(cell(each[name]) for name in ("peer_name", "ours", "peer", "unit", "ratio", "goal"))]
        for each in rows
    ]
    return _table(["metric", "peer", "ours", "peer's", "unit", "ratio", "goal"], shown, 2)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    main()
