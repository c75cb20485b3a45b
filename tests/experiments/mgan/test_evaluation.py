"""What a game is measured by, and under which names."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan import evaluation
from experiments.mgan.config import Config
from experiments.mgan.evaluation import make_evaluation, open_extractor, true_score
from experiments.mgan.experiment import MGAN
from experiments.mgan.extractors import evaluate_images
from experiments.mgan.inputs import to_bytes
from experiments.mgan.sampling import Samples
from experiments.mgan.trainer import Trainer
from lars_jax.data import ArraySource
from lars_jax.errors import InputError
from lars_jax.models import build
from lars_jax.runs.train import restore
from lars_jax.train.config import replace_fields
from lars_jax.train.weights import save_weights
from tests.experiments.mgan.support import rows

COUNT = 120

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
    source = ArraySource("cifar10/train", ("one",), image, np.zeros(COUNT, np.int32))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.mgan.inputs.load_source", lambda *_, **__: source)
        return Trainer.create(replace_fields(CIFAR, features=f"resnet8:{weights}"))


@pytest.fixture(scope="module")
def state(trainer):
    return trainer.initial_state()


@pytest.fixture(scope="module")
def evaluate(trainer):
    return make_evaluation(trainer)


def test_classifier_is_opened_by_network_and_file(weights):
    extractor = open_extractor(f"resnet8:{weights}", "cifar10:3.0.2")
    assert not extractor.is_inception
    assert extractor.name == "classifier resnet8 (own.npz)"
    features, chances = extractor.apply(some_images(3, 1))
    assert (features.shape, chances.shape) == ((3, 64), (3, 10))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("dataset", ["digits", "stl10", "folder:here"])
def test_classifier_measures_nothing_that_it_was_not_trained_on(weights, dataset):
    with pytest.raises(InputError, match=f"trained on, CIFAR-10; got {dataset}"):
        open_extractor(f"resnet8:{weights}", dataset)


def test_classifier_of_another_network_is_refused(weights):
    with pytest.raises(InputError, match=r"own\.npz"):
        open_extractor(f"resnet20:{weights}", "cifar10")


def test_file_alone_is_of_inception(tmp_path):
    with pytest.raises(InputError, match="a file of weights must exist"):
        open_extractor(str(tmp_path / "inception.npz"), "digits")


def test_numbers_of_a_classifier_do_not_bear_the_names_of_inception(evaluate, state):
    found = evaluate(state)
    measures = ("distance", "score", "score_sd")
    assert found.keys() == {
        "count",
        *(f"{name}" for name in measures),
        *(f"average/{name}" for name in measures),
    }
    assert found["count"] == COUNT
    assert all(np.isfinite(value) for value in found.values())


def test_evaluation_is_a_function_of_the_state(evaluate, state):
    assert evaluate(state) == evaluate(state)


def test_numbers_are_those_of_the_samples_against_all_images(
    evaluate, trainer, state, weights
):
    extractor = open_extractor(f"resnet8:{weights}", "cifar10")
    for prefix, averaged in (("", False), ("average/", True)):
        samples = to_bytes(trainer.sample(state, COUNT, averaged=averaged).values)
        expected = evaluate_images(
            extractor, [trainer.inputs.image], [samples], splits=10
        )
        found = evaluate(state)
        assert found[f"{prefix}distance"] == pytest.approx(
            expected["frechet_distance"], rel=1e-4
        )
        assert found[f"{prefix}score"] == pytest.approx(expected["score_mean"])


def test_real_images_are_at_no_distance_from_themselves_and_others_are(
    trainer, state, monkeypatch
):
    def measured(image):
        made = Samples(image / 127.5 - 1.0, np.zeros(COUNT, int))
        monkeypatch.setattr(Trainer, "sample", lambda *_, **__: made)
        return make_evaluation(trainer)(state)

    real = trainer.inputs.image
    same, others = measured(real), measured(255 - real // 4)
    assert same["distance"] == pytest.approx(0.0, abs=1e-3)
    assert others["distance"] > 100 * abs(same["distance"])
    assert same["score"] > 1.0


def test_numbers_of_inception_bear_its_names(trainer, state, weights, monkeypatch):
    own = open_extractor(f"resnet8:{weights}", "cifar10")
    inception = dataclasses.replace(own, is_inception=True)
    monkeypatch.setattr(evaluation, "open_extractor", lambda *_: inception)
    found = make_evaluation(trainer)(state)
    assert {"fid", "average/fid", "inception_score"} <= found.keys()
    assert not any("distance" in name for name in found)


def test_images_without_features_are_only_counted(digits_run):
    found = restore(MGAN, digits_run)
    trainer, state = found.program.trainer, found.state
    assert make_evaluation(trainer)(state) == {"count": 100.0}
    assert true_score(trainer) == {}


def test_true_samples_score_better_than_those_of_the_game(ring_run):
    score = true_score(restore(MGAN, ring_run).program.trainer)
    assert score.keys() == {"floor/symmetric_kl", "floor/wasserstein"}
    for row in rows(ring_run):
        if "eval/count" in row:
            for name in ("symmetric_kl", "wasserstein"):
                assert score[f"floor/{name}"] < row[f"eval/{name}"]
