"""A detector's run from end to end, what it leaves, and what it refuses."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.transitive.detection.check import check
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.experiment import main
from experiments.transitive.detection.load import load_pictures
from experiments.transitive.detection.presets import PRESETS
from experiments.transitive.detection.program import DetectorProgram
from lars_jax.errors import InputError
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_rows
from lars_jax.train.weights import save_weights
from tests.experiments.transitive.detection.folders import (
    BLOCKS,
    annotation,
    write_blocks,
    write_picture,
    write_voc,
    xml_object,
)

DIFFICULT = "<difficult>1</difficult>"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Return a folder of pictures with one bright object each, of one class."""
    return write_blocks(tmp_path_factory.mktemp("voc"))


@pytest.fixture
def words(voc, tmp_path, monkeypatch):
    """Return a command that trains a tiny detector on it."""
    monkeypatch.setenv("LARS_JAX_CACHE", str(tmp_path / "cache"))
    return [
        *("train", "small_fast", "--dataset", f"voc:{voc}", "--devices", "1"),
        *("--network", "small", "--width", "0.125", "--units", "64", "--cells", "3"),
        *("--short-side", "64", "--long-side", "96", "--regions", "16"),
        *("--proposals", "40", "--test-proposals", "40", "--log-every", "2"),
        *("--no-drop-copies", "--warmup-steps", "0", "--learning-rate", "0.002"),
    ]


