"""A run directory holds one run, which goes on only where it was asked to."""

import re

import pytest

from lars_jax import InputError
from lars_jax.runs import claim, default_directory, goes_on, read_run
from lars_jax.train.record import write_json

CONFIG = {"model": {"depth": 20}, "seed": 0, "devices": 1}


def record():
    return {"preset": "smoke", "config": CONFIG, "environment": {}}


def asked(directory, resume, **changes):
    return goes_on(CONFIG | changes, directory, resume, placement=("devices",))


@pytest.fixture
def claimed(tmp_path):
    """Return the directory of a run."""
    directory = tmp_path / "deep" / "run"
    assert claim(directory, record) == ""
    return directory


def test_directory_has_a_date_and_a_name():
    found = default_directory("smoke").as_posix()
    assert re.fullmatch(r"runs/\d{8}-\d{6}-smoke", found)


def test_claimed_directory_is_read_back(claimed):
    assert read_run(claimed) == record()


def test_run_is_claimed_once(claimed):
    def never():
        raise AssertionError

    assert claim(claimed, never) == ""
    assert read_run(claimed) == record()


@pytest.mark.parametrize("resume", ["no", "if_any"])
def test_absent_run_begins_and_leaves_nothing_yet(tmp_path, resume):
    assert asked(tmp_path / "run", resume) == ""
    assert list(tmp_path.iterdir()) == []


def test_absent_run_cannot_go_on(tmp_path):
    with pytest.raises(InputError, match="--resume needs a run to go on with"):
        asked(tmp_path, "yes")


@pytest.mark.parametrize("resume", ["yes", "if_any"])
def test_same_run_goes_on_in_another_place(claimed, resume):
    assert asked(claimed, resume, devices=8) == "yes"


def test_same_run_is_not_begun_again(claimed):
    with pytest.raises(InputError, match="already holds this run: add --resume"):
        asked(claimed, "no")


@pytest.mark.parametrize("resume", ["no", "yes", "if_any"])
def test_another_configuration_is_refused_with_the_difference(claimed, resume):
    with pytest.raises(InputError, match=r"model\.depth: 20 -> 32; seed: 0 -> 1: undo"):
        asked(claimed, resume, model={"depth": 32}, seed=1)


def test_placement_is_that_of_the_top_alone(claimed):
    with pytest.raises(InputError, match="model.devices"):
        asked(claimed, "yes", model={"depth": 20, "devices": 2})


def test_directory_without_a_run_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="must be readable"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"config": {}}])
def test_record_of_something_else_is_no_run(tmp_path, content):
    write_json(tmp_path / "config.json", content)
    with pytest.raises(InputError, match="must hold the configuration of a run"):
        read_run(tmp_path)
