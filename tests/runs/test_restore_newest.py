"""The newest checkpoint that is whole is found; newer ones are moved away."""

import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.runs.train import restore_newest
from lars_jax.train.checkpoint import Checkpoints


def state(value):
    return {"weights": jnp.full(1000, value, jnp.float32), "step": jnp.int32(value)}


def saved(directory, *steps):
    checkpoints = Checkpoints(
        directory / "checkpoints", best=lambda metrics: metrics.get("score")
    )
    for step in steps:
        checkpoints.save(step, state(step), {"score": 1.0 / step})
        checkpoints.wait()
    return checkpoints


def break_step(directory, step):
    for path in (directory / "checkpoints" / str(step)).rglob("d/*"):
        path.write_bytes(b"")


def test_newest_is_restored_bit_for_bit(tmp_path, capfd):
    checkpoints = saved(tmp_path, 1, 2, 3)
    step, found = restore_newest(checkpoints, state(0)) or pytest.fail("none found")
    checkpoints.close()
    assert step == 3
    np.testing.assert_array_equal(found["weights"], state(3)["weights"])
    assert int(found["step"]) == 3
    assert capfd.readouterr().err == ""


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    checkpoints = saved(tmp_path)
    assert restore_newest(checkpoints, state(0)) is None
    checkpoints.close()


@pytest.mark.parametrize(
    ("broken", "restored"), [((3,), 2), ((2, 3), 1), ((1,), 3), ((2,), 3)]
)
def test_broken_ones_that_are_newer_are_set_aside(tmp_path, capfd, broken, restored):
    checkpoints = saved(tmp_path, 1, 2, 3)
    for step in broken:
        break_step(tmp_path, step)
    step, found = restore_newest(checkpoints, state(0)) or pytest.fail("none found")
    assert (step, int(found["step"])) == (restored, restored)
    newer = [step for step in broken if step > restored]
    said = capfd.readouterr().err
    assert said.count("\n") == len(newer)
    for moved in newer:
        place = tmp_path / f"broken-checkpoint-{moved}"
        assert place.is_dir()
        assert f"moved it to {place}" in said
    # What was set aside no longer stops a later save of the same step.
    checkpoints.save(3, state(30), {"score": 1.0})
    checkpoints.wait()
    last = checkpoints.restore(3, state(0))
    assert int(last["step"]) == (30 if newer else 3)
    checkpoints.close()


def test_what_is_set_aside_can_be_kept_quiet(tmp_path, capfd):
    checkpoints = saved(tmp_path, 1, 2)
    break_step(tmp_path, 2)
    step, _ = restore_newest(checkpoints, state(0), verbose=False) or pytest.fail(
        "none"
    )
    checkpoints.close()
    assert (step, capfd.readouterr().err) == (1, "")
    assert (tmp_path / "broken-checkpoint-2").is_dir()


def test_none_that_is_whole_is_an_error_and_moves_nothing(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    for step in (1, 2):
        break_step(tmp_path, step)
    with pytest.raises(InputError, match="a checkpoint must be whole; .*checkpoints/2"):
        restore_newest(checkpoints, state(0))
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_state_of_another_model_is_an_error_and_moves_nothing(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    other = {"weights": jnp.zeros(7), "step": jnp.int32(0)}
    with pytest.raises(InputError, match="be of the same model"):
        restore_newest(checkpoints, other)
    checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