def test_run_leaves_detections_and_weights_that_begin_another(words, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    own = [*words, "--steps", "6", "--eval-every", "3"]
    assert main([*own, "--run-dir", str(whole)]) == 0
    capsys.readouterr()
    found = json.loads((whole / "detections.json").read_text())
    assert sorted(found) == [f"{name}.jpg" for name in BLOCKS["test"]]
    assert np.asarray(Image.open(whole / "detections.png")).shape == (60, 960, 3)
    rows = list(read_rows(whole / "metrics.jsonl"))
    assert 0 <= rows[0]["baseline/same_box/ap50"] <= 1
    assert [row["step"] for row in rows if "eval/ap50" in row] == [3, 6]
    assert all(0 <= row["eval/ap50"] <= 1 for row in rows if "eval/ap50" in row)
    page = (whole / "report.html").read_text()
    last = rows[-1]["eval/ap50"]
    assert f"{100 * last:.1f} % of 4 pictures" in page
    assert "data:image/png;base64," in page
    (whole / "report.html").unlink()
    assert main(["report", str(whole)]) == 0
    assert (whole / "report.html").read_text() == page
    assert main(["eval", str(whole)]) == 0
    assert "AP50" in capsys.readouterr().out
    capsys.readouterr()
    tall = tmp_path / "tall.png"
    Image.new("RGB", (30, 120)).save(tall)
    sheet = str(tmp_path / "whole" / "detections.png")
    own_pictures = [str(tall), sheet]
    out = ["--out", str(tmp_path / "drawn"), "--least", "0"]
    assert main(["detect", str(whole), *own_pictures, *out]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert np.asarray(Image.open(tmp_path / "drawn" / "tall.png")).shape == (120, 30, 3)
    # What is found in a picture does not hang on those that come with it.
    alone = ["--out", str(tmp_path / "alone"), "--least", "0"]
    assert main(["detect", str(whole), sheet, *alone]) == 0
    alone = capsys.readouterr().out.replace("alone", "drawn").strip()
    assert alone == said[1] != "nothing"
    assert main(["detect", str(whole), str(tall), str(tall)]) == 2
    assert "no two the same; got tall" in capsys.readouterr().err
    assert main(["detect", str(whole)]) == 2
    assert main(["detect", str(whole), str(tmp_path / "none.png")]) == 2
    assert main(["detect", str(whole), str(tall), "--out", str(tmp_path)]) == 2
    assert f"got {tall} for both: name another --out" in capsys.readouterr().err
    assert main(["detect", str(whole), str(tall), "--least", "50"]) == 2
    assert "least must be" in capsys.readouterr().err
    assert main(["export", str(whole), str(parts.with_suffix(".npz"))]) == 0
    # The convolutions of one run begin another's.
    warm = ["--init-from", str(parts.with_suffix(".npz")), "--steps", "2"]
    assert main([*words, *warm, "--eval-every", "2", "--run-dir", str(parts)]) == 0


def test_a_run_is_of_its_own_objects_wherever_they_lie(
    words, voc, tmp_path, capsys, monkeypatch
):
    own, moved, run = tmp_path / "own", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(voc, own)
    words = ["--steps", "1", *words[words.index("--devices") :], "--run-dir", str(run)]
    assert main(["train", "small_fast", "--dataset", f"voc:{own}", *words]) == 0
    shutil.move(own, moved)
    picture = moved / "JPEGImages" / "b0.jpg"
    capsys.readouterr()
    # To detect, the pictures that it learned from are not needed.
    out = ["--out", str(tmp_path / "drawn")]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["detect", "~/run", str(picture), *out]) == 0
    assert main(["eval", str(run)]) == 2
    assert main(["eval", str(run), "--data-at", str(moved)]) == 0
    for path in (moved / "Annotations").iterdir():
        path.write_text(path.read_text().replace("block", "brick"))
    capsys.readouterr()
    assert main(["eval", str(run), "--data-at", str(moved)]) == 2
    assert "class 'block' is missing" in capsys.readouterr().err


def test_pictures_of_both_splits_are_told(voc, tmp_path, capsys):
    lists = voc / "ImageSets" / "Main"
    (lists / "mixed.txt").write_text("\n".join([*BLOCKS["train"], BLOCKS["test"][0]]))
    config = replace_fields(
        PRESETS["small_faster"].config, dataset=f"voc:{voc}", train_split="mixed"
    )
    data = load_pictures(replace_fields(config, drop_copies=False))
    assert data["train"].notes == ("pictures both to train on and to evaluate: 1",)
    (note,) = load_pictures(config)["train"].notes
    assert "copies of pictures to evaluate are left out: " in note
    with pytest.raises(InputError, match="or --no-drop-copies"):
        load_pictures(replace_fields(config, train_split="test"))


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["fast", "faster"])
def test_detector_learns_to_find_what_is_there(words, tmp_path, detector):
    run = tmp_path / "run"
    own = [*words, "--detector", detector, "--steps", "400", "--eval-every", "400"]
    if detector == "faster":
        own += ["--scales", "24", "32", "--least-side", "6", "--before", "200"]
        own += ["--background", "0", "0.5"]
    assert main([*own, "--run-dir", str(run)]) == 0
    rows = list(read_rows(run / "metrics.jsonl"))
    assert rows[-1]["eval/ap50"] > 0.7


@pytest.mark.parametrize(
    ("flags", "said"),
    {
        "no layout": (["--dataset", "raccoon"], "voc:PATH or coco:PATH"),
        "no folder": (["--dataset", "voc:/nowhere"], "/nowhere"),
        "no split": (["--test-split", "val"], "val"),
        "sides": (
            ["--short-side", "100", "--long-side", "90"],
            "long_side must not be",
        ),
        "overlaps": (["--background", "0.5", "0.1"], "background is two overlaps"),
        "layer": (["--frozen", "conv9_1"], "frozen must be one of"),
        "anchors": (["--scales", "0"], "anchors have finite scales and ratios above 0"),
        "endless": (["--ratios", "inf"], "anchors have finite scales"),
        "between": (["--foreground", "0.4"], "in 0 to foreground; got 0.1 and 0.5"),
        "search": (["--search-side", "3"], "search_side is 0, or 8 pixels"),
        "no anchors": (["--anchors", "8"], "anchors is ignored by Fast R-CNN; got 8"),
        "no search": (
            ["--detector", "faster", "--search", "quality"],
            "search is ignored by Faster R-CNN; got quality: leave --search out",
        ),
        "devices": (["--global-batch", "3", "--devices", "2"], "divide evenly over"),
        "weights": (["--init-from", "/nowhere.npz"], "/nowhere.npz"),
        "share": (["--foreground-share", "2"], "foreground_share must be"),
        "width": (["--width", "0"], "width must be"),
        "rate": (["--learning-rate", "-1"], "learning_rate must be"),
    }.values(),
)
def test_what_cannot_run_is_one_line(words, tmp_path, capsys, flags, said):
    status = main([*words, *flags, "--steps", "2", "--run-dir", str(tmp_path / "run")])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2
    assert said in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_run(name):
    assert check(PRESETS[name].config) == PRESETS[name].config


