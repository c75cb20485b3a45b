import dataclasses
import re
from collections import Counter

import pytest

from benchmarks.common.records import read_record
from experiments.lars.cells import learning_rates
from experiments.lars.check import check
from experiments.lars.presets import PRESETS, Preset, get_preset
from experiments.lars.presets.controls import CONTROLS
from experiments.lars.presets.imagenet import IMAGENET, with_batch
from experiments.lars.presets.local import LOCAL
from experiments.lars.presets.mlperf import MLPERF
from experiments.lars.presets.paper import PAPER
from lars_jax.errors import InputError

# (batch, rate, accuracy in % or None where it is not legible or not a number), copied
# by hand from the paper: the presets are checked against this, not against themselves.
PAPER_ROWS = {
    "Section 3, baseline": [(512, 0.01, 58.0)],
    "Table 1a": [
        (512, 0.02, None),
        (4096, 0.04, None),
        (4096, 0.05, 53.1),
        (4096, 0.06, None),
        (4096, 0.07, None),
        (8192, 0.02, None),
        (8192, 0.03, 44.8),
        (8192, 0.04, None),
        (8192, 0.05, None),
    ],
    "Table 1b": [
        (512, 0.02, 60.2),
        (4096, 0.16, 58.1),
        (4096, 0.18, 58.9),
        (4096, 0.21, 58.5),
        (4096, 0.30, 57.1),
        (8192, 0.23, 57.6),
        (8192, 0.30, 58.0),
        (8192, 0.32, 57.7),
        (8192, 0.41, 56.5),
    ],
    "Figure 1": [(512, 0.02, 60.2), (8192, 0.32, 57.7)],
    "Table 2": [(512, 2.0, None)],
    "Figure 2": [(256, 1.2, None), (1024, 3.4, None), (8192, 14.0, 60.1)],
    "Table 3a": [
        (512, 2.0, 58.7),
        (4096, 10.0, 58.5),
        (8192, 10.0, 58.2),
        (16384, 14.0, 55.0),
        (32768, 14.0, None),
    ],
    "Table 3b": [
        (512, 2.0, 60.2),
        (4096, 10.0, 60.4),
        (8192, 14.0, 60.1),
        (16384, 23.0, 59.3),
        (32768, 22.0, 57.8),
    ],
    "Figure 3": [(512, 0.02, 60.2), (8192, 0.30, 58.0), (8192, 14.0, 60.1)],
    "Figure 4": [
        (16384, 13.0, 59.3),
        (16384, 17.5, 59.3),
        (16384, 22.0, 59.3),
        (32768, 17.0, 57.5),
        (32768, 22.0, 57.8),
        (32768, 28.0, 57.5),
    ],
    "Table 4": [
        (256, 0.2, 73.0),
        (8192, 0.6, 72.7),
        (16384, 2.5, 73.0),
        (32768, 2.9, 72.3),
    ],
    "Figure 5": [
        (256, 0.2, 73.0),
        (8192, 6.4, None),
        (16384, 2.5, 73.0),
        (32768, 2.9, 72.3),
    ],
    "Table 5": [
        (32768, 22.0, 57.8),
        (32768, 22.0, 59.2),
        (32768, 22.0, 59.5),
        (32768, 22.0, 59.5),
        (32768, 22.0, 59.9),
    ],
}
PAPER_RUNS = 46  # the rows above are 57, of which 11 show a run that another one shows


def accuracy(preset: Preset) -> float | None:
    found = re.fullmatch(r"(?:about )?([\d.]+) % top-1", preset.expected)
    return float(found[1]) if found else None


def test_every_row_of_the_paper_is_a_preset():
    for place, rows in PAPER_ROWS.items():
        ours = [
            (p.config.global_batch, p.config.optimizer.learning_rate, accuracy(p))
            for p in PAPER
            if place in p.reproduces
        ]
        assert Counter(ours) == Counter(rows), place


def test_presets_have_one_name_and_one_configuration_each():
    everything = [*LOCAL, *PAPER, *MLPERF, *CONTROLS]
    assert len(PAPER) == PAPER_RUNS
    assert len(MLPERF) == 10
    assert len(PRESETS) == len(everything)
    assert len({preset.config for preset in everything}) == len(everything)
    assert all(name == preset.name for name, preset in PRESETS.items())


def test_every_preset_says_what_it_reproduces_and_where_from():
    for preset in PRESETS.values():
        assert preset.reproduces
        assert preset.expected
        assert preset.source
        assert "\n" not in preset.reproduces + preset.expected + preset.note


def test_every_batch_holds_whole_spans_on_eight_devices():
    for name, preset in PRESETS.items():
        config = preset.config
        assert check(config) is config
        assert config.microbatches == "auto"
        assert config.global_batch % 8 == 0, f"eight devices share a batch: {name}"
        span = config.model.span or config.global_batch
        assert span <= 8192 or not config.model.has_batch_norm, name
        assert config.global_batch % span == 0, name


