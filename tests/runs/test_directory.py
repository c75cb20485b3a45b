"""A run directory holds one run, which goes on only where it was asked to."""

import contextlib
import platform
import re
from dataclasses import dataclass, replace

import pytest

from lars_jax import InputError
from lars_jax.runs.directory import (
    can_resume,
    create_run_directory,
    read_run,
    run_directory,
)
from lars_jax.train.config import to_json
from lars_jax.train.record import lock, write_json


@dataclass(frozen=True)
class Model:
    """A section with a field of the name of one outside."""

    depth: int = 20
    devices: int = 1


@dataclass(frozen=True)
class Config:
    """A run."""

    model: Model = Model()
    seed: int = 0
    devices: int = 1


def record(config=Config()):
    return {"preset": "smoke", "config": to_json(config)}


def asked(directory, resume, **changes):
    config = replace(Config(), **changes)
    return can_resume(config, directory, resume, placement=("devices",))


@pytest.fixture
def created(tmp_path):
    """Return the directory of a run."""
    directory = tmp_path / "deep" / "run"
    create_run_directory(directory, record())
    return directory


def test_directory_of_its_own_has_a_date_and_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with run_directory(None, "smoke") as found:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-smoke", found.as_posix())
        (found / "config.json").touch()
    assert found.is_dir()


def test_directories_of_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        found = {stack.enter_context(run_directory(None, "a")) for _ in range(5)}
        assert len(found) == 5
    assert list(tmp_path.iterdir()) == []


def test_directory_of_its_own_goes_away_where_only_a_lock_was_written(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with run_directory(None, "a") as found, lock(found):
        pass
    assert list(tmp_path.iterdir()) == []
    with run_directory(tmp_path / "b", "a") as found:
        found.mkdir()
        with lock(found):
            pass
    assert [path.name for path in found.iterdir()] == [".lock"]


def test_directory_that_was_asked_for_is_not_made(tmp_path):
    with run_directory(tmp_path / "run", "smoke") as found:
        assert found == tmp_path / "run"
    assert list(tmp_path.iterdir()) == []


def test_created_directory_is_read_back_with_its_environment(created):
    found = read_run(created)
    assert found.pop("environment")["python"] == platform.python_version()
    assert found == record()


def test_run_is_created_once(created):
    before = read_run(created)
    with pytest.raises(InputError, match="another run has begun in"):
        create_run_directory(created, record(Config(seed=9)))
    assert read_run(created) == before


@pytest.mark.parametrize("resume", ["no", "if_any"])
def test_absent_run_begins_and_leaves_nothing_yet(tmp_path, resume):
    assert not asked(tmp_path / "run", resume)
    assert list(tmp_path.iterdir()) == []


def test_absent_run_cannot_go_on(tmp_path):
    with pytest.raises(InputError, match="--resume needs a run to go on with"):
        asked(tmp_path, "yes")


@pytest.mark.parametrize("resume", ["yes", "if_any"])
def test_same_run_goes_on_in_another_place(created, resume):
    assert asked(created, resume, devices=8)


def test_same_run_is_not_begun_again(created):
    with pytest.raises(InputError, match="already holds this run: add --resume"):
        asked(created, "no")


@pytest.mark.parametrize("resume", ["no", "yes", "if_any"])
def test_another_configuration_is_refused_with_the_difference(created, resume):
    with pytest.raises(InputError, match=r"model\.depth: 20 -> 32; seed: 0 -> 1: undo"):
        asked(created, resume, model=Model(32), seed=1)


def test_placement_is_that_of_the_top_alone(created):
    with pytest.raises(InputError, match="model.devices"):
        asked(created, "yes", model=Model(devices=2))


def test_directory_without_a_run_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="has none: name one"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"config": {}}])
def test_record_of_something_else_is_no_run(tmp_path, content):
    write_json(tmp_path / "config.json", content)
    with pytest.raises(InputError, match="must hold the configuration of a run"):
        read_run(tmp_path)
