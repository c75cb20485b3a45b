"""What a run says of data that are not those it began with."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from experiments.toy import TOY, Toy
from lars_jax.data import ArraySource, Fingerprint
from lars_jax.errors import InputError
from lars_jax.runs.cli import main
from lars_jax.runs.data import (
    FILE,
    MOST_LISTED,
    data_change,
    data_rows,
    describe_data,
    write_data,
)
from lars_jax.train.checkpoint import CONTENTS
from lars_jax.train.record import read_json, read_lines, write_json

TRAIN = Fingerprint(2, ("cat", "dog"), {"cat/1.png": "a", "dog/1.png": "b"})
TEST = Fingerprint(1, ("cat", "dog"), {"cat/9.png": "c"})
LESS = Fingerprint(1, ("cat", "dog"), {"cat/1.png": "a"})


def record(directory, **found):
    write_data(directory, {}, found)
    return read_json(directory / "config.json")


def test_same_data_are_no_change(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    assert data_change(tmp_path, known, {"test": TEST, "train": TRAIN}) is None


def test_change_is_named_by_split_and_file(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    found = data_change(tmp_path, known, {"train": LESS, "test": TEST})
    assert found == "train: dog/1.png is missing"


@pytest.mark.parametrize("content", [None, b"", b"\x1f\x8bdamaged", b"[]"])
def test_change_is_noticed_without_the_list_of_files(tmp_path, content):
    known = record(tmp_path, train=TRAIN)
    (tmp_path / FILE).unlink()
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert data_change(tmp_path, known, {"train": LESS}) == "train: another digest"


def test_split_that_is_not_read_any_more_is_named(tmp_path):
    known = record(tmp_path, train=TRAIN, test=TEST)
    found = data_change(tmp_path, known, {"train": TRAIN, "extra": TEST})
    assert found == "test: it is not read any more"


def test_same_record_is_written_byte_for_byte(tmp_path):
    record(tmp_path, train=TRAIN)
    before = (tmp_path / FILE).read_bytes()
    record(tmp_path, train=TRAIN)
    assert (tmp_path / FILE).read_bytes() == before


def source(pixel=0, names=("cat", "dog")):
    image = np.full((2, 2, 2, 1), pixel, np.uint8)
    return ArraySource("two", names, image, np.arange(2, dtype=np.int32))


def reading(found):
    """Return the toy as if it read some data."""
    return replace(TOY, sources=lambda config: {"train": found})


def test_run_whose_data_have_changed_goes_on_only_if_told_to(tmp_path, capsys):
    words = ["train", "--devices", "1", "--steps", "20", "--eval-every", "10"]
    words += ["--run-dir", str(tmp_path / "run")]
    assert main(reading(source()), words) == 0
    assert "classes: 0 cat, 1 dog" in capsys.readouterr().err
    assert main(reading(source()), [*words, "--resume"]) == 0
    saved = (tmp_path / "run" / "config.json").read_bytes()

    changed = reading(source(pixel=1))
    others = [["eval", str(tmp_path / "run")]]
    others += [["export", str(tmp_path / "run"), str(tmp_path / "weights.npz")]]
    capsys.readouterr()
    for refused in ([*words, "--resume"], *others):
        assert main(changed, refused) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "train: images has another content: put them back" in line
    assert (tmp_path / "run" / "config.json").read_bytes() == saved

    accepted = "--accept-data-change"
    for told in (others[0], others[1], [*words, "--resume"]):
        assert main(changed, [*told, accepted]) == 0
    attempts = list(read_lines(tmp_path / "run" / "attempts.jsonl"))
    assert "data_change" not in attempts[1]
    assert attempts[2]["data_change"] == "train: images has another content"
    # From now on these are its data.
    assert main(changed, [*words, "--resume"]) == 0
    assert main(reading(source()), [*words, "--resume"]) == 2


def test_renamed_class_is_refused_by_name(tmp_path, capsys):
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(reading(source()), words) == 0
    renamed = reading(source(names=("cat", "wolf")))
    assert main(renamed, ["eval", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "train: class 'dog' is missing, class 'wolf' is new: put them back" in said


def test_run_of_before_goes_on_with_a_warning(tmp_path, capsys):
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(reading(source()), words) == 0
    path = tmp_path / "config.json"
    write_json(path, {k: v for k, v in read_json(path).items() if k != "data"})
    assert main(reading(source(pixel=1)), [*words, "--resume"]) == 0
    assert "before runs remembered their data" in capsys.readouterr().err


def test_exported_weights_say_what_their_labels_stand_for(tmp_path):
    words = ["train", "--devices", "1", "--steps", "20"]
    assert main(reading(source()), [*words, "--run-dir", str(tmp_path / "run")]) == 0
    file = tmp_path / "weights.safetensors"
    assert main(reading(source()), ["export", str(tmp_path / "run"), str(file)]) == 0
    with safe_open(file, "np") as found:
        about = found.metadata()
    assert json.loads(about["class_names"]) == {"train": ["cat", "dog"]}
    assert json.loads(about["data"]) == {"train": source().fingerprint().digest}


def test_checkpoint_says_which_data_it_saw(tmp_path):
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(reading(source()), words) == 0
    signed = read_json(tmp_path / "checkpoints" / "20" / CONTENTS)
    about = json.loads(signed["contents"])["about"]
    assert about == {"data": {"train": source().fingerprint().digest}}


def test_long_lists_of_classes_are_cut_in_the_middle():
    names = tuple(f"class{k}" for k in range(100))
    (line,) = describe_data({"train": source(names=names)})
    assert line.count(",") == MOST_LISTED
    assert line.endswith("99 class99")


def depending_on(path):
    """Return the toy as if its numbers depended on a file."""
    return replace(reading(source()), files=lambda config: {"weights": path})


def test_file_that_numbers_depend_on_is_remembered_too(tmp_path, capsys):
    file, words = tmp_path / "w.npz", ["train", "--devices", "1", "--steps", "20"]
    words += ["--run-dir", str(tmp_path / "run")]
    file.write_bytes(b"one")
    assert main(depending_on(file), words) == 0
    file.write_bytes(b"two")
    capsys.readouterr()
    for refused in (["eval", str(tmp_path / "run")], [*words, "--resume"]):
        assert main(depending_on(file), refused) == 2
        assert "weights: w.npz has another content" in capsys.readouterr().err
    file.unlink()
    assert main(depending_on(file), ["eval", str(tmp_path / "run")]) == 2
    assert f"{file} could not be read" in capsys.readouterr().err


def test_file_that_is_added_to_a_folder_of_files_is_a_change(tmp_path, capsys):
    def parts(config):
        return {"frames": sorted(tmp_path.glob("*.npz"))}

    words = ["train", "--devices", "1", "--steps", "20"]
    words += ["--run-dir", str(tmp_path / "run")]
    (tmp_path / "a.npz").write_bytes(b"one")
    reads = replace(reading(source()), files=parts)
    assert main(reads, words) == 0
    assert main(reads, ["eval", str(tmp_path / "run")]) == 0
    (tmp_path / "b.npz").write_bytes(b"two")
    for refused in (["eval", str(tmp_path / "run")], [*words, "--resume"]):
        capsys.readouterr()
        assert main(reads, refused) == 2
        assert "frames: b.npz is new" in capsys.readouterr().err


def test_report_tells_that_data_have_changed_since(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(run)]
    assert main(reading(source()), words) == 0
    capsys.readouterr()
    assert main(reading(source()), ["report", str(run)]) == 0
    assert capsys.readouterr().err == ""
    assert main(reading(source(pixel=1)), ["report", str(run)]) == 0
    said = f"the data are no more those that {run} is of: train: images has another"
    assert said in capsys.readouterr().err
    # Nor need they be there at all.
    gone = replace(TOY, sources=lambda config: open_nothing())
    assert main(gone, ["report", str(run)]) == 0
    assert capsys.readouterr().err == ""


def open_nothing():
    raise InputError("there are no data")


def test_report_has_the_data_of_a_run_and_what_became_of_them(tmp_path):
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(reading(source()), words) == 0
    resumed = [*words, "--resume", "--accept-data-change"]
    assert main(reading(source(pixel=1)), resumed) == 0
    digest = source(pixel=1).fingerprint().digest[:12]
    assert data_rows(tmp_path) == {
        "data: train": f"2 examples, 2 classes, digest {digest}",
        "data changed at step 20": "train: images has another content",
    }


def test_change_that_the_checkpoint_does_not_fit_is_not_remembered(tmp_path, capsys):
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(reading(source()), words) == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("config.json", FILE)}

    class Other(Toy):
        def like(self):
            return {"x": jnp.zeros(3)}

    other = replace(reading(source(pixel=1)), build=Other)
    assert main(other, [*words, "--resume", "--accept-data-change"]) == 2
    assert "a checkpoint must be of the same model" in capsys.readouterr().err
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content


def test_two_splits_of_the_same_data_are_told(tmp_path, capsys):
    twice = replace(TOY, sources=lambda config: {"train": source(), "test": source()})
    words = ["train", "--devices", "1", "--steps", "20", "--run-dir", str(tmp_path)]
    assert main(twice, words) == 0
    assert "\ntrain and test are the same data\n" in capsys.readouterr().err