def test_names_are_regular():
    batch = r"(\d+|\d+k)"
    paper = (
        rf"(alexnet|alexnet_bn|resnet50)_{batch}_"
        r"(lars|sgd)(_lr[\d.]+|_\d+ep|_1step)?"
    )
    local = (
        r"smoke|digits(_\d+|_sgd|_nesterov|_lamb)?|"
        r"fashion_mnist(_\d+k?_(lars|sgd)(_\d+ep)?)?|"
        r"cifar10_resnet8|cifar10_(resnet20|alexnet_bn)(_sgd)?_\d+"
    )
    controls = r"resnet50_32k_(lars_mlperf07|nesterov|lamb)"
    for name in PRESETS:
        assert re.fullmatch(rf"{paper}|{local}|{controls}|mlperf_\d+", name), name


def test_paper_presets_have_what_the_paper_says_of_all_its_runs():
    for preset in PAPER:
        config, optimizer = preset.config, preset.config.optimizer
        resnet = config.model.network == "resnet50"
        assert preset.name.startswith(config.model.network)
        assert f"_{optimizer.optimizer}" in preset.name
        assert config.data.dataset == "imagenet2012"
        assert config.data.test_split == "validation"
        assert (config.data.resize, config.data.crop_padding) == (256, 0)
        assert config.data.flip
        assert config.data.image_size == (224 if resnet else 227)
        assert optimizer.weight_decay == (1e-4 if resnet else 5e-4)
        assert (optimizer.momentum, optimizer.decay_power) == (0.9, 2.0)
        assert (optimizer.decay_from, optimizer.end_learning_rate) == ("start", 0.0)
        assert (optimizer.trust_coefficient, optimizer.excluded) == (1e-3, "none")
        assert config.model.stride_in == "1x1"


# Epochs, epochs of warm-up and rate at its start, from the paper.
@pytest.mark.parametrize(
    ("name", "epochs", "warmup", "start"),
    [
        ("alexnet_512_sgd_lr0.01", 100, 0, 0),
        ("alexnet_4k_sgd_lr0.05", 100, 2.5, 0.001),
        ("alexnet_bn_8k_sgd_lr0.3", 128, 0, 0),
        ("alexnet_8k_lars", 100, 2, 0),
        ("alexnet_32k_lars", 100, 2, 0),
        ("alexnet_bn_16k_lars", 100, 5, 0),
        ("alexnet_bn_32k_lars", 100, 5, 0),
        ("alexnet_bn_32k_lars_175ep", 175, 5, 0),
        ("alexnet_bn_32k_lars_lr17", 100, 5, 0),
        ("resnet50_256_sgd_lr0.2", 90, 0, 0),
        ("resnet50_8k_sgd_lr6.4", 90, 5, 0),
        ("resnet50_32k_lars", 90, 5, 0),
        ("mlperf_32768", 57, 16, 0),
    ],
)
def test_length_and_warmup_are_those_published(
    name: str, epochs: float, warmup: float, start: float
):
    config = PRESETS[name].config
    assert config.epochs == epochs
    assert config.optimizer.warmup_epochs == warmup
    assert config.optimizer.warmup_start == start


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("alexnet_32k_lars", "global"),
        ("alexnet_bn_8k_lars", "global"),
        ("alexnet_bn_16k_lars", 8192),
        ("resnet50_32k_lars", 8192),
    ],
)
def test_statistics_are_taken_over_at_most_8192_examples(name: str, span: int | str):
    assert PRESETS[name].config.model.bn_span == span


def test_durations_are_those_of_table_5():
    found = {
        preset.config.epochs: preset.expected
        for preset in PAPER
        if "Table 5" in preset.reproduces
    }
    assert found == {
        100: "57.8 % top-1",
        125: "59.2 % top-1",
        150: "59.5 % top-1",
        175: "59.5 % top-1",
        200: "59.9 % top-1",
    }


def test_open_rates_are_marked():
    assert "TBD" in get_preset("alexnet_32k_lars").expected
    for name in ("alexnet_32k_lars", "alexnet_bn_256_lars", "alexnet_bn_1k_lars"):
        assert "rate" in get_preset(name).note


def test_table_2_is_one_logged_step():
    config = get_preset("alexnet_bn_512_lars_1step").config
    assert (config.steps, config.log_every) == (1, 1)


# Batch, rate, momentum, decay and span.
@pytest.mark.parametrize(
    ("batch", "rate", "momentum", "decay", "span"),
    [
        (1632, 7.4, 0.9, 5e-5, 204),
        (3264, 10.5, 0.9, 5e-5, 204),
        (4096, 10.0, 0.9, 2e-4, 64),
        (8192, 17.0, 0.9, 2e-4, 64),
        (13056, 12.8, 0.9, 2.5e-5, 204),
        (32768, 21.2, 0.94, 2.5e-5, 128),
        (35840, 21.9, 0.94, 2.5e-5, 35),
        (49152, 19.4, 0.9518, 1e-4, 256),
        (58880, 23.2, 0.9518, 1e-4, 230),
        (65536, 24.7, 0.9518, 1e-4, 128),
    ],
)
def test_mlperf_points_are_those_published(
    batch: int, rate: float, momentum: float, decay: float, span: int
):
    config = get_preset(f"mlperf_{batch}").config
    optimizer = config.optimizer
    assert optimizer.learning_rate == pytest.approx(rate, rel=3e-3)
    assert optimizer.momentum == pytest.approx(momentum, abs=1e-5)
    assert optimizer.weight_decay == decay
    assert config.model.bn_span == span
    assert config.global_batch == batch
    assert (optimizer.excluded, optimizer.decay_from) == ("bias_and_norm", "warmup")
    assert (optimizer.end_learning_rate, config.label_smoothing) == (1e-4, 0.1)
    assert config.model.stride_in == "3x3"
    assert config.data.augmentation == "random_resized_crop"


