"""Data that cannot be trained on are met before the first step, or the run is saved."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.lars import inputs, trainer
from experiments.lars.config import Config
from experiments.lars.experiment import LARS, main
from experiments.lars.program import ImageFacts, prepare
from lars_jax.data import batch_samples, folder_source
from lars_jax.train.config import replace_fields
from tests.data.support import encoded
from tests.whole_runs import last_leaves, rows

pytestmark = pytest.mark.usefixtures("tiny_network")


@pytest.fixture(autouse=True, scope="module")
def seldom_measured():
    """Measure the channels on one example, as of a large data set on a few."""
    with mock.patch.object(inputs, "STATISTICS_EXAMPLES", 1):
        yield


def write(root, size=lambda k: (8, 8), classes=("cat", "dog"), count=16):
    """Write noise of the sizes that the images of a class have by their number."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = random.integers(0, 255, (*size(k), 3)).astype(np.uint8)
                (folder / f"{k:02}.png").write_bytes(encoded(pixels))


def words(root, run, **flags):
    flags = {
        "--dataset": f"folder:{root}",
        "--run-dir": run,
        "--placement": "host",
        "--devices": 1,
        "--global-batch": 8,
        "--epochs": 3,
        "--warmup-epochs": 0,
        "--eval-batch": 8,
    } | {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    return ["train", "digits", *(str(w) for pair in flags.items() for w in pair)]


def one_line(capsys):
    """Return the last line of standard error."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("error: ") == 1
    return said.splitlines()[-1]


@pytest.mark.parametrize(
    "split", ["train", pytest.param("test", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "augmentation",
    ["crop", pytest.param("random_resized_crop", marks=pytest.mark.slow)],
)
def test_sizes_are_compared_before_the_first_step(
    tmp_path, capsys, split, augmentation
):
    write(tmp_path / "data")
    odd = encoded(np.zeros((12, 14, 3), np.uint8))
    (tmp_path / "data" / split / "dog" / "15.png").write_bytes(odd)
    run = tmp_path / "run"
    status = main(words(tmp_path / "data", run, augmentation=augmentation))
    if split == "train" and augmentation == "random_resized_crop":
        assert status == 0  # Boxes are cut out of any size.
        return
    assert status == 2
    assert "8x8 and 12x14; set --resize" in one_line(capsys)
    assert not run.exists()


@pytest.mark.slow
def test_unequal_sizes_train_where_they_are_resized(tmp_path):
    write(tmp_path / "data", lambda k: (8 + k % 5, 8 + k % 3))
    run = tmp_path / "run"
    assert main(words(tmp_path / "data", run, resize=8)) == 0


@pytest.mark.slow
def test_a_turned_picture_has_the_size_that_it_is_seen_with(tmp_path):
    write(tmp_path / "data", lambda k: (8, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(np.zeros((10, 8, 3), np.uint8), "JPEG", exif=exif)
    (tmp_path / "data" / "train" / "dog" / "99.jpg").write_bytes(turned)
    assert main(words(tmp_path / "data", tmp_path / "run")) == 0


@pytest.mark.parametrize("classes", [("cat",), ()])
def test_one_class_is_nothing_to_tell_apart(tmp_path, capsys, classes):
    write(tmp_path / "data", classes=classes)
    (tmp_path / "data" / "train").mkdir(parents=True, exist_ok=True)
    assert main(words(tmp_path / "data", tmp_path / "run")) == 2
    line = one_line(capsys)
    assert "needs two classes at least" in line or "has no images" in line
    assert not (tmp_path / "run").exists()


def damage(root, split, place):
    """Cut an image short: of the given step of training, or of a place in the split."""
    source = folder_source(root, split)
    if split == "train":
        place = max(batch_samples(0, place, len(source), 8)[0])
    path = source.files[place]
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    return path, whole


@pytest.fixture(scope="module")
def straight(tiny_network, seldom_measured, tmp_path_factory):
    """Return the directory of a run that nothing happened to."""
    place = tmp_path_factory.mktemp("straight")
    write(place / "data")
    assert main(words(place / "data", place / "run")) == 0
    return place / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "place", "saved"), [("train", 2, 2), ("test", 30, 12)]
)
def test_data_that_end_a_run_late_are_named_once_it_is_saved(
    straight, tmp_path, capsys, split, place, saved
):
    root, run = tmp_path / "data", tmp_path / "run"
    write(root)
    path, whole = damage(root, split, place)
    capsys.readouterr()
    assert main(words(root, run)) == 2
    line = one_line(capsys)
    assert f"{path} is not" in line
    assert f"saved at step {saved} of 12: with --resume it goes on" in line
    # Still the same: still refused, and still saved.
    assert main([*words(root, run), "--resume"]) == 2
    assert f"saved at step {saved} of 12" in one_line(capsys)
    path.write_bytes(whole)
    assert main([*words(root, run), "--resume"]) == 2
    assert f"{path.parent.name}/{path.name} has another content" in one_line(capsys)
    assert main([*words(root, run), "--resume", "--accept-data-change"]) == 0
    assert last_leaves(LARS, run) == last_leaves(LARS, straight)
    assert rows(run) == rows(straight)


@pytest.mark.slow
def test_file_that_goes_away_meanwhile_may_come_back(tmp_path, capsys, monkeypatch):
    root, run = tmp_path / "data", tmp_path / "run"
    write(root)
    path, whole = damage(root, "train", 2)
    path.write_bytes(whole)
    load = trainer.load_inputs

    def loaded(*arguments):
        found = load(*arguments)
        path.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "load_inputs", loaded)
        assert main(words(root, run)) == 2
    line = one_line(capsys)
    assert f"{path} could not be read (No such file or directory)" in line
    assert "the run is saved at step 2 of 12" in line
    path.write_bytes(whole)
    assert main([*words(root, run), "--resume"]) == 0


@pytest.mark.parametrize(
    ("augmentation", "black"), [("crop", True), ("random_resized_crop", False)]
)
def test_a_random_part_is_not_padded_and_cropped_once_more(augmentation, black):
    config = replace_fields(Config(), augmentation=augmentation)
    index = jnp.arange(64)
    batch = {"image": jnp.full((64, 8, 8, 1), 255, jnp.uint8)}
    batch |= {"index": index, "epoch": jnp.zeros_like(index)}
    facts = ImageFacts(2, 1, (0.0,), (1.0,))
    images = prepare(config, facts, batch, {"key": jax.random.key(0)}, train=True)
    assert bool((images == 0).any()) == black


def test_boxes_do_not_hide_that_evaluation_crops_more_than_there_is(tmp_path, capsys):
    write(tmp_path / "data")
    flags = {"augmentation": "random_resized_crop", "image_size": 12}
    assert main(words(tmp_path / "data", tmp_path / "run", **flags)) == 2
    assert "image_size must not exceed the images; got 12 for" in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_class_that_went_away_may_come_back(tmp_path, capsys):
    root, run = tmp_path / "data", tmp_path / "run"
    write(root, classes=("cat", "dog", "eel"))
    assert main(words(root, run)) == 0
    for split in ("train", "test"):
        (root / split / "eel").rename(tmp_path / split)
    capsys.readouterr()
    assert main([*words(root, run), "--resume", "--accept-data-change"]) == 2
    assert "a checkpoint must be of the same model" in one_line(capsys)
    for split in ("train", "test"):
        (tmp_path / split).rename(root / split / "eel")
    assert main(["eval", str(run)]) == 0
    assert main([*words(root, run), "--resume"]) == 0


@pytest.mark.slow
def test_eval_of_a_mistakes_file_that_was_damaged(tmp_path, capsys):
    write(tmp_path / "data")
    run = tmp_path / "run"
    assert main(words(tmp_path / "data", run)) == 0
    np.savez(tmp_path / "others.npz", nothing=np.zeros(3))
    for content in (b"", b"PK", (tmp_path / "others.npz").read_bytes()):
        (run / "mistakes.npz").write_bytes(content)
        capsys.readouterr()
        assert main(["report", str(run)]) == 2
        assert "mistakes.npz must be an npz file of this run" in one_line(capsys)
