"""Studios, their files, and the store of secrets."""

from __future__ import annotations

import pytest

from kedro_lightning.errors import PlatformError
from kedro_lightning.platform.studios import StudiosApi


@pytest.mark.parametrize("before", ["value", "x" * 290], ids=["whole", "where the message is cut"])
def test_a_secret_in_an_answer_is_not_in_the_message(platform, connection, before: str) -> None:
    platform.fault(r"POST .*/secrets", status=422, body=f"{before} hunter2-secret is too short")
    with pytest.raises(PlatformError) as caught:
        StudiosApi(connection).store_secret("KEY", "hunter2-secret")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 400


def test_a_studio_is_made_once_although_the_answer_was_lost(platform, connection) -> None:
    platform.fault(r"POST .*/cloudspaces$", status=503, after=True)
    studio = StudiosApi(connection).create("spelling-tuning")
    assert [entry["id"] for entry in platform.world.studios.values()] == [studio.id]


def test_a_missing_file_of_a_studio_is_none_and_a_sent_one_comes_back(platform, connection, studio) -> None:
    api = StudiosApi(connection)
    platform.fault(r"POST .*/blobs$", status=503)
    api.upload(studio, b"\x00content", "folder/file")
    assert api.download(studio, "folder/file") == b"\x00content"
    assert api.download(studio, "folder/none") is None


def test_a_studio_moves_to_another_machine_and_keeps_its_files(platform, connection) -> None:
    api = StudiosApi(connection)
    studio = api.create("spelling-training")
    api.upload(studio, b"kept", "notes.txt")
    api.start(studio, "cpu-4")
    for machine in ("lit-t4-1", "lit-a100-1"):
        api.switch(studio, machine)
        found = api.find("spelling-training")
        assert found is not None
        assert found.machine == machine
    assert api.run(studio, "cat notes.txt") == ("kept", 0)


def test_all_studios_of_a_teamspace_are_found(platform, connection) -> None:
    platform.world.page = 2
    api = StudiosApi(connection)
    made = [api.create(f"studio-{number}").name for number in range(5)]
    assert [studio.name for studio in api.list()] == made
