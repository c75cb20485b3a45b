"""What a game is measured by, and under which names."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan import evaluation, extractors
from experiments.mgan.config import Config
from experiments.mgan.evaluation import evaluate, make_measure, open_extractor
from experiments.mgan.extractors import SPLITS, evaluate_images
from experiments.mgan.inputs import to_bytes
from experiments.mgan.run import GameProgram
from experiments.mgan.sampling import Samples
from experiments.mgan.trainer import Trainer
from lars_jax.data import ArraySource
from lars_jax.errors import InputError
from lars_jax.models import build
from lars_jax.train import Interrupt
from lars_jax.train.config import replace_fields
from lars_jax.train.weights import save_weights
from tests.experiments.mgan.support import evaluations

pytestmark = pytest.mark.slow

COUNT = 20
LABELS = np.zeros(COUNT, np.int32)

CIFAR = replace_fields(
    Config(),
    **{"dataset": "cifar10", "network": "dcgan", "width": 2, "noise_size": 4},
    **{"generators": 2, "batch": 8, "fakes": 4, "devices": 1, "steps_per_call": 1},
    **{"eval_samples": COUNT},
)


def some_images(count, seed):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extractors, "BATCH", COUNT)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file of weights of a classifier, drawn and never trained."""
    network = build("resnet8", 10)
    images = jnp.zeros((1, 32, 32, 3))
    params, state = jax.jit(network.init)(jax.random.key(0), images)
    params["fc"] = {"kernel": 20 * params["fc"]["kernel"], "bias": jnp.zeros(10)}
    path = tmp_path_factory.mktemp("weights") / "own.npz"
    save_weights(path, {"params": params, "model_state": state})
    return path


@pytest.fixture(scope="module")
def trainer(weights):
    """Return a game on images of the size of CIFAR-10."""
    image = some_images(COUNT, 0)
    source = ArraySource("cifar10/train", ("one",), image, LABELS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.mgan.inputs.load_source", lambda *_, **__: source)
        return Trainer(replace_fields(CIFAR, features=f"resnet8:{weights}"))


@pytest.fixture(scope="module")
def own(weights):
    return open_extractor(f"resnet8:{weights}", "cifar10:3.0.2")


def test_classifier_is_opened_by_network_and_file(own):
    assert not own.is_inception
    assert own.name == "classifier resnet8 (own.npz)"
    features, chances = own.apply(some_images(3, 1))
    assert (features.shape, chances.shape) == ((3, 64), (3, 10))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "features", "says"),
    [
        ("digits", "absent.npz", "absent.npz could not be read (No such"),
        ("cifar10", "resnet8:absent.npz", "absent.npz could not be read"),
        ("cifar10", "resnet9:absent.npz", "'resnet9'"),
        ("cifar10", "alexnet:absent.npz", "features are taken of a ResNet"),
        ("cifar10", "resnet8:broken.npz", "broken.npz"),
        ("digits", "resnet8:broken.npz", "trained on, CIFAR-10; got digits"),
        ("stl10", "resnet8:broken.npz", "trained on, CIFAR-10; got stl10"),
        ("imagenet2012", "resnet8:broken.npz", "CIFAR-10; got imagenet2012"),
        ("folder:a", "resnet8:broken.npz", "trained on, CIFAR-10; got folder:a"),
    ],
)
def test_features_that_cannot_be_used(tmp_path, monkeypatch, dataset, features, says):
    monkeypatch.chdir(tmp_path)
    Path("broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError) as caught:
        open_extractor(features, dataset)
    assert says in str(caught.value)


def test_numbers_of_a_classifier_are_those_of_the_samples_against_all_images(
    trainer, own
):
    state = trainer.init()
    measure, note = make_measure(trainer)
    found = evaluate(trainer, measure, state)
    assert note == (
        "distance and score by classifier resnet8 (own.npz), 20 samples against 20 "
        "images, score over 10 splits"
    )
    expected = {"count": COUNT}
    for prefix, averaged in (("", False), ("average/", True)):
        samples = to_bytes(trainer.sample(state, COUNT, averaged=averaged).values)
        numbers = evaluate_images(own, trainer.inputs.image, samples)
        assert numbers["splits"] == SPLITS
        expected[f"{prefix}distance"] = numbers["frechet_distance"]
        expected[f"{prefix}score"] = numbers["score_mean"]
        expected[f"{prefix}score_sd"] = numbers["score_sd"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_images_are_measured_once_and_not_before_something_is_evaluated(
    trainer, monkeypatch
):
    passes = []

    def counted(extractor, images):
        passes.append(len(images))
        return extractors.measure(extractor, images)

    monkeypatch.setattr(evaluation, "measure", counted)
    measure, _ = make_measure(trainer)
    assert measure is not None
    assert passes == []
    for seed in (1, 2):
        images = some_images(COUNT, seed) / 127.5 - 1.0
        measure(Samples(images.astype(np.float32), np.zeros(COUNT, int)))
    assert passes == [COUNT]


def test_network_for_features_is_refused_before_training_and_not_needed_else():
    source = ArraySource("cifar10/train", ("one",), some_images(COUNT, 0), LABELS)
    config = replace_fields(CIFAR, features="resnet8:/absent.npz")
    program = GameProgram(config, {"train": source})
    state = program.like()
    assert len(program.sample(state, 4, averaged=True).values) == 4
    with pytest.raises(InputError, match="absent.npz could not be read"):
        program.init()
    with pytest.raises(InputError, match="absent.npz could not be read"):
        program.evaluate(state, Interrupt())


def test_numbers_of_inception_bear_its_names(trainer, own, monkeypatch):
    inception = dataclasses.replace(own, is_inception=True)
    monkeypatch.setattr(evaluation, "open_extractor", lambda *_: inception)
    measure, note = make_measure(trainer)
    assert note.startswith("fid and inception score by ")
    assert measure is not None
    real = trainer.inputs.image

    def measured(image):
        return measure(Samples(image / 127.5 - 1.0, np.zeros(COUNT, int)))

    same, others = measured(real), measured(255 - real // 4)
    assert same.keys() == {"fid", "inception_score", "inception_score_sd"}
    # Real images are at no distance from themselves.
    assert same["fid"] == pytest.approx(0.0, abs=1e-3)
    assert others["fid"] > 100 * abs(same["fid"])
    assert same["inception_score"] > 1.0


@pytest.mark.slow
def test_images_without_features_are_only_counted(digits_end):
    program = digits_end.program
    assert evaluate(program, program.measured_by[0], digits_end.state) == {
        "count": 50.0
    }
    assert program.baseline() == {}


def test_true_samples_score_better_than_those_of_the_game(ring_run, ring_end):
    score = ring_end.program.baseline()
    assert score.keys() == {"floor/symmetric_kl", "floor/wasserstein"}
    for row in evaluations(ring_run):
        for name in ("symmetric_kl", "wasserstein"):
            assert score[f"floor/{name}"] < row[f"eval/{name}"]
