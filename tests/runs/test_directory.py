"""A run directory holds one run, which goes on only where it was asked to."""

import platform
import re
from dataclasses import dataclass, replace

import pytest

from lars_jax import InputError
from lars_jax.runs.directory import (
    can_resume,
    create_run_directory,
    default_directory,
    read_run,
)
from lars_jax.train.config import to_json
from lars_jax.train.record import write_json


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


def test_directory_has_a_date_and_a_name():
    found = default_directory("smoke").as_posix()
    assert re.fullmatch(r"runs/\d{8}-\d{6}-smoke", found)


def test_created_directory_is_read_back_with_its_environment(created):
    found = read_run(created)
    assert found.pop("environment")["python"] == platform.python_version()
    assert found == record()


def test_run_is_created_once(created):
    before = read_run(created)
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
    with pytest.raises(InputError, match="must be readable"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"config": {}}])
def test_record_of_something_else_is_no_run(tmp_path, content):
    write_json(tmp_path / "config.json", content)
    with pytest.raises(InputError, match="must hold the configuration of a run"):
        read_run(tmp_path)