def test_objects_that_nothing_is_learned_from_are_refused(voc, tmp_path, capsys):
    write_voc(tmp_path / "empty", {"c0": [], "c1": []})
    words = ["train", "small_faster", "--dataset", f"voc:{tmp_path / 'empty'}"]
    words += ["--test-split", "train", "--run-dir", str(tmp_path / "run")]
    assert main(words) == 2
    assert "object" in capsys.readouterr().err.splitlines()[-1]


def test_objects_that_nothing_is_scored_by_are_refused(voc, tmp_path):
    folder = tmp_path / "voc"
    shutil.copytree(voc, folder)
    write_voc(folder, {"c0": [xml_object("block", (1, 1, 9, 9), DIFFICULT)]}, "test")
    config = replace_fields(PRESETS["small_faster"].config, dataset=f"voc:{folder}")
    with pytest.raises(InputError, match=r"be scored by.*none in 1 pictures"):
        load_pictures(config)


def test_the_mean_box_is_of_objects_that_count(voc, tmp_path):
    folder = tmp_path / "voc"
    shutil.copytree(voc, folder)
    hard = [xml_object("haze", (1, 1, 9, 9), DIFFICULT) for _ in range(3)]
    write_voc(folder, {"c0": [xml_object("block", (11, 11, 30, 30)), *hard]}, "train")
    write_voc(folder, {"c1": [xml_object("block", (11, 11, 30, 30))]}, "test")
    config = replace_fields(
        PRESETS["small_faster"].config,
        **{"dataset": f"voc:{folder}", "drop_copies": False, "devices": 1},
    )
    train, test = load_pictures(config).values()
    program = DetectorProgram(config, train, test)
    assert program.baseline() == {"baseline/same_box/ap50": 1.0}


def test_weights_are_scaled_by_pictures_to_train_on(voc, tmp_path):
    folder = tmp_path / "voc"
    shutil.copytree(voc, folder)
    write_picture(folder / "JPEGImages" / "tall.jpg", 60, 80)
    annotation(folder, "tall", xml_object("block", (1, 1, 9, 9)), 60, 80)
    lists = folder / "ImageSets" / "Main"
    (lists / "train.txt").write_text("tall\n")
    config = replace_fields(
        PRESETS["small_faster"].config,
        **{"dataset": f"voc:{folder}", "drop_copies": False, "devices": 1},
        **{"network": "small", "width": 0.125, "short_side": 64, "long_side": 96},
    )
    train, test = load_pictures(config).values()
    program = DetectorProgram(config, train, test)
    assert program._calibration().shape == (1, 96, 64, 3)


def test_weights_of_another_network_are_refused(words, tmp_path, capsys):
    path = tmp_path / "weights.npz"
    save_weights(path, {"conv1_1": {"kernel": np.zeros((3, 3, 3, 7), np.float32)}})
    words += ["--init-from", str(path), "--run-dir", str(tmp_path / "run")]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "set --network and --width" in said
    np.savez(path, other=np.zeros(3, np.float32))
    assert main(words) == 2
    assert "has no conv1_1/kernel" in capsys.readouterr().err.splitlines()[-1]


def test_config_of_a_preset_has_fields_of_one_name_each():
    config = replace_fields(Config(), steps=3, learning_rate=0.5)
    assert (config.steps, config.optimizer.learning_rate) == (3, 0.5)
    with pytest.raises(InputError, match="global_batch must divide"):
        check(replace_fields(config, devices=2, global_batch=3))
    assert jax.tree.leaves(config)
