"""A run whose state is split over devices does all that another does."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.lars.experiment import LARS, main
from experiments.lars.presets import get_preset
from experiments.lars.trainer import Trainer
from lars_jax.runs.restore import load_config, restore
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json, read_lines

SPLIT = [
    *("train", "smoke", "--devices", "8", "--global-batch", "16"),
    *("--eval-every", "0.02", "--state-sharding", "fsdp"),
]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run like `finished`, split over devices."""
    directory = tmp_path_factory.mktemp("runs") / "split"
    assert main([*SPLIT, "--run-dir", str(directory)]) == 0
    return directory


def values(directory, name):
    """Return the values of a metric over a run."""
    found = read_lines(directory / "metrics.jsonl")
    return [row[name] for row in found if name in row]


@pytest.mark.slow
def test_split_run_measures_what_a_whole_one_does(split, finished):
    for name in ("train/loss", "eval/loss"):
        np.testing.assert_allclose(
            values(split, name), values(finished, name), rtol=1e-4
        )
    assert values(split, "eval/count") == [360, 360]
    assert (split / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_states_are_drawn_alike_and_lie_where_they_should(split):
    config = load_config(LARS, split)
    state = Trainer.create(config).init()
    whole = Trainer.create(replace_fields(config, state_sharding="none")).init()
    jax.tree.map(np.testing.assert_array_equal, state, whole)
    kernel = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    assert kernel.shape == (3, 3, 64, 64)
    assert kernel.addressable_shards[0].data.shape == (3, 3, 8, 64)
    own, all_ = (
        sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))
        for tree in (state, whole)
    )
    assert own < 0.2 * all_


@pytest.mark.parametrize("kind", ["none", "zero1", "fsdp"])
def test_checkpoints_are_restored_into_the_shapes_of_a_state(kind):
    config = replace_fields(get_preset("smoke").config, state_sharding=kind, devices=8)
    program = Trainer.create(replace_fields(config, microbatches=1))
    like, state = program.like(), program.init()
    assert jax.tree.structure(like) == jax.tree.structure(state)
    for shape, leaf in zip(*map(jax.tree.leaves, (like, state)), strict=True):
        assert isinstance(shape, jax.ShapeDtypeStruct)
        assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)
        assert shape.sharding is not None
        assert shape.sharding.is_equivalent_to(leaf.sharding, leaf.ndim)


@pytest.mark.slow
def test_run_is_evaluated_on_other_devices(split, tmp_path, capsys):
    copy = Path(shutil.copytree(split, tmp_path / "run"))
    record = read_json(copy / "config.json")
    record["config"] |= {"state_sharding": "zero1", "devices": 2}
    (copy / "config.json").write_text(json.dumps(record))
    assert main(["eval", str(copy)]) == 0
    accuracy, loss = (values(split, f"eval/{n}")[-1] for n in ("accuracy", "loss"))
    said = capsys.readouterr().out
    assert f"accuracy {100 * accuracy:.2f} % of 360, loss {loss:.4f}" in said


@pytest.mark.slow
def test_weights_of_a_split_run_begin_another(split, tmp_path):
    file = tmp_path / "weights.npz"
    assert main(["export", str(split), str(file)]) == 0
    last = restore(LARS, split).state
    config = replace_fields(
        load_config(LARS, split), init_from=str(file), state_sharding="zero1", devices=2
    )
    state = Trainer.create(config).init()
    jax.tree.map(np.testing.assert_array_equal, state.params, last.params)
    assert len(jax.tree.leaves(state)[0].sharding.device_set) == 2


@pytest.mark.slow
def test_split_run_goes_on_and_is_reported(split, tmp_path, capsys):
    copy = Path(shutil.copytree(split, tmp_path / "run"))
    (copy / "report.html").unlink()
    assert main([*SPLIT, "--run-dir", str(copy), "--resume"]) == 0
    assert "x cpu, fsdp" in capsys.readouterr().err
    assert values(copy, "train/loss") == values(split, "train/loss")
    assert main(["report", str(copy)]) == 0
    assert (copy / "report.html").stat().st_size > 10_000
