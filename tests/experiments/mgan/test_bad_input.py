"""Input that cannot be used: one clear line, exit status 2, nothing written.

What the shell refuses for every experiment is in `tests/runs`, files of weights in
`tests/train/test_weights.py`.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.mgan.check import check, check_data, resolve_devices
from experiments.mgan.config import Config
from experiments.mgan.experiment import main
from experiments.mgan.inputs import load_inputs
from experiments.mgan.presets import get_preset
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields
from lars_jax.train.weights import read_arrays
from tests.experiments.mgan.support import DIGITS, contents

pytestmark = pytest.mark.slow

NOWHERE = "/nonexistent-directory"

RANGES = {
    0: (
        *("batch", "fakes", "steps", "steps_per_call", "eval_every", "modes"),
        *("eval_samples", "checkpoint_every", "keep_every", "generators", "width"),
        *("stages", "noise_size", "image_size", "unrolled_steps", "devices"),
        *("extent", "variance"),
    ),
    float("nan"): (
        *("diversity", "classifier_weight", "init_deviation", "generator_rate"),
        *("discriminator_rate", "trust_coefficient", "weight_decay"),
    ),
    1.0: ("momentum", "second_momentum", "average_decay"),
    1.5: ("decay_from",),
    -1: ("warmup_steps", "seed"),
    "none": ("optimizer", "game"),
}
"""Values that fields must not have."""


def refused(call, *arguments):
    """Return the one line of a refusal."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_fields_have_their_ranges():
    for value, names in RANGES.items():
        for name in names:
            line = refused(check, replace_fields(Config(), **{name: value}))
            assert line.startswith(f"{name} must be "), line


GAMES = {
    # name: (preset, fields, what the line must say)
    "steps that calls do not make": (
        "ring",
        {"steps": 300},
        "steps must be a multiple of steps_per_call; got 300 for 250: choose --steps "
        "500, or a divisor",
    ),
    "checkpoints within a call": (
        "ring",
        {"checkpoint_every": 100},
        "choose --checkpoint-every 250",
    ),
    "evaluation within a call": ("ring", {"eval_every": 9}, "--eval-every 250"),
    "grid that is no square": (
        "grid_25",
        {"modes": 24},
        "a grid has a square number of modes; got modes 24: choose 16 or 25",
    ),
    "D2GAN of many": (
        "ring",
        {"game": "d2gan"},
        "d2gan has one generator; got generators 8: choose --generators 1",
    ),
    "D2GAN on images": (
        "digits",
        {"game": "d2gan", "generators": 1},
        "d2gan is built for points in the plane; got dataset digits",
    ),
    "Unrolled GAN of many": ("ring", {"game": "unrolled"}, "one generator"),
    "Unrolled GAN with LARS": (
        "ring_unrolled",
        {"optimizer": "lars"},
        "looks ahead by steps of Adam; got optimizer lars",
    ),
    "weight decay of Adam": (
        "ring",
        {"weight_decay": 1e-4},
        "weight_decay is of LARS and LAMB; got 0.0001 with adam: choose --optimizer",
    ),
    "trust of Adam": (
        "ring",
        {"trust_coefficient": 0.1},
        "trust_coefficient is ignored without lars; got 0.1: leave --trust",
    ),
    "nothing to unroll": (
        "ring",
        {"unrolled_steps": 3},
        "unrolled_steps is ignored by mgan; got 3",
    ),
    "weights of one": (
        "ring_gan",
        {"mixture": "learned"},
        "mixture is ignored with one generator; got learned",
    ),
    "dense layers for images": (
        "digits",
        {"network": "plane"},
        "network must fit the data; got plane for digits: choose --network dcgan",
    ),
    "convolutions in the plane": (
        "ring",
        {"network": "dcgan"},
        "got dcgan for ring: choose --network plane",
    ),
    "too many stages": (
        "digits",
        {"stages": 4},
        "got 4 halvings of 8 pixels: choose --stages 3 or fewer",
    ),
    "one fake image": (
        "digits",
        {"fakes": 1},
        "fakes must be at least 2 where samples are normalised",
    ),
    "another loss for D2GAN": (
        "ring_d2gan",
        {"generator_loss": "saturating"},
        "generator_loss is no rule of d2gan, which has losses of its own; got "
        "saturating: leave --generator-loss out",
    ),
    "diversity of D2GAN": ("ring_d2gan", {"diversity": 3.0}, "got 3.0: leave --div"),
    "weights of D2GAN": (
        "ring_d2gan",
        {"mixture": "learned"},
        "got learned: leave --mixture out, or choose --game mgan",
    ),
    "classifier of D2GAN": (
        "ring_d2gan_tuned",
        {"classifier_weight": 0.5},
        "leave --classifier-weight out",
    ),
    "fewer samples than scores": (
        "cifar10_small",
        {"features": "resnet8:weights.npz", "eval_samples": 9},
        "one for each part that is scored; got 9: choose --eval-samples 10 or more",
    ),
    "features of points": (
        "ring",
        {"features": "weights.npz"},
        "features judge images, not points in the plane",
    ),
}
DATA = {
    "batch larger than the data": (
        "digits",
        {"batch": 2000},
        "batch must not exceed the images; got 2000 of 1437",
    ),
    "data set of no such name": (
        "digits",
        {"dataset": "cifar99", "data_dir": NOWHERE},
        "cifar99",
    ),
    "data set that is not prepared": (
        "cifar10",
        {"data_dir": NOWHERE},
        "tfds build cifar10",
    ),
    "folder that does not exist": ("digits", {"dataset": f"folder:{NOWHERE}"}, NOWHERE),
    "split that does not exist": ("digits", {"split": "dev"}, "dev"),
}
COMMANDS = {
    # name: (arguments, what the line must say)
    "game that cannot run": (["train", "--batch", "-4"], "batch must be a whole"),
    "samples to a file of another kind": (
        ["samples", NOWHERE, "samples.csv"],
        "samples must be written to a file *.npz in a directory that is there",
    ),
    "samples to nowhere": (["samples", NOWHERE, f"{NOWHERE}/a.npz"], "name another"),
    "samples over a directory": (["samples", NOWHERE, "."], "name another"),
    "no samples": (
        ["samples", NOWHERE, "a.npz", "--samples", "0"],
        "samples must be a whole number above 0; got 0: set --samples",
    ),
    "samples of nothing": (
        ["samples", NOWHERE, "a.npz"],
        f"{NOWHERE} has none: name one",
    ),
    "features of grey images": (
        [*DIGITS, "--features", f"resnet8:{__file__}"],
        "features are taken of images in colour; got 1 channel in digits",
    ),
    "compare nothing": (["compare"], "needs presets, each once; got none"),
    "compare no seeds": (
        ["compare", "ring", "--seeds", "0"],
        "seeds must be a whole number",
    ),
    "compare an unknown preset": (["compare", "ring", "rung"], "'rung'"),
    "compare on different data": (
        ["compare", "ring", "grid_25"],
        "games on the same data in the plane; got ring, grid_25",
    ),
    "compare games of images": (["compare", "digits", "digits_gan"], "in the plane"),
    "compare too few steps for a call": (
        ["compare", "ring", "ring_gan", "--steps", "10"],
        "steps must be a multiple of the 250 that these presets take in a call; got "
        "10: choose --steps 250\n",
    ),
}


