"""Input that cannot be used: one clear line, exit status 2, nothing written."""

import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.mgan.check import check, resolve_devices
from experiments.mgan.compare import compare
from experiments.mgan.config import Config
from experiments.mgan.evaluation import open_extractor
from experiments.mgan.experiment import MGAN, main
from experiments.mgan.inputs import load_inputs
from experiments.mgan.presets import get_preset
from experiments.mgan.snapshots import read_arrays, write_arrays
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields
from tests.experiments.mgan.support import DIGITS, RING, contents

NOWHERE = "/nonexistent-directory"

WHOLE, FINITE = "a whole number", "a finite number"
RANGES = {
    **dict.fromkeys(
        (
            *("batch", "fakes", "steps", "steps_per_call", "eval_every", "modes"),
            *("eval_samples", "checkpoint_every", "keep_every", "generators", "width"),
            *("stages", "noise_size", "image_size", "unrolled_steps", "devices"),
        ),
        (0, f"{WHOLE} above 0"),
    ),
    **dict.fromkeys(("extent", "variance"), (0.0, f"{FINITE} above 0")),
    **dict.fromkeys(
        (
            *("diversity", "classifier_weight", "init_deviation", "generator_rate"),
            *("discriminator_rate", "trust_coefficient", "weight_decay"),
        ),
        (float("nan"), f"{FINITE} of at least 0"),
    ),
    **dict.fromkeys(
        ("momentum", "second_momentum", "average_decay"),
        (1.0, f"{FINITE} of at least 0 and below 1"),
    ),
    "decay_from": (1.5, f"{FINITE} above 0 and of at most 1"),
    "warmup_steps": (-1, f"{WHOLE} of at least 0"),
    "seed": (-1, f"{WHOLE} of at least 0 and below"),
    "optimizer": ("sgd", "one of adam, lars, lamb"),
    "game": ("wgan", "one of mgan, d2gan, unrolled"),
}
"""A value that each field must not have, and what it must be."""


@pytest.mark.parametrize("name", RANGES)
def test_field_has_its_range(name):
    value, rule = RANGES[name]
    with pytest.raises(InputError, match=f"^{name} must be ") as caught:
        check(replace_fields(Config(), **{name: value}))
    line = str(caught.value)
    assert rule in line
    assert f"; got {value}: set --{name.replace('_', '-')} to such a value" in line


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
    "game that cannot run": (["train", "--batch", "-4"], "batch must be a whole"),
    # name: (arguments, what the line must say)
    "unknown preset": (["train", "rng"], "did you mean ring or"),
    "unknown flag": (["train", "--generatr-rate", "3"], "--generator-rate"),
    "unknown game": (["train", "--game", "wgan"], "wgan"),
    "more devices than there are": (
        ["train", "--devices", "64", "--fakes", "64"],
        "devices must be",
    ),
    "nothing to resume": (
        [*RING, "--run-dir", NOWHERE, "--resume"],
        "--resume needs a run to go on with",
    ),
    "evaluate without a run": (["eval"], "Directory that `train` wrote"),
    "evaluate nothing": (["eval", NOWHERE], "config.json must be readable"),
    "report nothing": (["report", NOWHERE], "config.json must be readable"),
    "samples of nothing": (["samples", NOWHERE, "a.npz"], "config.json must be"),
    "export of nothing": (["export", NOWHERE, "a.npz"], "config.json must be"),
    "samples to a file of another kind": (
        ["samples", NOWHERE, "samples.csv"],
        "samples must be written to a file *.npz in a directory that is there",
    ),
    "samples to nowhere": (["samples", NOWHERE, f"{NOWHERE}/a.npz"], "name another"),
    "export to a file of another kind": (
        ["export", NOWHERE, "weights.txt"],
        "*.npz or *.safetensors; got weights.txt",
    ),
    "export to nowhere": (["export", NOWHERE, f"{NOWHERE}/a.npz"], "is none"),
    "compare nothing": (["compare"], "got 0 presets, 5 seeds"),
    "compare no seeds": (["compare", "ring", "--seeds", "0"], "1 presets, 0 seeds"),
    "compare an unknown preset": (["compare", "ring", "rung"], "'rung'"),
    "compare on different data": (
        ["compare", "ring", "grid_25"],
        "games on the same data in the plane; got ring, grid_25",
    ),
    "compare games of images": (["compare", "digits", "digits_gan"], "in the plane"),
    "compare too few steps for a call": (
        ["compare", "ring", "ring_gan", "--steps", "10"],
        "steps must be a multiple of steps_per_call",
    ),
}


