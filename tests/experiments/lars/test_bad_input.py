"""Input that cannot be used: one clear line, exit status 2, nothing lost."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.lars.check import check
from experiments.lars.compare import compare
from experiments.lars.config import Config, Grid
from experiments.lars.experiment import main
from experiments.lars.trainer import Trainer
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields
from tests.experiments.lars.conftest import SMOKE

NOWHERE = "/nonexistent-directory"

RANGES = {
    **dict.fromkeys(
        ("global_batch", "log_every", "eval_batch", "image_size", "steps", "devices"),
        (0, "a whole number above 0"),
    ),
    **dict.fromkeys(
        ("epochs", "eval_every", "checkpoint_every", "device_memory", "keep_every"),
        (0.0, "a finite number above 0"),
    ),
    **dict.fromkeys(
        (
            *("learning_rate", "end_learning_rate", "decay_power", "warmup_epochs"),
            *("warmup_start", "weight_decay", "trust_coefficient"),
        ),
        (-1.0, "a finite number of at least 0"),
    ),
    **dict.fromkeys(("momentum", "label_smoothing"), (1.0, "at least 0 and below 1")),
    **dict.fromkeys(("holdout", "crop_padding"), (-1, "a whole number of at least 0")),
    "seed": (-1, "a whole number of at least 0"),
    "microbatches": (0, "a whole number above 0 or auto"),
    "bn_span": (
        0,
        "a whole number above 0 or one of per_device, global",
    ),
    "optimizer": ("adam", "one of lars, sgd, nesterov, lamb"),
    "variant": ("lards", "one of paper, optax"),
    "state_sharding": ("zero3", "one of none, zero1, fsdp"),
}
"""A value that each field must not have, and what it must be."""


def complaint(function, *arguments):
    """Return the one line that a configuration is refused with."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", RANGES)
def test_field_has_its_range(name):
    value, rule = RANGES[name]
    line = complaint(check, replace_fields(Config(), **{name: value}))
    assert line.startswith(f"{name} must be ")
    assert rule in line
    assert f"; got {value}: set --{name.replace('_', '-')} to such a value" in line


TOGETHER = {
    # name: (what is changed, what the line must say)
    "variant of SGD": (
        {"optimizer": "sgd", "variant": "byol"},
        "variant is a form of LARS; got byol with optimizer sgd",
    ),
    "variant of LAMB": (
        {"optimizer": "lamb", "variant": "simclr_popular"},
        "got simclr_popular with optimizer lamb",
    ),
    "trust coefficient of SGD": (
        {"optimizer": "sgd", "trust_coefficient": 0.01},
        "trust_coefficient is of LARS; got 0.01 with optimizer sgd",
    ),
    "endless epochs": ({"epochs": math.inf}, "epochs must be a finite"),
    "nothing but warm-up": (
        {"warmup_epochs": 9.0, "epochs": 9.0},
        "warmup_epochs must be below epochs; got 9.0",
    ),
    "microbatches do not divide": (
        {"microbatches": 3, "global_batch": 256},
        "microbatches must divide global_batch; got 3 of 256",
    ),
    "span does not divide": (
        {"bn_span": 48, "global_batch": 256},
        "bn_span must divide a micro-batch; got 48 of 256",
    ),
    "span larger than a micro-batch": (
        {"microbatches": 4, "bn_span": 128},
        "bn_span must divide a micro-batch; got 128 of 64",
    ),
    "global span in parts": (
        {"global_batch": 256, "microbatches": 2},
        "bn_span must be a number or per_device where batch normalisation meets "
        "micro-batches; got global with 2 micro-batches of 128 examples: set --bn-span "
        "to a divisor of 128, such as 64",
    ),
    "random boxes on the device": (
        {"augmentation": "random_resized_crop", "placement": "device"},
        "random_resized_crop is cut on the host",
    ),
    "resize below the crop": ({"resize": 4}, "resize must be at least"),
    "a short side of no length": (
        {"evaluation_fit": "short_side"},
        "evaluation_fit short_side needs the length of that side; got resize None",
    ),
    "state split by another back-end": (
        {"state_sharding": "fsdp", "backend": "shard_map"},
        "state_sharding needs the back-end jit, where arrays are global; got fsdp with "
        "shard_map: leave --backend out",
    ),
    "sums narrower than products": (
        {"gradient_sums": "bfloat16"},
        "gradient_sums must not be narrower than dtype; got bfloat16 with float32: "
        "leave --gradient-sums out, or set --dtype bfloat16",
    ),
    "checkpoints for good between others": (
        {"keep_every": 7.0, "checkpoint_every": 5.0},
        "keep_every must be a multiple of checkpoint_every, or left out; got 7.0 for",
    ),
}


@pytest.mark.parametrize(("changes", "says"), TOGETHER.values(), ids=TOGETHER)
def test_fields_have_to_fit_one_another(changes, says):
    assert says in complaint(check, replace_fields(Config(), **changes))


