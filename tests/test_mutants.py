"""Guards and their tests: with the guard broken, the guard's own test fails."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from bundle_fixtures import source  # noqa: F401 - a fixture
from tests.storage import test_runs as runs
from tests.storage.bundles import test_local_files as bundles
from tests.tasks import test_marking as reader

from spelling_transfer import files
from spelling_transfer.commands import tune
from spelling_transfer.models import folder as model_folder
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.storage.bundles import local_files
from spelling_transfer.storage.errors import BundleError
from spelling_transfer.tasks import base, marking, position
from spelling_transfer.tasks.registry import load_tasks

Patch = pytest.MonkeyPatch


def _passes_and_then_fails(test: Callable[[], object], break_it: Callable[[], object]) -> None:
    test()
    break_it()
    try:
        test()
    except (Exception, pytest.fail.Exception):
        return
    raise AssertionError("the test does not see that its guard is broken")


# -- bundles -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copies(source: Path, tmp_path: Path) -> Iterator[Path]:  # noqa: F811
    """Folders as runs leave them, a new one each time."""
    return (Path(shutil.copytree(source, tmp_path / f"copy-{number}")) for number in range(9))


def test_links_looked_at_before_the_filters_are_noticed(copies: Iterator[Path], monkeypatch: Patch) -> None:
    walk = local_files._walk

    def eager(folder: Path, root: Path, prefix: str = "") -> Iterator[tuple[str, Path, str | None]]:
        for name, path, problem in walk(folder, root, prefix):
            if problem:
                raise BundleError(f"{path}: {problem}. Leave it out with --exclude.")
            yield name, path, problem

    _passes_and_then_fails(
        lambda: bundles.test_what_cannot_travel_is_refused_where_it_is_needed_and_its_advice_helps(
            next(copies), "outside"
        ),
        lambda: monkeypatch.setattr(local_files, "_walk", eager),
    )


def test_a_link_to_a_library_s_cache_that_is_taken_along_is_noticed(copies: Iterator[Path], monkeypatch: Patch) -> None:
    _passes_and_then_fails(
        lambda: bundles.test_what_cannot_travel_and_is_not_needed_is_left_out_and_named(next(copies), "outside"),
        lambda: monkeypatch.setattr(local_files, "_problem_of_link", lambda _link, _root: None),
    )


@pytest.mark.parametrize("name", ["../up", "a/../../up"])
def test_a_name_that_leads_out_of_a_bundle_and_is_let_through_is_noticed(monkeypatch: Patch, name: str) -> None:
    _passes_and_then_fails(
        lambda: bundles.test_names_that_lead_out_or_cannot_be_kept_are_refused(name),
        lambda: monkeypatch.setattr(local_files, "_problem_of_name", lambda _name: None),
    )


# -- names that become paths -------------------------------------------------------------------------------------------


def _tune_refuses_a_study_named_two_dots() -> None:
    with pytest.raises(click.BadParameter, match="cannot name a study"):
        tune._check_name(None, None, "..")  # type: ignore[arg-type]


def test_a_rule_of_names_that_allows_two_dots_is_noticed(tmp_path: Path, monkeypatch: Patch) -> None:
    for check in (
        _tune_refuses_a_study_named_two_dots,
        lambda: runs.test_a_name_that_leads_elsewhere_is_refused(tmp_path, monkeypatch, ".."),
    ):
        with monkeypatch.context() as patch:
            _passes_and_then_fails(check, lambda patch=patch: patch.setattr(files, "NAME_PATTERN", r"^[\w.-]+$"))


# -- half downloads ----------------------------------------------------------------------------------------------------


def _half_a_download(folder: Path, *, short: bool) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    names = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: name for name in names}}))
    for name in names if short else names[:2]:
        (folder / name).write_bytes(weights[:-1] if short else weights)


@pytest.mark.parametrize(
    ("guard", "mutant", "short", "message"),
    [
        ("_check_weights", lambda _folder: None, False, "1 of 3 files of weights are missing"),
        ("_safetensors_bytes", lambda file: file.stat().st_size, True, "bytes of"),
    ],
)
def test_an_index_that_is_not_compared_with_the_files_is_noticed(
    tmp_path: Path, monkeypatch: Patch, guard: str, mutant: object, short: bool, message: str
) -> None:
    _half_a_download(tmp_path / "model", short=short)

    def check() -> None:
        with pytest.raises(ModelFolderError, match=message):
            ModelFolder.open(tmp_path / "model")

    _passes_and_then_fails(check, lambda: monkeypatch.setattr(model_folder, guard, mutant))


# -- the lenient reader ------------------------------------------------------------------------------------------------


def test_a_hedge_that_is_read_as_right_is_noticed(monkeypatch: Patch) -> None:
    _passes_and_then_fails(
        lambda: reader.test_a_hedge_is_never_read_as_the_answer("count"),
        lambda: monkeypatch.setattr(marking, "FRAME", marking.FRAME | marking._HEDGES),
    )


def test_a_hedge_that_is_also_the_word_and_read_as_right_is_noticed(monkeypatch: Patch) -> None:
    _passes_and_then_fails(
        lambda: reader.test_an_answer_and_the_word_asked_about_are_told_apart("length", "about", "", "about 5", ""),
        lambda: monkeypatch.setattr(marking, "_HEDGES", frozenset()),
    )


def test_a_bare_word_that_is_read_as_its_spelling_is_noticed(monkeypatch: Patch) -> None:
    _passes_and_then_fails(
        lambda: reader.test_answers_of_chatty_models_are_read(*reader.FIELD[2]),
        lambda: monkeypatch.setattr(base, "is_bare", lambda _output, _word: False),
    )


@pytest.mark.parametrize("output", ["The fourth letter of strawberry is r.", "The 4th letter is r.", "Letter 4: r"])
def test_another_place_s_answer_that_is_read_as_right_is_noticed(monkeypatch: Patch, output: str) -> None:
    task, echo = load_tasks()["position"], marking.echo_of
    template = next(template for template in task.templates if template.variant != "from_end")
    asked = task.make("strawberry", random.Random(0), template=template, argument="3")

    def check() -> None:
        assert asked.answer == "r"
        assert not task.mark(asked, output).lenient

    every_place = {"4", "4th", *marking._ORDINALS.split()}
    _passes_and_then_fails(
        check, lambda: monkeypatch.setattr(position, "echo_of", lambda asked: echo(asked) | every_place)
    )
