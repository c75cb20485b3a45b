"""Extractors and what they measure; weights are drawn, their files are real."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
from tests.models.drawn_inception import GOLDEN, drawn_arrays, golden_images, zeros

STATISTICS: dict[str, Any] = {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}


def some_images(count, *, seed=0, size=32):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def drawn_classifier(network="resnet8"):
    random = np.random.default_rng(0)

    def draw(path, leaf):
        n = random.normal(size=leaf.shape).astype(np.float32)
        name = path[-1].key
        if name == "kernel":
            return n * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        near = 1.0 if name in ("scale", "var") else 0.0
        return np.float32(near) + np.float32(0.1) * np.abs(n)

    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda: build(network, 10).init(jax.random.key(0), images))
    params, state = jax.tree.map_with_path(draw, shapes)
    return {"params": params, "model_state": state}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    save_weights(path, drawn_classifier())
    return path


@pytest.fixture(scope="module")
def extractor(classifier):
    return classifier_extractor(classifier, "resnet8", **STATISTICS, batch=4)


def test_classifier_gives_the_probabilities_of_the_whole_network(extractor):
    images, tree = some_images(6), drawn_classifier()
    seen = normalize(jnp.asarray(images), **STATISTICS)
    whole = jax.jit(build("resnet8", 10).apply)
    logits, _ = whole(tree["params"], tree["model_state"], seen)
    features, chances = extractor.apply(images)
    assert features.shape == (6, 64)
    np.testing.assert_allclose(chances, jax.nn.softmax(logits), atol=1e-6)
    last = tree["params"]["fc"]
    np.testing.assert_allclose(
        features @ last["kernel"] + last["bias"], logits, atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 4, 9])
def test_outputs_do_not_depend_on_the_batch(classifier, extractor, count):
    images = some_images(9)
    every = classifier_extractor(classifier, "resnet8", **STATISTICS, batch=9)
    expected = every.apply(images)
    for ours, theirs in zip(extractor.apply(images[:count]), expected, strict=True):
        assert len(ours) == count
        np.testing.assert_allclose(ours, theirs[:count], atol=1e-5)


def test_bytes_and_floats_of_the_same_values_are_the_same_images(extractor):
    images = some_images(3)
    for ours, theirs in zip(
        extractor.apply(images),
        extractor.apply(images.astype(np.float32)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_forward_pass_always_has_the_same_shape():
    shapes = []

    def forward(images):
        shapes.append(images.shape)
        return jnp.asarray(images[:, 0, 0]), jnp.asarray(images[:, 0, 0])

    images = some_images(7, size=2)
    features, _ = in_batches(forward, 3)(images)
    assert shapes == [(3, 2, 2, 3)] * 3
    np.testing.assert_array_equal(features, images[:, 0, 0])
    assert in_batches(forward, 3)(images[:0])[0].shape == (0, 3)


def test_names_tell_what_was_measured_with(extractor):
    assert extractor.name == "classifier resnet8 (own.safetensors)"
    assert not extractor.is_inception


def test_same_images_are_no_distance_apart(extractor):
    images = some_images(40)
    found = evaluate_images(
        extractor, [images], [images[20:], images[:13], images[13:20]], splits=4
    )
    assert found.keys() == {
        *("frechet_distance", "score_mean", "score_sd", "count_real", "count_fake"),
        *("splits", "extractor"),
    }
    assert 0 <= found["frechet_distance"] < 1e-8
    assert (found["count_real"], found["count_fake"], found["splits"]) == (40, 40, 4)
    assert found["extractor"] == extractor.name
    assert 1 <= found["score_mean"] <= 10


def test_other_images_are_a_distance_apart_and_real_ones_are_measured_once(extractor):
    real, fake = some_images(30), some_images(30, seed=1) // 4
    sums, chances = measure(extractor, [real[:7], real[7:]])
    assert chances.shape == (30, 10)
    again = evaluate_images(extractor, sums, [fake], splits=2)
    found = evaluate_images(extractor, [real], [fake], splits=2)
    assert found["frechet_distance"] > 1e-2
    assert again["count_real"] == 30
    np.testing.assert_allclose(again["frechet_distance"], found["frechet_distance"])


def test_score_is_of_the_generated_images_alone():
    def one_of_two(images):
        first = images[:, 0, 0, 0] > 0
        chances = np.stack([first, ~first], axis=1).astype(np.float32)
        return images[:, 0, 0].astype(np.float32), chances

    black_white = np.zeros((8, 1, 1, 3), np.uint8)
    black_white[::2] = 255
    toy = Extractor("toy", False, one_of_two)
    found = evaluate_images(toy, [black_white * 0], [black_white], splits=2)
    assert found["score_mean"] == pytest.approx(2.0)
    assert found["score_sd"] == pytest.approx(0.0)


def test_no_images_and_features_that_are_not_finite_are_refused(extractor):
    with pytest.raises(InputError, match="got none"):
        evaluate_images(extractor, [some_images(2)], [])
    broken = Extractor("toy", False, lambda x: (np.full((len(x), 2), np.nan), x))
    with pytest.raises(InputError, match="for 3 of 3 images"):
        measure(broken, [some_images(3)])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((32, 32, 3), np.uint8), r"got uint8 \[32, 32, 3\]"),
        (np.zeros((1, 28, 28, 3), np.uint8), r"\[batch, 32, 32, 3\]"),
        (np.zeros((1, 32, 32, 1), np.uint8), "in colour"),
        (np.zeros((1, 32, 32, 3), np.int32), "got int32"),
        (np.full((1, 32, 32, 3), -1.0), "from -1 to -1"),
        (np.full((1, 32, 32, 3), 255.5), "to 255.5"),
        (np.full((1, 32, 32, 3), np.nan), "from nan"),
    ],
)
def test_images_of_another_kind_are_refused(extractor, images, words):
    with pytest.raises(InputError, match=words):
        extractor.apply(images)


def test_no_batch_is_refused():
    with pytest.raises(InputError, match="got 0"):
        in_batches(lambda images: (images, images), 0)


def of_classifier(path):
    return classifier_extractor(path, "resnet8", **STATISTICS)


every_reader = pytest.mark.parametrize("read", [of_classifier, inception_extractor])


def refused(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@every_reader
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_files_that_cannot_be_read_are_refused(tmp_path, read, kind):
    path = tmp_path / f"weights.{kind}"
    assert "must exist" in refused(read, path)
    assert "must exist" in refused(read, tmp_path / "nowhere" / path.name)
    path.write_bytes(b"")
    assert "must be whole" in refused(read, path)
    save_weights(path, drawn_classifier())
    whole = path.read_bytes()
    for part in (whole[:-100], whole[: len(whole) // 2], whole[:6]):
        path.write_bytes(part)
        assert "must be whole" in refused(read, path)


@every_reader
def test_files_of_other_kinds_are_refused(tmp_path, read):
    assert "*.npz or *.safetensors" in refused(read, tmp_path / "weights.pth")
    path = tmp_path / "weights.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    assert "must be whole" in refused(read, path)


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


@pytest.mark.parametrize("network", ["alexnet", "resnet21", "inception"])
def test_other_networks_are_refused(classifier, network):
    with pytest.raises(InputError, match="choose one of resnet18, .*resnet20"):
        classifier_extractor(classifier, network, **STATISTICS)


def test_statistics_of_other_channels_are_refused(classifier):
    made = classifier_extractor(classifier, "resnet8", mean=(0.5,), std=(0.5,))
    with pytest.raises(InputError, match="each of 3"):
        made.apply(some_images(1))


def test_other_weights_for_inception_are_refused(tmp_path, classifier):
    assert "missing" in refused(inception_extractor, classifier)
    arrays = zeros()
    arrays["fc.weight"] = np.zeros((1000, 2048), np.float32)
    path = tmp_path / "torchvision.npz"
    np.savez(path, **arrays)
    assert "[1000, 2048] for [1008, 2048]" in refused(inception_extractor, path)


@pytest.mark.slow
def test_inception_measures_images_with_the_weights_of_a_file(tmp_path):
    path = tmp_path / "drawn.npz"
    np.savez(path, **drawn_arrays())
    images = golden_images()
    made = inception_extractor(path, batch=3)
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
