"""What was found as Markdown documents for ``docs/``: their numbers are put in here, never typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from spelling_transfer.evaluation.plotted import ALL
from spelling_transfer.evaluation.strata import HELD_OUT
from spelling_transfer.pages import findings
from spelling_transfer.pages.names import arm_name
from spelling_transfer.pages.numbers import MISSING, duration, level, number, percent, points, span
from spelling_transfer.pages.page import templates
from spelling_transfer.pages.tokens import TokenFindings
from spelling_transfer.pages.verdict import describe_verdict
from spelling_transfer.statistics.importance import METHODS
from spelling_transfer.study.findings import StudyFindings
from spelling_transfer.tasks.arms import BASE

_BEST_TRIALS = 10
_STUDY = "## The study\n"
_SHOWN_WORDS = ("strawberry", "enough", "told", "june")


def write_study_document(found: StudyFindings) -> str:
    """Returns ``docs/tuning_results.md`` with the numbers of this study."""
    top = found.finished.sort_values(["selection_score", "number"], ascending=[False, True], kind="stable")
    return _render(
        "tuning_results.md.j2",
        found=found,
        words=findings,
        methods=METHODS,
        top=top.head(_BEST_TRIALS).to_dict("records"),
        changes=found.changes[found.changes["number"] == found.best["trial"]].to_dict("records"),
        importance=_importance_rows(found.importance),
        settings=found.settings_patterns.to_dict("records"),
        kinds=found.patterns[found.patterns["pattern"] != "setting"].to_dict("records"),
        control=found.confirmation["control"],
        seconds=found.seconds["seconds"],
    )


def with_answer(document: str, verdict: Mapping[str, Any], effects: pd.DataFrame) -> str:
    """Returns a study's document with what its evaluation answers before all else.

    Args:
        document: What ``write_study_document`` returned.
        verdict: ``verdict.json``.
        effects: ``arm_effects.csv``.
    """
    gates = [
        {**each, "arm": arm_name(each["arm"]), "reference": arm_name(each["reference"])}
        | {name: gate[name] for name in ("gate", "task", "needed", "passed")}
        for gate in verdict["gates"]
        for each in gate["comparisons"]
    ]
    main = effects[(effects["endpoint"] == HELD_OUT) & (effects["stratum"] == ALL) & (effects["reference"] == BASE)]
    main = main[main["difference"].notna()]
    rows = [{**row, "arm": arm_name(row["arm"])} for row in main.to_dict("records")]
    answer = _render(
        "study_answer.md.j2",
        lines=describe_verdict(verdict, effects),
        gates=gates,
        effects=rows,
        confidence=verdict["confidence"],
    )
    before, place, after = document.partition(_STUDY)
    return f"{before}{answer}{place}{after}"


def write_token_document(found: TokenFindings, word_tokens: pd.DataFrame) -> str:
    """Returns ``docs/qwen3_token_analysis.md`` with the numbers of this run."""
    return _render(
        "qwen3_token_analysis.md.j2",
        results=found,
        vocabulary=found.vocabulary,
        words=found.words,
        subset=found.subset,
        template=found.template,
        probe=found.probe,
        forms={form["form"]: form for form in found.words["forms"]},
        saving=found.savings[0],
        reference=found.savings[1],
        coverage=[row for row in found.coverage["coverage"] if row["rule"] == found.subset["rule"]],
        scripts=list(found.vocabulary["scripts"].items())[:12],
        examples={word: forms for word in _SHOWN_WORDS if (forms := _forms(word_tokens, word))},
    )


def _render(file: str, /, **values: Any) -> str:
    environment = templates(markdown=True)
    environment.filters |= {
        "percent": lambda share, digits=1: MISSING if pd.isna(share) else percent(share, digits),
        "level": level,
        "points": _points,
        "duration": duration,
        "count": lambda count: number(count, ","),
        "value": lambda value: number(value, ".3g") if isinstance(value, float) else str(value),
        "yaml": lambda data: yaml.safe_dump(data, sort_keys=False).rstrip(),
        "code": _code,
    }
    return environment.get_template(file).render(**values)


def _importance_rows(importance: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for setting, part in importance.groupby("setting", sort=False):
        by_method = part.set_index("method")
        rows.append({"setting": setting, **{method: dict(by_method.loc[method]) for method in METHODS}})
    return rows


def _points(difference: float, low: float | None = None, high: float | None = None) -> str:
    """Writes a difference of shares in points, with its interval where there is one."""
    interval = f" ({span(low, high)})" if low is not None and high is not None and pd.notna(low) else ""
    return f"{points(difference)}{interval}"


def _forms(word_tokens: pd.DataFrame, word: str) -> dict[str, str]:
    rows = word_tokens[word_tokens["word"] == word].set_index("form")["pieces"]
    return {str(form): _code(pieces) for form, pieces in rows.items()}


def _code(text: str) -> str:
    """Returns a text as inline code for Markdown: a leading space becomes ␣, a bar ·, a newline its escape."""
    shown = text.replace("\n", "\\n").replace("|", "·")
    return f"`{'␣' + shown[1:] if shown.startswith(' ') else shown}`"