def complain(arguments, capsys):
    """Return the one line that a command complains with."""
    assert main([str(word) for word in arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    return line


@pytest.mark.parametrize(("preset", "fields", "says"), GAMES.values(), ids=GAMES.keys())
def test_game_that_cannot_run_is_refused(preset, fields, says):
    assert says in refused(check, replace_fields(get_preset(preset).config, **fields))


@pytest.mark.parametrize(("preset", "fields", "says"), DATA.values(), ids=DATA.keys())
def test_data_that_cannot_be_had_are_refused(preset, fields, says, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    config = check(replace_fields(get_preset(preset).config, **fields))
    assert says in refused(load_inputs, config)


def test_fewer_images_than_a_gallery_shows_are_refused():
    line = refused(check_data, get_preset("digits").config, 5)
    assert "needs at least 6 of them" in line
    assert "got 5 in digits" in line


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"devices": 3}, "batch must divide evenly over the devices; got 512 on 3"),
        (
            {"devices": 8, "fakes": 12},
            "fakes must divide evenly .* got 12 on 8 devices",
        ),
    ],
)
def test_batches_that_do_not_divide_over_devices_are_refused(fields, says):
    line = refused(resolve_devices, replace_fields(Config(), **fields), 8)
    assert re.search(says, line)


@pytest.mark.parametrize(("arguments", "says"), COMMANDS.values(), ids=COMMANDS.keys())
def test_one_line_and_status_two(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complain(arguments, capsys)
    assert list(tmp_path.iterdir()) == []
    assert not Path(NOWHERE).exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--samples", "0"], "eval_samples must be a whole number above 0"),
        (["--features", "weights.npz"], "features judge images"),
    ],
)
def test_evaluation_that_makes_no_sense(ring_run, capsys, words, says):
    before = contents(ring_run)
    assert says in complain(["eval", ring_run, *words], capsys)
    assert contents(ring_run) == before


def no_archive(path):
    path.write_bytes(b"PK nothing")


def an_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def other_arrays(path):
    np.savez(path, nothing=np.zeros(3))


@pytest.mark.parametrize("damage", [no_archive, an_array, other_arrays, Path.mkdir])
def test_damaged_arrays_are_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    damage(path)
    line = refused(read_arrays, path, ["a"])
    assert f"{path} must be an npz file of this run" in line
    assert "remove it to report without it" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gallery.npz", "samples/000000010.npz"])
def test_damaged_pictures_are_named(digits_run, tmp_path, capsys, name):
    copy = Path(shutil.copytree(digits_run, tmp_path / "run"))
    (copy / name).write_bytes((copy / name).read_bytes()[:500])
    line = complain(["report", copy], capsys)
    assert f"{copy / name} must be an npz file" in line
