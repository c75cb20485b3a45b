"""Every preset is type-checked at full size, and `show` says what it is."""

import re

import jax
import pytest

from benchmarks.common.records import read_record
from benchmarks.compilers.steps import by_shapes
from experiments.lars.ahead import assumed_data
from experiments.lars.config import OptimizerConfig
from experiments.lars.experiment import main
from experiments.lars.inputs import load_inputs, open_sources
from experiments.lars.presets import PRESETS, get_preset
from experiments.lars.program import build_train_step, state_shapes
from experiments.lars.shapes import (
    activation_bytes,
    assumed_facts,
    batch_shapes,
    fed_shape,
    key_shape,
    residual_bytes,
)
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields

RATES = {
    name: getattr(OptimizerConfig(), name)
    for name in (
        *("learning_rate", "end_learning_rate", "decay_power", "warmup_epochs"),
        *("warmup_start", "momentum", "weight_decay", "trust_coefficient"),
    )
}
PACE = {"epochs": 1.0, "steps": None, "log_every": 1, "eval_every": 1.0}


def by_structure():
    """Return one preset for each program: neither rates nor lengths make another.

    Of those that differ in the batch alone it is the one of the largest.
    """
    found = {}
    for preset in sorted(PRESETS.values(), key=lambda p: p.config.global_batch):
        config = preset.config
        span = isinstance(config.model.bn_span, int)
        same = {"global_batch": 1, "checkpoint_every": 1.0} | PACE | RATES
        found[replace_fields(config, **same, bn_span=1 if span else "global")] = preset
    return {preset.name: preset.config for preset in found.values()}


@pytest.mark.slow
@pytest.mark.parametrize("config", by_structure().values(), ids=by_structure())
def test_full_size_step_keeps_every_shape_of_the_state(config):
    # In parts where there are any: that is the longer way through a step.
    span, batch = config.model.bn_span, config.global_batch
    whole = config.model.has_batch_norm and (span == "global" or span == batch)
    config = replace_fields(config, microbatches=1 if whole else 2)
    facts, parallel = assumed_facts(config), DataParallel(data_mesh(1))
    before = state_shapes(config, facts, parallel.mesh)
    batch = batch_shapes(config.global_batch, fed_shape(config.data, facts))
    step = build_train_step(config, facts, parallel)
    after, metrics = jax.eval_shape(step, before, batch, {"key": key_shape()})
    assert after == before
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(
    ("name", "image", "parameters"),
    [
        ("alexnet_bn_32k_lars", (256, 256, 3), None),
        ("resnet50_32k_lars", (256, 256, 3), 25_557_032),
        ("mlperf_65536", (224, 224, 3), 25_557_032),
        ("cifar10_resnet20_4096", (32, 32, 3), 269_722),
    ],
)
def test_full_size_means_the_images_and_networks_of_the_paper(name, image, parameters):
    config = get_preset(name).config
    facts = assumed_facts(config)
    assert fed_shape(config.data, facts) == image
    if parameters is not None:
        leaves = jax.tree.leaves(state_shapes(config, facts).params)
        assert sum(leaf.size for leaf in leaves) == parameters


def test_residuals_grow_with_the_batch_and_not_with_its_parts():
    config = replace_fields(get_preset("smoke").config, bn_span=64, microbatches=1)
    facts = assumed_facts(config)

    state = state_shapes(config, facts)

    def kept(**changes):
        return residual_bytes(replace_fields(config, **changes), facts, state)

    one, two = kept(global_batch=256), kept(global_batch=512)
    assert 1.9 * one < two < 2.1 * one
    assert kept(global_batch=512, microbatches=2) == one


def test_activations_are_what_products_read_and_make():
    config = replace_fields(get_preset("smoke").config, microbatches=1)
    facts, batch = assumed_facts(config), config.global_batch
    state = state_shapes(config, facts)
    # Of ResNet-8, on 8 x 8 pixels: the stem and three blocks of two convolutions with
    # 16, 32 and 64 channels at sides of 8, 4 and 2, and ten classes.
    made = 16 * 64 * 3 + 32 * 16 * 2 + 64 * 4 * 2 + 10
    read = 64 + 16 * 64 * 3 + 32 * 16 * 2 + 64 * 4 + 64
    assert activation_bytes(config, facts, state) == 4 * batch * (made + read)


