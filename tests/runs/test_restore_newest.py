"""The newest checkpoint that is whole is found; newer ones are moved away."""

import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.runs.restore import restore_newest
from lars_jax.train.checkpoint import Checkpoints


def state(value):
    return {"weights": jnp.full(1000, value, jnp.float32), "step": jnp.int32(value)}


def opened(directory):
    return Checkpoints(directory / "checkpoints", best=lambda m: m.get("score"))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Return a directory with three checkpoints; never write to it."""
    directory = tmp_path_factory.mktemp("saved")
    checkpoints = opened(directory)
    for step in (1, 2, 3):
        checkpoints.save(step, state(step), {"score": 1.0 / step})
    checkpoints.close()
    return directory


@pytest.fixture
def saved(three, tmp_path):
    """Return a copy of the three checkpoints, of which some may be broken."""
    shutil.copytree(three, tmp_path, dirs_exist_ok=True)
    checkpoints = opened(tmp_path)
    yield checkpoints
    checkpoints.close()


def break_steps(directory: Path, *steps):
    for step in steps:
        for path in (directory / "checkpoints" / str(step)).rglob("d/*"):
            path.write_bytes(b"")


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    checkpoints = opened(tmp_path)
    assert restore_newest(checkpoints, state(0)) is None
    checkpoints.close()


@pytest.mark.parametrize(
    ("broken", "restored"), [((), 3), ((3,), 2), ((2, 3), 1), ((1, 2), 3)]
)
def test_broken_ones_that_are_newer_are_set_aside(
    saved, tmp_path, capfd, broken, restored
):
    break_steps(tmp_path, *broken)
    step, found = restore_newest(saved, state(0)) or pytest.fail("none found")
    assert (step, int(found["step"])) == (restored, restored)
    np.testing.assert_array_equal(found["weights"], state(restored)["weights"])
    newer = [step for step in broken if step > restored]
    said = capfd.readouterr().err
    assert said.count("\n") == len(newer)
    for moved in newer:
        place = tmp_path / f"broken-checkpoint-{moved}"
        assert place.is_dir()
        assert f"moved it to {place}" in said
    # What was set aside no longer stops a later save of the same step.
    saved.save(3, state(30), {"score": 1.0})
    saved.wait()
    assert int(saved.restore(3, state(0))["step"]) == (30 if newer else 3)


def test_what_is_set_aside_can_be_kept_quiet(saved, tmp_path, capfd):
    break_steps(tmp_path, 3)
    step, _ = restore_newest(saved, state(0), verbose=False) or pytest.fail("none")
    assert (step, capfd.readouterr().err) == (2, "")
    assert (tmp_path / "broken-checkpoint-3").is_dir()


def test_none_that_fits_is_an_error_and_moves_nothing(saved, tmp_path):
    other = {"weights": jnp.zeros(7), "step": jnp.int32(0)}
    with pytest.raises(InputError, match="be of the same model"):
        restore_newest(saved, other)
    break_steps(tmp_path, 1, 2, 3)
    with pytest.raises(InputError, match="a checkpoint must be whole; .*checkpoints/3"):
        restore_newest(saved, state(0))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