WITH_DATA = {
    "span per device that does not come out even": (
        {"global_batch": 1000, "bn_span": "per_device", "microbatches": 2},
        "global_batch must be a multiple of microbatches x devices; got 1000 for 2 x 8",
    ),
    "batch does not divide over devices": (
        {"global_batch": 20},
        "global_batch must be a multiple of microbatches x devices; got 20 for 1 x 8",
    ),
    "span larger than a device's part": (
        {"backend": "shard_map", "microbatches": 2, "bn_span": 32},
        "under shard_map; got 32 of 16 examples",
    ),
    "batch larger than the data": (
        {"global_batch": 2000},
        "global_batch must not exceed the training examples; got 2000 of 1437",
    ),
    "crop larger than the image": (
        {"image_size": 32},
        "image_size must not exceed the images; got 32 for images of 8x8",
    ),
    "more devices than there are": ({"devices": 99}, "devices must be"),
    "hold out everything": ({"holdout": 1437}, "1437"),
    "data set of no such name": (
        {"dataset": "cifar99", "data_dir": NOWHERE},
        "cifar99",
    ),
    "data set that is not prepared": (
        {"dataset": "cifar10", "data_dir": NOWHERE},
        "tfds build cifar10",
    ),
    "split that does not exist": ({"train_split": "dev"}, "dev"),
    "folder that does not exist": ({"dataset": f"folder:{NOWHERE}"}, NOWHERE),
}


@pytest.mark.parametrize(("changes", "says"), WITH_DATA.values(), ids=WITH_DATA)
def test_configuration_has_to_fit_devices_and_data(changes, says, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    config = check(replace_fields(Config(), **{"devices": 8} | changes))
    assert says in complaint(Trainer.create, config)


GRIDS = {
    "nothing": (
        {"seeds": 0},
        "seeds must be a whole number above 0; got 0",
    ),
    "fewer than no trials": ({"trials": -1}, "trials must be a whole number"),
    "over no span": ({"rate_span": 0.5}, "rate_span must be a finite number of at"),
    "one batch twice": ({"batches": (64, 64)}, "each once"),
    "LARS with itself": (
        {"optimizers": ("lars", "paper")},
        "lars and paper are the same here",
    ),
    "too little to train on": (
        {"batches": (1300,), "tuning_holdout": 200},
        "got 1300 of 1237",
    ),
    "without a coefficient": ({"trust_coefficient": 0.0}, "trust_coefficient above 0"),
    "a cell that cannot run": (
        {"optimizers": ("lamb",), "batches": (64,), "microbatches": 3},
        "lamb at 64 cannot when it is tuned: microbatches must divide global_batch; "
        "got 3 of 64",
    ),
    "calls that are not whole in one of the cells": (
        {"batches": (1024, 64), "steps_per_call": 2, "log_every": 2},
        "lars at 64 cannot when it is tuned: steps must be a multiple of "
        "steps_per_call; got 773 for 2",
    ),
    "a warm-up that takes all of a run without a hold-out": (
        {"batches": (1024, 64), "steps": 60, "warmup_epochs": 3.0},
        "lars at 64 cannot when it is tested: warmup_epochs must end before",
    ),
    "more devices than there are": ({"devices": 99}, "devices must be"),
    "a batch that devices cannot share": (
        {"batches": (64, 66), "devices": 4},
        "lars at 66 cannot when it is tuned: global_batch must be a multiple of",
    ),
}


@pytest.mark.parametrize(("changes", "says"), GRIDS.values(), ids=GRIDS)
def test_grid_that_cannot_be_compared_is_refused(changes, says, tmp_path):
    fields = {field.name for field in dataclasses.fields(Grid)}
    config = {name: value for name, value in changes.items() if name not in fields}
    grid = {name: value for name, value in changes.items() if name in fields}
    config = replace_fields(Config(), **{"devices": 1} | config)
    assert says in complaint(compare, config, Grid(**grid), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


COMMANDS = {
    # name: (arguments, what the line must say)
    "fraction of a batch": (["train", "--global-batch", "2.5"], "--global-batch"),
    "span that is no number": (["train", "--bn-span", "whole"], "'whole'"),
    "unknown network": (["train", "--network", "resnet19"], "resnet19"),
    "fields that do not fit": (["train", "--resize", "4"], "resize must be at least"),
    "devices that do not fit": (["train", "--devices", "99"], "devices must be"),
    "export to nowhere": (
        ["export", NOWHERE, f"{NOWHERE}/weights.npz"],
        "needs a directory to lie in",
    ),
    "compare an unknown optimizer": (["compare", "--optimizers", "adam"], "adam"),
    "compare nothing": (["compare", "--seeds", "0"], "seeds must be a whole number"),
}


def complain(arguments, capsys):
    """Return the one line that a command complains with."""
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    return line


@pytest.mark.parametrize(("arguments", "says"), COMMANDS.values(), ids=COMMANDS)
def test_one_line_and_status_two(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complain(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of a finished run that a test may break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_resume_with_another_model_shows_the_difference(run, capsys):
    before = contents(run)
    line = complain(
        [*SMOKE, "--network", "resnet14", "--run-dir", run, "--resume"], capsys
    )
    assert "model.network: resnet8 -> resnet14" in line
    assert contents(run) == before


@pytest.mark.slow
def test_mistakes_that_are_no_archive(run, capsys):
    (run / "mistakes.npz").write_bytes(b"PK nothing")
    assert "must be an npz file" in complain(["report", run], capsys)


def test_image_that_cannot_be_read_is_named(tmp_path, capsys):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    broken = tmp_path / "data" / "train" / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = ["--dataset", f"folder:{tmp_path / 'data'}", "--run-dir", tmp_path / "run"]
    line = complain([*SMOKE, *data, "--global-batch", "8"], capsys)
    assert str(broken) in line
