"""Extractors and what they measure; weights are drawn, their files are real."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan import extractors
from experiments.mgan.extractors import (
    Extractor,
    classifier_extractor,
    evaluate_images,
    in_batches,
    inception_extractor,
    measure,
)
from lars_jax.data import normalize
from lars_jax.errors import InputError
from lars_jax.models import build
from lars_jax.train.weights import save_weights
from tests.models.drawn_inception import GOLDEN, drawn_arrays, golden_images

STATISTICS: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}


def some_images(count, *, seed=0, size=32):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def drawn_classifier(network="resnet8", **options):
    random = np.random.default_rng(0)

    def draw(path, leaf):
        n = random.normal(size=leaf.shape).astype(np.float32)
        name = path[-1].key
        if name == "kernel":
            return n * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        near = 1.0 if name in ("scale", "var") else 0.0
        return np.float32(near) + np.float32(0.1) * np.abs(n)

    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    whole = build(network, 10, **options)
    shapes = jax.eval_shape(lambda: whole.init(jax.random.key(0), images))
    params, state = jax.tree.map_with_path(draw, shapes)
    return {"params": params, "model_state": state}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    save_weights(path, drawn_classifier())
    return path


@pytest.fixture(scope="module")
def extractor(classifier):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(extractors, "BATCH", 8)
        yield classifier_extractor(classifier, "resnet8", **STATISTICS)


def test_classifier_gives_the_probabilities_of_the_whole_network(extractor):
    images, tree = some_images(9), drawn_classifier()
    seen = normalize(jnp.asarray(images), **STATISTICS)
    whole = jax.jit(build("resnet8", 10).apply)
    logits, _ = whole(tree["params"], tree["model_state"], seen)
    features, chances = extractor.apply(images)
    assert features.shape == (9, 64)
    np.testing.assert_allclose(chances, jax.nn.softmax(logits), atol=1e-6)
    last = tree["params"]["fc"]
    np.testing.assert_allclose(
        features @ last["kernel"] + last["bias"], logits, atol=1e-5
    )
    assert extractor.name == "classifier resnet8 (own.safetensors)"
    assert not extractor.is_inception


def test_a_forward_pass_always_has_the_same_shape(monkeypatch):
    monkeypatch.setattr(extractors, "BATCH", 3)
    shapes = []

    def forward(images):
        shapes.append(images.shape)
        return jnp.asarray(images[:, 0, 0]), jnp.asarray(images[:, 0, 0])

    images = some_images(7, size=2)
    features, _ = in_batches(forward)(images)
    assert shapes == [(3, 2, 2, 3)] * 3
    np.testing.assert_array_equal(features, images[:, 0, 0])


def one_of_two(images):
    first = images[:, 0, 0, 0] > 99
    chances = np.stack([first, ~first], axis=1).astype(np.float32)
    return images[:, 0, 0].astype(np.float32), chances


TOY = Extractor("toy", False, one_of_two)


def test_same_images_are_no_distance_apart_and_others_are(monkeypatch):
    monkeypatch.setattr(extractors, "PART", 7)
    images = some_images(40, size=1)
    found = evaluate_images(TOY, images, images[::-1])
    assert found.keys() == {
        *("frechet_distance", "score_mean", "score_sd", "count_real", "count_fake"),
        *("splits", "extractor"),
    }
    assert 0 <= found["frechet_distance"] < 1e-8
    assert (found["count_real"], found["count_fake"], found["splits"]) == (40, 40, 10)
    assert found["extractor"] == "toy"
    assert 1 <= found["score_mean"] <= 2
    sums, chances = measure(TOY, images)
    assert chances.shape == (40, 2)
    others = some_images(30, seed=1, size=1) // 4
    once = evaluate_images(TOY, sums, others)
    assert once["frechet_distance"] > 1e-2
    assert once == evaluate_images(TOY, images, others)


def test_score_is_of_the_generated_images_alone():
    black_white = np.zeros((20, 1, 1, 3), np.uint8)
    black_white[::2] = 255
    found = evaluate_images(TOY, black_white * 0, black_white)
    assert found["score_mean"] == pytest.approx(2.0)
    assert found["score_sd"] == pytest.approx(0.0)


def test_no_images_and_features_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="got none"):
        evaluate_images(TOY, some_images(2), some_images(0))
    broken = Extractor("toy", False, lambda x: (np.full((len(x), 2), np.nan), x))
    with pytest.raises(InputError, match="for 3 of 3 images"):
        measure(broken, some_images(3))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((32, 32, 3), np.uint8), r"got uint8 \[32, 32, 3\]"),
        (np.zeros((1, 28, 28, 3), np.uint8), r"\[batch, 32, 32, 3\]"),
        (np.zeros((1, 32, 32, 1), np.uint8), "in colour"),
        (np.zeros((1, 32, 32, 3), np.float32), "got float32"),
    ],
)
def test_images_of_another_kind_are_refused(extractor, images, words):
    with pytest.raises(InputError, match=words):
        extractor.apply(images)


def of_classifier(path):
    return classifier_extractor(path, "resnet8", **STATISTICS)


def refused(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_weights_of_other_classifiers_are_refused(tmp_path, classifier):
    def other(change):
        tree = drawn_classifier()
        change(tree["params"])
        save_weights(tmp_path / "other.npz", tree)
        return refused(of_classifier, tmp_path / "other.npz")

    assert "params/fc/bias" in other(lambda params: params["fc"].pop("bias"))
    wide = {"kernel": jnp.zeros((64, 100)), "bias": jnp.zeros(10)}
    assert "[64, 100]" in other(lambda params: params.update(fc=wide))
    with pytest.raises(InputError, match="hold every array of the network"):
        classifier_extractor(classifier, "resnet20", **STATISTICS)


def test_a_classifier_is_the_network_that_its_file_says(tmp_path):
    path, options = tmp_path / "own.safetensors", {"width": 0.5, "stem_stride": 2}
    drawn = drawn_classifier(**options)
    about = {"network": "resnet8", "width": "0.5", "stem_stride": "2"}
    save_weights(path, drawn, about)
    images = some_images(2)
    features, chances = of_classifier(path).apply(images)
    seen = normalize(jnp.asarray(images), *STATISTICS.values())
    logits, _ = build("resnet8", 10, **options).apply(
        drawn["params"], drawn["model_state"], seen
    )
    np.testing.assert_allclose(chances, jax.nn.softmax(logits), rtol=1e-3, atol=1e-5)
    assert features.shape == (2, 32)
    save_weights(path, drawn, about | {"network": "resnet20"})
    assert "of a resnet20: name that one" in refused(of_classifier, path)


def test_other_networks_are_refused(classifier):
    for network in ("alexnet", "resnet21", "inception"):
        with pytest.raises(InputError, match="choose one of resnet18, .*resnet20"):
            classifier_extractor(classifier, network, **STATISTICS)


def test_other_weights_for_inception_are_refused(classifier):
    assert "missing" in refused(inception_extractor, classifier)


@pytest.mark.slow
def test_inception_measures_images_with_the_weights_of_a_file(tmp_path, monkeypatch):
    path = tmp_path / "drawn.npz"
    np.savez(path, **drawn_arrays())
    images = golden_images()
    monkeypatch.setattr(extractors, "BATCH", 3)
    made = inception_extractor(path)
    assert made.is_inception
    assert made.name == "Inception (drawn.npz, legacy bilinear)"
    features, chances = made.apply(images)
    golden = GOLDEN["legacy"]
    np.testing.assert_allclose(
        features[:, ::128], golden["features"]["values"], atol=2e-5
    )
    # Ratios of probabilities are all that is left of logits.
    logits = np.array(golden["logits"]["values"])
    np.testing.assert_allclose(
        np.log(chances[:, ::63] / chances[:, :1]), logits - logits[:, :1], atol=5e-5
    )
