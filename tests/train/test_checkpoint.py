"""Checkpoints: what comes back, what is kept, what a damaged one does."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax import InputError, TrainState, lars
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.checkpoint import CONTENTS, Checkpoints


def some_state(seed=0, size=4096):
    random = np.random.default_rng(seed)
    params = {"w": jnp.asarray(random.normal(size=size).astype(np.float32))}
    tx = optax.inject_hyperparams(lars)(0.1, 1e-4)
    return TrainState.create(params, {"mean": jnp.ones(3)}, tx)


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(
        tmp_path / "checkpoints", best=lambda metrics: metrics.get("accuracy")
    )
    yield opened
    opened.close()


def same(left, right):
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


def test_state_comes_back_bit_for_bit_with_its_types(checkpoints):
    state = some_state()
    checkpoints.save(3, state, {})
    checkpoints.wait()
    restored = checkpoints.restore(3, some_state(seed=1))
    assert same(restored, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_state_comes_back_onto_another_number_of_devices(checkpoints):
    state = DataParallel(data_mesh(8)).replicate(some_state())
    checkpoints.save(1, state, {})
    checkpoints.wait()
    like = DataParallel(data_mesh(2)).replicate(some_state(seed=1))
    restored = checkpoints.restore(1, like)
    assert same(restored, state)
    assert len(restored.params["w"].sharding.device_set) == 2


def test_the_last_two_and_the_best_are_kept(checkpoints):
    for step, accuracy in enumerate([0.1, 0.9, 0.5, 0.4, 0.3], start=1):
        checkpoints.save(step, some_state(step, size=8), {"accuracy": accuracy})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best_step() == 2
    assert checkpoints.last_step() == 5


def test_best_without_metrics_is_the_last(checkpoints):
    for step in (1, 2):
        checkpoints.save(step, some_state(step, size=8), {})
    checkpoints.wait()
    assert checkpoints.best_step() == 2


def test_saving_a_step_again_keeps_what_is_there(checkpoints):
    checkpoints.save(1, some_state(0), {})
    checkpoints.save(1, some_state(1), {})
    checkpoints.wait()
    assert same(checkpoints.restore(1, some_state(2)), some_state(0))


def largest(directory: Path) -> Path:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
def test_damage_is_noticed(checkpoints, tmp_path, damage):
    checkpoints.save(1, some_state(), {})
    checkpoints.wait()
    data = largest(tmp_path / "checkpoints" / "1")
    content = bytearray(data.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "truncate":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        data.write_bytes(b"")
    else:
        data.unlink()
    with pytest.raises(InputError, match="a checkpoint must"):
        checkpoints.restore(1, some_state(1))


@pytest.mark.parametrize("damage", ["empty", "delete", "flip"])
def test_damage_to_any_file_is_noticed_before_orbax_reads(
    checkpoints, tmp_path, monkeypatch, damage
):
    checkpoints.save(1, some_state(size=8), {})
    checkpoints.wait()
    items = tmp_path / "checkpoints" / "1"
    files = [path for path in items.glob("*/**/*") if path.stat().st_size]
    files = [path for path in files if path.is_file()] + [items / CONTENTS]
    assert len(files) > 5
    monkeypatch.setattr(checkpoints, "_read", None)
    for file in files:
        content = file.read_bytes()
        if damage == "delete":
            file.unlink()
        else:
            file.write_bytes(
                b"" if damage == "empty" else bytes([content[0] ^ 1]) + content[1:]
            )
        with pytest.raises(InputError, match="a checkpoint must be whole"):
            checkpoints.restore(1, some_state(size=8))
        file.write_bytes(content)


def test_checkpoint_of_another_shape_is_refused(checkpoints):
    checkpoints.save(1, some_state(size=8), {})
    checkpoints.wait()
    with pytest.raises(InputError, match="of the same model; .* 2 of 16 leaves"):
        checkpoints.restore(1, some_state(size=9))


def test_damaged_checkpoint_set_aside_does_not_stop_later_saves(checkpoints, tmp_path):
    for step in (1, 2):
        checkpoints.save(step, some_state(step), {})
    checkpoints.wait()
    place = checkpoints.set_aside(2)
    assert place == tmp_path / "broken-checkpoint-2"
    assert place.is_dir()
    assert checkpoints.steps() == [1]
    checkpoints.save(2, some_state(7), {})
    checkpoints.wait()
    assert same(checkpoints.restore(2, some_state()), some_state(7))


def test_some_are_kept_for_good(tmp_path):
    opened = Checkpoints(
        tmp_path / "checkpoints",
        best=lambda metrics: metrics.get("accuracy"),
        keep_every=3,
    )
    for step in range(1, 9):
        opened.save(step, some_state(step, size=8), {"accuracy": 1 / step})
    opened.wait()
    assert opened.steps() == [1, 3, 6, 7, 8]
    opened.close()


def test_dropped_checkpoint_is_saved_anew_with_its_metrics(checkpoints):
    checkpoints.save(1, some_state(0, size=8), {})
    checkpoints.wait()
    assert checkpoints.metrics(1) == {}
    checkpoints.drop(1)
    checkpoints.save(1, some_state(0, size=8), {"accuracy": 0.5})
    checkpoints.wait()
    assert checkpoints.metrics(1) == {"accuracy": 0.5}
    assert checkpoints.best_step() == 1


def test_contents_of_another_format_are_refused(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr("lars_jax.train.checkpoint.FORMAT", 2)
    checkpoints.save(1, some_state(0, size=8), {})
    checkpoints.wait()
    monkeypatch.undo()
    with pytest.raises(InputError, match="must have format 3; .* has 2"):
        checkpoints.restore(1, some_state(size=8))
