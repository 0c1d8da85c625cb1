"""Draws the five pipelines and what passes between them into README.md: ``python scripts/draw_study.py``.

Like the first view of ``kedro viz run``, with the pages, for a document that shows Mermaid.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from kedro.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
_BLOCK = re.compile(r"(?<=<!-- study -->\n)```mermaid\n.*?```\n", re.DOTALL)


def picture(pipelines: dict[str, Pipeline]) -> str:
    """Returns the Mermaid block.

    Args:
        pipelines: The project's pipelines by name, in the order in which they build on one another.
    """
    named = {name: pipeline for name, pipeline in pipelines.items() if name != "__default__"}
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"  {name}[{name.replace('_', ' ')}]" for name in named]
    for one, source in named.items():
        for other, target in named.items():
            if passed := sorted(source.all_outputs() & target.inputs()):
                lines.append(f'  {one} -- "{"<br/>".join(passed)}" --> {other}')
    for name, made in named.items():
        for page in sorted(each for each in made.all_outputs() if each.endswith("_page")):
            lines += [f"  {name} --> {page}([{page.replace('_', ' ')}])", f"  {page} --> summary_page"]
    lines.append("  summary_page([index page of the run])")
    gpu = [name for name, pipeline in named.items() if pipeline.only_nodes_with_tags("gpu").nodes]
    lines += ["  classDef gpu fill:#fff3e0,stroke:#ef6c00,color:#8a3c00", f"  class {','.join(gpu)} gpu"]
    return "\n".join([*lines, "```", ""])


def main() -> int:
    """Writes the picture; with ``--check`` only says whether the page has it."""
    from spelling_transfer.pipeline_registry import register_pipelines

    page = PAGE.read_text("utf-8")
    new = _BLOCK.sub(lambda _: picture(register_pipelines()), page)
    if "--check" in sys.argv[1:]:
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