def complain(arguments, capsys):
    """Return the one line that a command complains with."""
    capsys.readouterr()
    assert main([str(word) for word in arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1, line
    return line


def refused(call, *arguments):
    """Return the one line of a refusal."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(("preset", "fields", "says"), GAMES.values(), ids=GAMES.keys())
def test_game_that_cannot_run_is_refused(preset, fields, says):
    assert says in refused(check, replace_fields(get_preset(preset).config, **fields))


@pytest.mark.parametrize(("preset", "fields", "says"), DATA.values(), ids=DATA.keys())
def test_data_that_cannot_be_had_are_refused(preset, fields, says, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    config = check(replace_fields(get_preset(preset).config, **fields))
    assert says in refused(load_inputs, config)


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


def test_no_words_at_all_print_the_usage(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: python -m experiments.mgan")


@pytest.fixture
def ring(ring_run, tmp_path):
    """Return a copy of a finished game in the plane that a test may break."""
    return Path(shutil.copytree(ring_run, tmp_path / "run"))


@pytest.fixture
def digits(digits_run, tmp_path):
    """Return a copy of a finished game of images that a test may break."""
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def test_second_run_in_one_directory_is_refused(ring, capsys):
    before = contents(ring)
    assert "add --resume" in complain([*RING, "--run-dir", ring], capsys)
    assert contents(ring) == before


def test_resume_of_another_game_shows_the_difference(ring, capsys):
    before = contents(ring)
    words = [*RING, "--diversity", "0.5", "--run-dir", ring, "--resume"]
    assert "rules.diversity: 0.125 -> 0.5" in complain(words, capsys)
    assert contents(ring) == before


def test_configuration_that_is_not_json(ring, capsys):
    (ring / "config.json").write_text("{")
    assert "must hold JSON" in complain(["eval", ring], capsys)


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("[]", "eval"),
        ("{}", "report"),
        ('{"config": {}}', "resume"),
        ('{"preset":"","config":null,"environment":{}}', "eval"),
    ],
)
def test_configuration_that_is_none(ring, capsys, text, verb):
    (ring / "config.json").write_text(text)
    resume = [*RING, "--run-dir", ring, "--resume"]
    line = complain(resume if verb == "resume" else [verb, ring], capsys)
    assert "must hold the configuration of a run" in line


def test_configuration_of_another_version(ring, capsys):
    record = json.loads((ring / "config.json").read_text())
    record["config"]["warp"] = 9
    (ring / "config.json").write_text(json.dumps(record))
    assert "unknown: ['warp']" in complain(["eval", ring], capsys)


def test_configuration_of_another_program(ring, capsys):
    record = json.loads((ring / "config.json").read_text())
    del record["config"]["rules"]
    (ring / "config.json").write_text(json.dumps(record))
    line = complain(["report", ring], capsys)
    assert "must hold the configuration of a game" in line


def largest_file(directory):
    return max(
        (path for path in directory.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("verb", "damage"),
    [
        (["eval"], cut_short),
        (["eval"], flip),
        (["samples", "a.npz"], flip),
        (["export", "a.npz"], Path.unlink),
    ],
)
def test_damaged_checkpoint_is_not_read(ring, capsys, tmp_path, verb, damage):
    damage(largest_file(ring / "checkpoints" / "40"))
    verb, *file = verb
    words = [verb, ring, *(tmp_path / name for name in file)]
    assert "a checkpoint must" in complain(words, capsys)
    assert not list(tmp_path.glob("*.npz"))


def test_checkpoints_that_are_all_damaged_stop_a_resume_and_lose_nothing(ring, capsys):
    for step in (ring / "checkpoints").iterdir():
        largest_file(step).write_bytes(b"")
    before = contents(ring)
    complain([*RING, "--run-dir", ring, "--resume"], capsys)
    assert contents(ring) == before


@pytest.mark.parametrize("verb", [["eval"], ["samples", "a.npz"], ["export", "a.npz"]])
def test_run_without_a_checkpoint_cannot_be_read(ring, capsys, tmp_path, verb):
    shutil.rmtree(ring / "checkpoints")
    verb, *file = verb
    words = [verb, ring, *(tmp_path / name for name in file)]
    assert "must have a checkpoint to read" in complain(words, capsys)
    assert not (ring / "checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eval", "--samples", "0"], "eval_samples must be a whole number above 0"),
        (["eval", "--features", "weights.npz"], "features judge images"),
        (["eval", "--checkpoint", "first"], "first"),
    ],
)
def test_evaluation_that_makes_no_sense(ring_run, capsys, words, says):
    before = contents(ring_run)
    assert says in complain([words[0], ring_run, *words[1:]], capsys)
    assert contents(ring_run) == before


@pytest.mark.parametrize("count", ["0", "-5"])
def test_no_samples(ring_run, tmp_path, capsys, count):
    words = ["samples", ring_run, tmp_path / "a.npz", "--samples", count]
    assert f"samples must be above 0; got {count}" in complain(words, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["samples", "export"])
def test_directory_is_not_written_over(ring_run, tmp_path, capsys, verb):
    place = tmp_path / "a.npz"
    place.mkdir()
    assert "name another" in complain([verb, ring_run, place], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def not_an_archive(path):
    path.write_bytes(b"PK nothing")


def an_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def other_arrays(path):
    np.savez(path, nothing=np.zeros(3))


@pytest.mark.parametrize(
    "damage", [not_an_archive, an_array, other_arrays, cut_short, flip]
)
def test_damaged_arrays_are_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": np.random.default_rng(0).random(99)})
    damage(path)
    line = refused(read_arrays, path, ["a"])
    assert f"{path} must be an npz file of this run" in line
    assert "remove it to report without it" in line


@pytest.mark.parametrize("name", ["gallery.npz", "samples/000000020.npz"])
def test_damaged_pictures_are_named(digits, capsys, name):
    cut_short(digits / name)
    assert f"{digits / name} must be an npz file" in complain(
        ["report", digits], capsys
    )


def test_what_a_killed_process_left_is_no_picture(ring, capsys):
    (ring / "samples" / ".000000020.77.tmp.npz").write_bytes(b"PK")
    assert main(["report", str(ring)]) == 0


def test_line_of_metrics_that_is_not_json(ring, capsys):
    metrics = ring / "metrics.jsonl"
    metrics.write_text("nonsense\n" + metrics.read_text())
    assert "line 1 does not" in complain(["report", ring], capsys)


def test_last_line_of_metrics_that_is_cut_short_is_left_out(ring, capsys):
    metrics = ring / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-20])
    assert main(["report", str(ring)]) == 0
    assert capsys.readouterr().err == ""


def colour_images(directory, count=40):
    random = np.random.default_rng(0)
    for split, name in (("train", "cat"), ("test", "cat")):
        folder = directory / split / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return directory


@pytest.mark.parametrize(
    ("dataset", "features", "says"),
    [
        ("cifar10", "absent.npz", "a file of weights must exist; absent.npz"),
        ("cifar10", "resnet8:absent.npz", "a file of weights must exist"),
        ("cifar10", "resnet9:absent.npz", "'resnet9'"),
        ("cifar10", "alexnet:absent.npz", "features are taken of a ResNet"),
        ("cifar10", "broken.npz", "broken.npz"),
        ("cifar10", "resnet8:broken.npz", "broken.npz"),
        ("folder:a", "resnet8:broken.npz", "images that it was trained on, CIFAR-10"),
    ],
)
def test_features_that_cannot_be_used(tmp_path, monkeypatch, dataset, features, says):
    monkeypatch.chdir(tmp_path)
    Path("broken.npz").write_bytes(b"PK nothing")
    assert says in refused(open_extractor, features, dataset)


def test_features_of_grey_images_stop_a_run_before_it_is_written(tmp_path, capsys):
    words = [*DIGITS, "--run-dir", tmp_path / "run", "--features", "resnet8:a.npz"]
    line = complain(words, capsys)
    assert "features are taken of images in colour; got 1 channel in digits" in line
    assert not (tmp_path / "run").exists()


def test_image_that_cannot_be_read_is_named(tmp_path, capsys):
    place = colour_images(tmp_path / "images")
    broken = place / "train" / "cat" / "03.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = ["--dataset", f"folder:{place}", "--run-dir", tmp_path / "run"]
    assert str(broken) in complain([*DIGITS, *data], capsys)
    assert not (tmp_path / "run").exists()


def test_folder_of_fewer_images_than_a_gallery_shows(tmp_path, capsys):
    place = colour_images(tmp_path / "images", count=5)
    data = ["--dataset", f"folder:{place}", "--run-dir", tmp_path / "run"]
    line = complain([*DIGITS, *data, "--batch", "2"], capsys)
    assert "needs at least 6 of them" in line
    assert "got 5 in folder:" in line
    assert not (tmp_path / "run").exists()


def test_run_directory_below_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = complain([*RING, "--run-dir", tmp_path / "file" / "run"], capsys)
    assert "must be a directory" in line


def test_run_directory_that_may_not_be_written(tmp_path, capsys, monkeypatch):
    # Permissions do not hold root back, so the refusal itself is played.
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, "denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    line = complain([*RING, "--run-dir", tmp_path / "run"], capsys)
    assert "may not be written: choose another --run-dir" in line


def test_comparison_in_the_place_of_another_is_refused(ring_run, tmp_path):
    place = tmp_path / "ring" / "0"
    shutil.copytree(ring_run, place)
    before = contents(place)
    with pytest.raises(InputError, match="holds one configuration"):
        compare(MGAN, {"ring": replace_fields(Config(), steps=250)}, 1, tmp_path)
    assert contents(place) == before


def test_game_that_diverges_says_by_when_and_keeps_its_checkpoints(tmp_path, capsys):
    words = [*RING, "--generator-rate", "1e30", "--discriminator-rate", "1e30"]
    status = main([*words, "--run-dir", str(tmp_path / "run")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 3
    assert "training must stay finite; by step 10 the loss was" in said
