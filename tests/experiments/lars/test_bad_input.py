"""Input that cannot be used: one clear line, exit status 2, nothing lost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.lars.check import check
from experiments.lars.config import Config
from experiments.lars.experiment import main
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
    "bn_span": (0, "a whole number above 0 or one of per_device, global"),
    "optimizer": ("adam", "one of lars, sgd, nesterov, lamb"),
    "variant": ("lards", "one of paper, optax"),
    "state_sharding": ("zero3", "one of none, zero1, fsdp"),
}
"""A value that each field must not have, and what it must be."""


@pytest.mark.parametrize("name", RANGES)
def test_field_has_its_range(name):
    value, rule = RANGES[name]
    with pytest.raises(InputError) as caught:
        check(replace_fields(Config(), **{name: value}))
    line = str(caught.value)
    assert line.startswith(f"{name} must be ")
    assert f"{rule}" in line
    assert f"; got {value}: set --{name.replace('_', '-')} to such a value" in line


CASES = {
    # name: (arguments, what the line must say)
    "word for a number": (["train", "--global-batch", "many"], "--global-batch"),
    "fraction of a batch": (["train", "--global-batch", "2.5"], "--global-batch"),
    "unknown network": (["train", "--network", "resnet19"], "resnet19"),
    "unknown optimizer": (["train", "--optimizer", "adam"], "adam"),
    "unknown variant": (["train", "--variant", "lards"], "lards"),
    "variant of SGD": (
        ["train", "--optimizer", "sgd", "--variant", "byol"],
        "variant is a form of LARS; got byol with optimizer sgd",
    ),
    "variant of LAMB": (
        ["train", "digits_lamb", "--variant", "simclr_popular"],
        "got simclr_popular with optimizer lamb",
    ),
    "unknown back-end": (["train", "--backend", "magic"], "magic"),
    "unknown dtype": (["train", "--dtype", "float16"], "float16"),
    "endless epochs": (["train", "--epochs", "inf"], "epochs must be a finite"),
    "nothing but warm-up": (
        ["train", "--warmup-epochs", "9", "--epochs", "9"],
        "warmup_epochs must be below epochs; got 9.0",
    ),
    "microbatches do not divide": (
        ["train", "--microbatches", "3", "--global-batch", "256"],
        "microbatches must divide global_batch; got 3 of 256",
    ),
    "span does not divide": (
        ["train", "--bn-span", "48", "--global-batch", "256"],
        "bn_span must divide a micro-batch; got 48 of 256",
    ),
    "span that is no number": (
        ["train", "--bn-span", "whole"],
        "'whole'",
    ),
    "global span in parts": (
        ["train", "--global-batch", "256", "--microbatches", "2"],
        "bn_span must be a number or per_device where batch normalisation meets "
        "micro-batches; got global with 2 micro-batches of 128 examples: set --bn-span "
        "to a divisor of 128, such as 64",
    ),
    "span per device that does not come out even": (
        [
            *["train", "--global-batch", "1000", "--bn-span", "per_device"],
            *["--microbatches", "2", "--devices", "8"],
        ],
        "global_batch must be a multiple of microbatches x devices; got 1000 for 2 x 8",
    ),
    "random boxes on the device": (
        [
            *("train", "--augmentation", "random_resized_crop"),
            *("--placement", "device"),
        ],
        "random_resized_crop is cut on the host",
    ),
    "resize below the crop": (["train", "--resize", "4"], "resize must be at least"),
    "batch larger than the data": (
        ["train", "--global-batch", "2000", "--devices", "1"],
        "global_batch must not exceed the training examples; got 2000 of 1437",
    ),
    "crop larger than the image": (
        ["train", "--image-size", "32", "--devices", "1"],
        "image_size must not exceed the images; got 32 for images of 8x8",
    ),
    "batch does not divide over devices": (
        ["train", "--devices", "8", "--global-batch", "20"],
        "global_batch must be a multiple of microbatches x devices; got 20 for 1 x 8",
    ),
    "state split by another back-end": (
        ["train", "--state-sharding", "fsdp", "--backend", "shard_map"],
        "state_sharding needs the back-end jit, where arrays are global; got fsdp with "
        "shard_map: leave --backend out",
    ),
    "unknown way to split the state": (
        ["train", "--state-sharding", "zero3"],
        "zero3",
    ),
    "more devices than there are": (["train", "--devices", "99"], "devices must be"),
    "hold out everything": (["train", "--holdout", "1437", "--devices", "1"], "1437"),
    "data set of no such name": (
        ["train", "--dataset", "cifar99", "--data-dir", NOWHERE],
        "cifar99",
    ),
    "data set that is not prepared": (
        ["train", "--dataset", "cifar10", "--data-dir", NOWHERE],
        "tfds build cifar10",
    ),
    "split that does not exist": (["train", "--train-split", "dev"], "dev"),
    "folder that does not exist": (
        ["train", "--dataset", f"folder:{NOWHERE}"],
        NOWHERE,
    ),
    "evaluate nothing": (["eval", NOWHERE], "config.json must be readable"),
    "show an unknown preset": (["show", "resnet"], "resnet"),
    "begin with weights that are not there": (
        [*SMOKE, "--run-dir", NOWHERE, "--init-from", f"{NOWHERE}.npz"],
        "a file of weights must exist",
    ),
    "begin with something else": (
        [*SMOKE, "--run-dir", NOWHERE, "--init-from", "README.md"],
        "files named *.npz or *.safetensors; got README.md",
    ),
    "export to something else": (["export", NOWHERE, "weights.pt"], "*.npz or"),
    "export to nowhere": (
        ["export", NOWHERE, f"{NOWHERE}/weights.npz"],
        "needs a directory to lie in",
    ),
    "export nothing": (["export", NOWHERE, "w.npz"], "config.json must be readable"),
    "compare nothing": (["compare", "--seeds", "0"], "seeds must be a whole number"),
    "compare fewer than no seeds": (["compare", "--seeds", "-1"], "got -1"),
    "compare one batch twice": (["compare", "--batches", "64", "64"], "each once"),
    "span larger than a micro-batch": (
        ["train", "--microbatches", "4", "--bn-span", "128"],
        "bn_span must divide a micro-batch; got 128 of 64",
    ),
    "span larger than a device's part": (
        [
            *["train", "--backend", "shard_map", "--devices", "8"],
            *["--microbatches", "2", "--bn-span", "32"],
        ],
        "under shard_map; got 32 of 16 examples",
    ),
    "compare LARS with itself": (
        ["compare", "--optimizers", "lars", "paper"],
        "lars and paper are the same here",
    ),
    "compare with too little to train on": (
        ["compare", "--batches", "1300", "--tuning-holdout", "200"],
        "got 1300 of 1237",
    ),
    "compare an unknown optimizer": (["compare", "--optimizers", "adam"], "adam"),
    "compare without a coefficient": (
        ["compare", "--trust-coefficient", "0"],
        "trust_coefficient above 0",
    ),
    "compare a cell that cannot run": (
        ["compare", "--optimizers", "lamb", "--batches", "64", "--microbatches", "3"],
        "microbatches must divide global_batch; got 3 of 64",
    ),
    "compare over no span": (["compare", "--rate-span", "0.5"], "rate_span"),
}


def complain(arguments, capsys):
    """Return the one line that a command complains with."""
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    return line


@pytest.mark.parametrize(("arguments", "says"), CASES.values(), ids=CASES.keys())
def test_one_line_and_status_two(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
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


def test_resume_with_another_model_shows_the_difference(run, capsys):
    before = contents(run)
    line = complain(
        [*SMOKE, "--network", "resnet14", "--run-dir", run, "--resume"], capsys
    )
    assert "model.network: resnet8 -> resnet14" in line
    assert contents(run) == before


def test_configuration_of_another_version(run, capsys):
    record = json.loads((run / "config.json").read_text())
    record["config"]["warp"] = 9
    (run / "config.json").write_text(json.dumps(record))
    assert "unknown: ['warp']" in complain(["eval", run], capsys)


def largest_file(directory):
    return max(
        (path for path in directory.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_damaged_checkpoint_is_not_evaluated(run, capsys, damage):
    data = largest_file(run / "checkpoints")
    content = bytearray(data.read_bytes())
    if damage == "truncate":
        data.write_bytes(content[: len(content) // 2])
    elif damage == "delete":
        data.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        data.write_bytes(content)
    assert "a checkpoint must" in complain(["eval", run], capsys)


def test_line_of_metrics_that_is_not_json(run, capsys):
    metrics = run / "metrics.jsonl"
    metrics.write_text("nonsense\n" + metrics.read_text())
    assert "line 1 does not" in complain(["report", run], capsys)


def test_mistakes_that_are_no_archive(run, capsys):
    (run / "mistakes.npz").write_bytes(b"PK nothing")
    assert "must be an npz file" in complain(["report", run], capsys)


def test_run_that_diverges_says_where_and_keeps_its_checkpoints(tmp_path, capsys):
    words = [*SMOKE, "--optimizer", "sgd", "--learning-rate", "1e30", "--steps", "30"]
    status = main([*words, "--run-dir", str(tmp_path / "run")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 3
    assert "training must stay finite; at step" in said
    assert "conv1/kernel" in said or "no leaf" in said


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
