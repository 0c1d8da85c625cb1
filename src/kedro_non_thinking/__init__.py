"""Non-thinking mode as a guarantee, in any Kedro project.

Nothing in a project may make the model think, and what would is refused with rule, place and remedy.
Named in a project's ``HOOKS``, the hook stops a run before its first node; ``kedro policy`` checks files and endpoints.
The rules are in ``conf/base/policy.yml``; a project without that file gets those of ``default_policy.yml``.
The names below are for own code: the rules, the masks at the token, the scanner, the probe.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import PolicyError, PolicyFileError, PolicyViolationError

if TYPE_CHECKING:
    from .attempts import PROBE_QUESTION, ProbeCase, probe_cases
    from .datasets import judge_data
    from .hook import policy_hook
    from .judge import Judge
    from .logits import MlxThinkTokenMask, ThinkTokenMask, allowed_without
    from .policy import Policy, load_policy
    from .probe import ProbeReply, ProbeReport, ProbeResult, ask_endpoint, ask_model, run_probe
    from .run_checks import RunChecks, report_rows
    from .scanner.engine import scan_paths
    from .template import non_thinking_template
    from .text import TextRules

# Imported when it is asked for: every `kedro --help` imports this package.
_MODULES = {
    "Judge": "judge",
    "MlxThinkTokenMask": "logits",
    "PROBE_QUESTION": "attempts",
    "Policy": "policy",
    "ProbeCase": "attempts",
    "ProbeReply": "probe",
    "ProbeReport": "probe",
    "ProbeResult": "probe",
    "RunChecks": "run_checks",
    "TextRules": "text",
    "ThinkTokenMask": "logits",
    "allowed_without": "logits",
    "ask_endpoint": "probe",
    "ask_model": "probe",
    "judge_data": "datasets",
    "load_policy": "policy",
    "non_thinking_template": "template",
    "policy_hook": "hook",
    "probe_cases": "attempts",
    "report_rows": "run_checks",
    "run_probe": "probe",
    "scan_paths": "scanner.engine",
}

__all__ = [
    "PROBE_QUESTION",
    "Judge",
    "MlxThinkTokenMask",
    "Policy",
    "PolicyError",
    "PolicyFileError",
    "PolicyViolationError",
    "ProbeCase",
    "ProbeReply",
    "ProbeReport",
    "ProbeResult",
    "RunChecks",
    "TextRules",
    "ThinkTokenMask",
    "allowed_without",
    "ask_endpoint",
    "ask_model",
    "judge_data",
    "load_policy",
    "non_thinking_template",
    "policy_hook",
    "probe_cases",
    "report_rows",
    "run_probe",
    "scan_paths",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