def test_what_two_convolutions_read_is_kept_once():
    batch, size = 4, 224
    config = get_preset("resnet50_32k_lars").config
    changes = {"network": "resnet18", "global_batch": batch, "microbatches": 1}
    config = replace_fields(config, **changes, bn_span=batch)
    facts = assumed_facts(config)
    # A stem and four stages of two blocks of two convolutions, and projections where
    # the channels grow, which read what the first convolution of their block does.
    sides, channels = (56, 28, 14, 7), (64, 128, 256, 512)
    made = 112**2 * 64 + 1000
    read = size**2 * 3 + 512
    for side, count in zip(sides, channels, strict=True):
        own = side**2 * count
        made += own * (4 + (count > 64))
        read += own * (4 - (count == 512) + (count == 64))
    kept = activation_bytes(config, facts, state_shapes(config, facts))
    assert kept == 4 * batch * (made + read)


@pytest.mark.parametrize(
    ("program", "topology"),
    [
        ("ResNet-20, batch 512", "h100"),
        ("ResNet-50, batch 256", "h100"),
        pytest.param("ResNet-50, batch 512", "v5e:2x2", marks=pytest.mark.slow),
        pytest.param("ResNet-50, batch 512, fsdp", "v5e:2x2", marks=pytest.mark.slow),
        pytest.param("ResNet-50, batch 32,768", "v5e:16x16", marks=pytest.mark.slow),
        pytest.param("ResNet-50, batch 32,768", "2 x v5e:8x16", marks=pytest.mark.slow),
        # Response normalisation is by products here, whose results are kept.
        ("AlexNet, batch 512", "v5e:2x2"),
    ],
)
def test_memory_by_shapes_is_within_15_percent_of_what_is_compiled(program, topology):
    [row] = [
        row
        for row in read_record("compiled_steps")["rows"]
        if (row["program"], row["topology"]) == (program, topology)
    ]
    compiled = sum(row["memory"].values())
    assert by_shapes(row) == pytest.approx(compiled, rel=0.15)


def test_show_tells_parameters_and_memory_of_a_preset(capsys):
    words = ["--devices", "256", "--state-sharding", "fsdp", "--dtype", "bfloat16"]
    assert main(["show", "resnet50_32k_lars", *words]) == 0
    said = capsys.readouterr().out
    assert "25,557,032" in said
    assert "Table 4" in said
    assert re.search(r"^model.dtype +bfloat16$", said, re.MULTILINE)
    assert "memory of each of 256 devices" in said
    sizes = {
        line[2:34].strip(): float(line.split()[-2].replace(",", ""))
        for line in said.splitlines()
        if line.endswith("MiB")
    }
    # Parameters are 97 MiB, of which a 256th is 0.4; the rest is leaves that stay
    # whole, most of them kernels of 64 and 128 channels.
    assert 3 < sizes["parameters"] < 4
    assert sizes["optimizer state"] == pytest.approx(sizes["parameters"], abs=0.2)
    assert sizes["sum"] == pytest.approx(sum(sizes.values()) / 2, abs=0.5)


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"resize": 16, "image_size": 16},
        {"augmentation": "random_resized_crop"},
        {"placement": "host"},
        {"holdout": 100},
    ],
    ids=str,
)
def test_data_are_assumed_to_lie_where_a_run_puts_them(own):
    config = replace_fields(get_preset("digits").config, devices=1, **own)
    inputs = load_inputs(config, DataParallel(data_mesh(1)), open_sources(config))
    assumed, _ = assumed_data(config, assumed_facts(config))
    found, wanted = (
        jax.tree.map(lambda x: (x.shape, x.dtype), tree)
        for tree in (inputs.train.arrays, assumed)
    )
    assert found == wanted


@pytest.mark.slow
def test_show_asks_the_compiler_of_devices_where_they_are_named(capfd):
    assert main(["show", "smoke", "--topology", "nowhere:2"]) == 2
    said = capfd.readouterr()
    assert said.out.count("smoke: ") == 1
    assert "memory of each of" in said.out
    assert said.err.startswith("error: a topology is KIND:SIDES")


def test_list_names_every_preset_with_its_status(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(line.endswith(("[run here]", "[not run]")) for line in lines)


def test_help_of_train_lists_every_field_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = capsys.readouterr().out
    for flag in ("--global-batch INT", "--learning-rate FLOAT", "--dataset STR"):
        assert flag in said
    assert "(default: 256)" in said