# From train.py of the submission to MLPerf 0.7, and from run.sh and optimization.py of
# the first author of LAMB; the rate of Nesterov momentum is 0.1 for 256 examples.
@pytest.mark.parametrize(
    ("name", "rate", "momentum", "decay", "warmup", "power", "end", "span", "steps"),
    [
        ("lars_mlperf07", 29.0, 0.929, 1e-4, 18, 2, 1e-4, 64, 2512),
        ("nesterov", 12.8, 0.929, 1e-4, 18, 2, 1e-4, 64, 2512),
        ("lamb", 0.04, 0.9, 1.5, 20, 1, 0.0, 128, 3519),
    ],
)
def test_controls_at_32k_are_those_published(
    name: str,
    rate: float,
    momentum: float,
    decay: float,
    warmup: float,
    power: float,
    end: float,
    span: int,
    steps: int,
):
    config = get_preset(f"resnet50_32k_{name}").config
    optimizer = config.optimizer
    assert optimizer.optimizer == name.split("_")[0]
    assert (optimizer.learning_rate, optimizer.momentum) == (rate, momentum)
    assert (optimizer.weight_decay, optimizer.warmup_epochs) == (decay, warmup)
    assert (optimizer.decay_power, optimizer.end_learning_rate) == (power, end)
    assert config.global_batch == 32768
    assert (config.model.bn_span, config.steps) == (span, steps)
    assert (optimizer.excluded, optimizer.decay_from) == ("bias_and_norm", "warmup")
    assert (config.model.stride_in, config.label_smoothing) == ("3x3", 0.1)
    assert config.data.augmentation == "random_resized_crop"


def test_nesterov_at_32k_says_what_was_not_verified():
    note = get_preset("resnet50_32k_nesterov").note
    assert note.startswith("not tuned")
    assert "could not be verified" in note


@pytest.mark.parametrize(
    ("batch", "log_every"), [(256, 50), (4096, 31), (8192, 15), (32768, 3), (2**18, 1)]
)
def test_long_batches_log_ten_rows_an_epoch(batch: int, log_every: int):
    assert with_batch(IMAGENET, batch).log_every == log_every


def test_only_what_a_record_stands_behind_is_marked_as_run():
    run_here = [p.name for p in PRESETS.values() if p.status == "run here"]
    figures = read_record("fashion_mnist_paper")["runs"]
    assert run_here == [
        "digits",
        "digits_1024",
        "digits_sgd",
        "digits_nesterov",
        "digits_lamb",
        "smoke",
        "fashion_mnist",
        *(run["preset"] for run in figures if run["seed"] == 0),
        "cifar10_resnet8",
    ]
    for name in "fashion_mnist", "cifar10_resnet8":
        config = get_preset(name).config
        rate = config.optimizer.learning_rate
        found = {"phase": "test", "optimizer": "lars", "rate": rate}
        found["global_batch"] = config.global_batch
        runs = read_record(f"compare_{name}")["runs"]
        assert sum(found.items() <= run.items() for run in runs) >= 3


@pytest.mark.parametrize(
    ("lars", "control"),
    [
        ("digits", "digits_sgd"),
        ("digits", "digits_nesterov"),
        ("digits", "digits_lamb"),
        ("resnet50_32k_lars_mlperf07", "resnet50_32k_nesterov"),
    ],
)
def test_control_differs_from_lars_in_the_rule_and_the_rate_alone(
    lars: str, control: str
):
    ours, theirs = get_preset(lars).config, get_preset(control).config
    assert theirs.optimizer != ours.optimizer
    rule = {"optimizer": "lars", "learning_rate": ours.optimizer.learning_rate}
    assert dataclasses.replace(theirs.optimizer, **rule) == ours.optimizer
    assert dataclasses.replace(theirs, optimizer=ours.optimizer) == ours


@pytest.mark.parametrize("name", ["digits", "digits_nesterov", "digits_lamb"])
def test_rate_of_digits_is_among_the_five_that_compare_tries(name: str):
    preset = get_preset(name)
    tried = learning_rates(preset.config, 5, 16.0)
    assert preset.config.optimizer.learning_rate in tried[1:4]
    words = [f"{rate:g}" for rate in tried]
    assert preset.note == f"best of {', '.join(words[:4])} and {words[4]}"


def test_unknown_name_gets_a_suggestion_in_one_line():
    with pytest.raises(InputError, match="got 'mlperf_4095': .* mlperf_4096"):
        get_preset("mlperf_4095")


def test_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["mine"] = PRESETS["digits"]  # pyright: ignore[reportIndexIssue]
