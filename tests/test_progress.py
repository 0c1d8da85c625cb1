import pytest

from spelling_transfer.progress import progress_bar


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("counting", total=3, after_seconds=0.0) as advance:
        for _ in range(3):
            advance(1)
    assert capsys.readouterr() == ("", "")


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
