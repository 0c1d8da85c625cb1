"""Tasks from entry points."""

from importlib.metadata import EntryPoint

import pytest

from spelling_transfer.tasks import registry
from spelling_transfer.tasks.base import TaskError, WordTask, make_templates
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks


class Vowels(WordTask):
    """A task of the test's own."""

    name = "vowels"
    templates = make_templates("vowels", trained=["How many vowels does {word} have?"], held_out=[])

    def gold(self, word, argument, separator):
        return str(sum(letter in "aeiou" for letter in word))

    def read(self, asked, output):
        return output.strip() or None


class Glued(Vowels):
    templates = make_templates("vowels", trained=["How many vowels are in '{word}'?"], held_out=[])


class AllHeldOut(Vowels):
    templates = make_templates("vowels", trained=[], held_out=["Vowels of {word}?"])


@pytest.fixture
def entries(monkeypatch):
    """Replaces what is installed by a list of entry points."""
    found = []
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    load_tasks.cache_clear()
    yield found
    load_tasks.cache_clear()


def entry(name, target):
    return EntryPoint(name, f"{__name__}:{target}", registry.ENTRY_POINT_GROUP)


def test_the_package_registers_its_own_tasks_core_ones_first():
    assert list(load_tasks())[:3] == list(CORE_TASKS)
    assert set(load_tasks()) == {*CORE_TASKS, "reverse", "contains", "length", "first_last", "substitute"}


def test_a_class_is_enough(entries, monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.value.rpartition(":")[2]])
    entries.append(entry("vowels", "Vowels"))
    assert load_tasks()["vowels"].gold("straw", "", "") == "1"


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("other", "Vowels", "the two names must be equal"),
        ("vowels", "Missing", "cannot be loaded: KeyError"),
        ("vowels", "dict", "is not a task"),
        ("vowels", "Glued", "at its start or after a space"),
        ("vowels", "AllHeldOut", "at least one wording that is not held out"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said(entries, monkeypatch, name, target, message):
    names = {**globals(), "dict": dict}
    monkeypatch.setattr(EntryPoint, "load", lambda self: names[self.value.rpartition(":")[2]])
    entries.append(entry(name, target))
    with pytest.raises(TaskError, match=message):
        load_tasks()


def test_two_packages_cannot_give_the_same_name(entries, monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda self: Vowels)
    entries += [entry("vowels", "Vowels"), entry("vowels", "Again")]
    with pytest.raises(TaskError, match="takes the name of a task that is already there"):
        load_tasks()
