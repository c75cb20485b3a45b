"""Checkpoints: what comes back, what is kept, what a damaged one does."""

import json
import os
import socket
import subprocess
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax import InputError, TrainState, lars
from lars_jax.train import DataParallel, data_mesh, state_shardings
from lars_jax.train.checkpoint import CONTENTS, FORMATS, Checkpoints


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


def test_saving_a_step_again_keeps_what_is_there(checkpoints):
    checkpoints.save(1, some_state(0), {})
    checkpoints.save(1, some_state(1), {})
    checkpoints.wait()
    assert same(checkpoints.restore(1, some_state(2)), some_state(0))


def test_damage_to_any_file_is_noticed_before_orbax_reads(
    checkpoints, tmp_path, monkeypatch
):
    checkpoints.save(1, some_state(size=8), {})
    checkpoints.wait()
    items = tmp_path / "checkpoints" / "1"
    files = [path for path in items.glob("*/**/*") if path.stat().st_size]
    files = [path for path in files if path.is_file()] + [items / CONTENTS]
    assert len(files) > 5
    monkeypatch.setattr(checkpoints._manager, "restore", None)
    for file in files:
        content = file.read_bytes()
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        for damaged in (None, b"", content[:half], flipped):
            file.unlink() if damaged is None else file.write_bytes(damaged)
            with pytest.raises(InputError, match="a checkpoint must be whole"):
                checkpoints.restore(1, some_state(size=8))
        file.write_bytes(content)


def test_checkpoint_of_another_shape_is_refused(checkpoints):
    checkpoints.save(1, some_state(size=8), {})
    checkpoints.wait()
    with pytest.raises(InputError, match="of the same model; .* 2 of 15 leaves"):
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
    for step in range(1, 6):
        opened.save(step, some_state(size=8), {"accuracy": 1 / step})
    opened.wait()
    assert opened.steps() == [1, 3, 4, 5]
    opened.close()


def test_dropped_checkpoint_is_saved_anew_with_its_metrics(checkpoints):
    checkpoints.save(1, some_state(0, size=8), {})
    checkpoints.wait()
    assert checkpoints.metrics(1) == {}
    assert checkpoints.best_step() == 1
    checkpoints.drop(1)
    checkpoints.save(1, some_state(0, size=8), {"accuracy": 0.5})
    checkpoints.wait()
    assert checkpoints.metrics(1) == {"accuracy": 0.5}
    assert checkpoints.best_step() == 1


def rewrite_contents(path, change):
    """Change what is written beside the arrays, and sign it again."""
    contents = json.loads(json.loads(path.read_text())["contents"])
    change(contents)
    text = json.dumps(contents)
    path.write_text(json.dumps({"crc32": zlib.crc32(text.encode()), "contents": text}))


def test_contents_of_another_format_are_refused(checkpoints, tmp_path):
    checkpoints.save(1, some_state(0, size=8), {})
    checkpoints.wait()
    path = tmp_path / "checkpoints" / "1" / CONTENTS
    rewrite_contents(path, lambda contents: contents.update(format=2))
    with pytest.raises(InputError, match="must have format 3 or 4; .* has 2"):
        checkpoints.restore(1, some_state(size=8))


def test_checkpoint_with_checksums_of_its_leaves_is_still_read(checkpoints, tmp_path):
    state = some_state(0, size=8)
    checkpoints.save(1, state, {"accuracy": 0.5})
    checkpoints.wait()

    def as_of_old(contents):
        assert contents["format"] == FORMATS[-1]
        contents["format"] = 3
        for row in contents["leaves"].values():
            row["crc32"] = 1234

    rewrite_contents(tmp_path / "checkpoints" / "1" / CONTENTS, as_of_old)
    assert same(checkpoints.restore(1, some_state(1, size=8)), state)
    assert checkpoints.metrics(1) == {"accuracy": 0.5}


def test_split_state_is_gathered_neither_to_save_nor_to_restore(
    checkpoints, monkeypatch
):
    shardings = state_shardings(some_state(), data_mesh(8), "fsdp")
    state = jax.device_put(some_state(), shardings)
    assert state.params["w"].sharding.shard_shape((4096,)) == (512,)
    array = type(state.params["w"])
    value = array._value

    def whole(self):
        assert self.is_fully_replicated, f"put together {self.shape}"
        return value.fget(self)

    with monkeypatch.context() as patched:
        patched.setattr(array, "_value", property(whole))
        with pytest.raises(AssertionError, match="put together"):
            jax.device_get(state.params["w"])
        checkpoints.save(1, state, {})
        checkpoints.wait()
        restored = checkpoints.restore(1, shapes_of(state))
    assert restored.params["w"].sharding == state.params["w"].sharding
    assert same(restored, state)


def shapes_of(state):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


PROCESS = """
import pathlib, sys, threading
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from lars_jax.train import data_mesh
from lars_jax.train.checkpoint import Checkpoints

directory, port, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.config.update("jax_num_cpu_devices", 4)
jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
split = NamedSharding(data_mesh(), PartitionSpec("data"))
draw = jax.jit(lambda key: jax.random.normal(key, (1024, 1024)), out_shardings=split)
state = {str(i): draw(jax.random.key(np.uint32(i))) for i in range(8)}
like = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
)
peak, done = 0, threading.Event()

def held():
    shards = {
        (shard.unsafe_buffer_pointer(), shard.nbytes)
        for array in jax.live_arrays()
        if array.sharding.device_set & {jax.local_devices()[0]}
        for shard in array._arrays
        if shard.sharding.device_set == {jax.local_devices()[0]}
    }
    return sum(size for _, size in shards)

def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, held())

threading.Thread(target=watch, daemon=True).start()
checkpoints = Checkpoints(pathlib.Path(directory), best="accuracy")
expected = {name: np.asarray(x.addressable_shards[3].data) for name, x in state.items()}
checkpoints.save(1, state, {})
checkpoints.wait()
del state
restored = jax.block_until_ready(checkpoints.restore(1, like))
done.set()
for name, x in restored.items():
    np.testing.assert_array_equal(x.addressable_shards[3].data, expected[name])
checkpoints.close()
print(peak)
"""


@pytest.mark.slow
def test_no_device_of_two_processes_holds_more_than_its_share_and_a_leaf(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, tmp_path / "saved", str(port), str(index)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for index in range(2)
    ]
    leaf = 4 * 2**20
    share = 8 * leaf // 8
    for process in started:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert share <= int(said.splitlines()[-1]) <= share + leaf


def test_no_more_are_kept_however_often_a_run_is_started(tmp_path):
    kept = []
    for start in range(3):
        opened = Checkpoints(tmp_path / "checkpoints", best=lambda m: m.get("accuracy"))
        for step in range(4 * start + 1, 4 * start + 5):
            accuracy = {"accuracy": 1 / (1 + abs(step - 6))} if step % 2 == 0 else {}
            opened.save(step, some_state(step, size=8), accuracy)
        opened.close()
        kept.append(opened.steps())
    assert kept == [[3, 4], [6, 7, 8], [6, 11, 12]]
