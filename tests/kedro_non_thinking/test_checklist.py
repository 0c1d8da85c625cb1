"""The checklist of a document: made from the rules, and written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from kedro_non_thinking.checklist import BEGIN, END, checklist, in_step, write_checklist
from kedro_non_thinking.errors import PolicyError
from kedro_non_thinking.policy import Policy


def test_every_rule_has_its_line_and_its_row(policy: Policy) -> None:
    text = checklist(policy)
    for rule_id, rule in policy.by_id.items():
        assert f"- [ ] {rule.check} (`{rule_id}`)" in text
        assert f"| `{rule_id}` | {rule.forbids} |" in text
    assert "There are none." in text


def test_a_full_disk_leaves_the_document_as_it_was(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    document = tmp_path / "policy.md"
    document.write_text(f"{BEGIN}\noutdated\n{END}\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PolicyError, match="cannot be written"):
            write_checklist(document, policy)
    assert document.read_text() == f"{BEGIN}\noutdated\n{END}\n"
    assert list(tmp_path.iterdir()) == [document]
    assert write_checklist(document, policy)
    assert document.read_text() == in_step(f"{BEGIN}\n{END}\n", policy)
    assert list(tmp_path.iterdir()) == [document]
