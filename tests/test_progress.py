from __future__ import annotations

import re

import pytest

from spelling_transfer.progress import progress_bar


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("counting", total=3, after_seconds=0.0) as advance:
        for _ in range(3):
            advance(1)
    assert capsys.readouterr() == ("", "")


def test_a_log_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Counting [a]", total=1_500, line_every_seconds=0.0) as advance:
        advance.show(loss=0.25)
        advance(1_000)
        advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert re.fullmatch(r"Counting \[a\]: 1,000 of 1,500, 0 s left, loss 0\.250", first)
    assert last == "Counting [a]: 1,500 of 1,500, 0 s left, loss 0.250"


@pytest.mark.parametrize(("after_seconds", "drawn"), [(0.0, True), (60.0, False)])
def test_a_terminal_shows_a_bar_once_it_has_taken_long_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, after_seconds: float, drawn: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the stream for a terminal
    with progress_bar("counting", total=3, after_seconds=after_seconds) as advance:
        for _ in range(3):
            advance(1)
    assert ("counting" in capsys.readouterr().err) is drawn


def test_an_error_inside_ends_the_bar() -> None:
    with pytest.raises(ZeroDivisionError), progress_bar("counting", total=3, after_seconds=0.0) as advance:
        advance(1 // 0)
