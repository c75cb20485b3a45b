"""Every preset is type-checked at full size, and `show` says what it is."""

import jax
import pytest

from experiments.lars.config import OptimizerConfig
from experiments.lars.experiment import main
from experiments.lars.presets import PRESETS, get_preset
from experiments.lars.program import build_train_step, state_shapes
from experiments.lars.shapes import (
    assumed_facts,
    batch_shapes,
    fed_shape,
    key_shape,
    residual_bytes,
)
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields

_NUMBERS = {
    name: getattr(OptimizerConfig(), name)
    for name in (
        *("learning_rate", "end_learning_rate", "decay_power", "warmup_epochs"),
        *("warmup_start", "momentum", "weight_decay", "trust_coefficient"),
    )
}
_PACE = {"epochs": 1.0, "steps": None, "seed": 0, "log_every": 1}
_CADENCE = {"eval_every": 1.0, "checkpoint_every": 1.0}


def by_structure():
    """Return one preset for each program: rates and lengths are not part of one."""
    found = {}
    for name, preset in PRESETS.items():
        kin = replace_fields(preset.config, **_NUMBERS, **_PACE, **_CADENCE)
        found.setdefault(kin, []).append(name)
    return {" ".join(names): names[0] for names in found.values()}


@pytest.mark.slow
@pytest.mark.parametrize("name", by_structure().values(), ids=by_structure().keys())
def test_full_size_step_keeps_every_shape_of_the_state(name):
    config = get_preset(name).config
    # In parts where there are any: that is the longer way through a step.
    whole = config.model.bn_span == "global" and config.model.has_batch_norm
    found = shapes(replace_fields(config, microbatches=1 if whole else 2))
    assert found.after == found.before
    assert found.batch["image"].shape[0] == get_preset(name).config.global_batch
    assert found.metrics["loss"].shape == ()


@pytest.mark.parametrize(
    ("name", "image", "parameters"),
    [
        ("alexnet_bn_32k_lars", (32768, 256, 256, 3), None),
        ("resnet50_32k_lars", (32768, 256, 256, 3), 25_557_032),
        ("mlperf_65536", (65536, 224, 224, 3), 25_557_032),
        ("cifar10_resnet20_4096", (4096, 32, 32, 3), 269_722),
    ],
)
def test_full_size_means_the_batch_of_the_paper(name, image, parameters):
    found = shapes(replace_fields(get_preset(name).config, microbatches=1))
    assert found.batch["image"].shape == image
    count = sum(leaf.size for leaf in jax.tree.leaves(found.before.params))
    assert parameters is None or count == parameters


def test_residuals_grow_with_the_batch_and_not_with_its_parts():
    config = replace_fields(get_preset("digits").config, bn_span=64, microbatches=1)
    one, two = (
        residual_bytes(replace_fields(config, global_batch=b)) for b in (256, 512)
    )
    assert 1.9 * one < two < 2.1 * one
    halves = residual_bytes(replace_fields(config, global_batch=512, microbatches=2))
    assert halves == one


def test_bytes_are_those_of_the_arrays():
    tree = {"a": jax.ShapeDtypeStruct((2, 3), "float32"), "key": jax.random.key(0)}
    assert tree_bytes(tree) == 24


def test_show_tells_parameters_and_memory_of_a_preset(capsys):
    assert main(["show", "resnet50_32k_lars", "--dtype", "bfloat16"]) == 0
    said = capsys.readouterr().out
    assert "25,557,032" in said
    assert "Table 4" in said
    assert "model.dtype                    bfloat16" in said
    assert "kept for the backward pass" in said


def test_list_names_every_preset_with_its_status(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(line.endswith(("[run here]", "[not run]")) for line in lines)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["eval", "--help"]])
def test_help_is_printed_and_ends_well(words, capsys):
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    assert status == 0
    assert "usage" in capsys.readouterr().out


def test_help_of_train_lists_every_field_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for flag in ("--global-batch INT", "--learning-rate FLOAT", "--dataset STR"):
        assert flag in said
    assert "(default: 256)" in said
