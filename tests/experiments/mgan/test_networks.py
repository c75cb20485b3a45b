"""Shared layers, against networks that share nothing and against NumPy."""

import itertools
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.mgan.config import Config, in_plane
from experiments.mgan.game import discriminator_losses, make_players
from experiments.mgan.networks import (
    BN_EPSILON,
    ImageGenerators,
    make_discriminator,
    make_generators,
    sizes_of,
    stacked_axes,
)
from experiments.mgan.objectives import Logits, discriminator_loss
from lars_jax.models import Network
from lars_jax.train.config import replace_fields

K, M = 3, 6
PLANE = replace_fields(
    Config(), generators=K, width=8, noise_size=5, init_deviation=0.4
)
IMAGES = replace_fields(
    PLANE,
    dataset="digits",
    network="dcgan",
    image_size=8,
    stages=2,
    width=4,
    init_deviation=0.2,
)
BOTH = pytest.mark.parametrize("config", [PLANE, IMAGES], ids=["plane", "dcgan"])


def draw(number, *shape):
    return jax.random.normal(jax.random.key(number), shape)


def sample_shape(config, channels=1):
    size = config.data.image_size
    return (2,) if in_plane(config) else (size, size, channels)


@cache
def begun(config, players, channels=1):
    """Return a network of a side with a compiled call, its weights and its state."""
    if players == "generators":
        network = make_generators(config, channels)
        inputs = jnp.zeros((2, config.model.noise_size))
    else:
        network = make_discriminator(config)
        inputs = jnp.zeros((2, *sample_shape(config, channels)))
    return compiled(network), *jax.jit(network.init)(jax.random.key(0), inputs)


def made(config, channels=1):
    """Return generators with weights, biases and averages that are none of them 0."""
    network, params, state = begun(config, "generators", channels)
    # Averages of what a trained network sees; a variance stays positive.
    return network, moved(params, 1), jax.tree.map(jnp.abs, moved(state, 2))


def judged(config):
    network, params, _ = begun(config, "discriminator")
    return network, moved(params, 1)


def compiled(network) -> Any:
    return network._replace(apply=jax.jit(network.apply, static_argnames="train"))


@jax.jit
def moved(tree, seed):
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves) + 1)[1:]
    pairs = zip(leaves, keys, strict=True)
    return structure.unflatten(
        [x + 0.3 * jax.random.normal(key, x.shape) for x, key in pairs]
    )


def one_of(tree, k):
    """Return what generator k has of a tree, its own layers and those it shares."""
    return jax.tree.map(
        lambda x, axis: x if axis is None else jnp.take(x, jnp.array([k]), axis),
        tree,
        stacked_axes(tree),
        is_leaf=lambda x: x is None,
    )


def outputs(network: Network, inputs: jax.Array) -> Any:
    params, state = network.init(jax.random.key(0), inputs)
    return network.apply(params, state, inputs, train=True)[0]


def relu(x):
    return np.maximum(x, 0.0)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def dense(layer, x):
    return x @ layer["kernel"] + layer["bias"]


def as_double(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


@pytest.mark.slow
def test_plane_generators_are_dense_layers():
    network, params, state = made(PLANE)
    noise = draw(9, M, 5)
    found, _ = network.apply(params, state, noise, train=True)
    layers, noise = as_double(params), np.asarray(noise, np.float64)
    for k in range(K):
        first = noise @ layers["first"]["kernel"][:, k] + layers["first"]["bias"][k]
        second = relu(dense(layers["second"], relu(first)))
        points = dense(layers["output"], second)
        np.testing.assert_allclose(found[:, k], points, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_plane_judge_is_a_leaky_trunk_with_two_heads():
    network, params = judged(PLANE)
    points = draw(9, M, 2)
    found, state = network.apply(params, {}, points, train=True)
    assert isinstance(found, Logits)
    assert state == {}
    layers = as_double(params)
    trunk = leaky(dense(layers["trunk"], np.asarray(points, np.float64)))
    realness = dense(layers["discriminator"], trunk)[:, 0]
    np.testing.assert_allclose(found.realness, realness, rtol=1e-4, atol=1e-5)
    kinds = dense(layers["classifier"], trunk)
    np.testing.assert_allclose(found.generators, kinds, rtol=1e-4, atol=1e-5)


def normalised(x, axes):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + BN_EPSILON)


def transposed(layer, x):
    """Return the transposed convolution with window 5 and stride 2, pixel by pixel."""
    kernel, (n, height, width, _) = layer["kernel"], x.shape
    canvas = np.zeros((n, 2 * height + 4, 2 * width + 4, kernel.shape[-1]))
    for i, j in itertools.product(range(5), range(5)):
        # Each pixel spreads over 5 x 5; the kernel's last row lies uppermost.
        part = x @ kernel[4 - i, 4 - j]
        canvas[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += part
    return canvas[:, 1 : 1 + 2 * height, 1 : 1 + 2 * width] + layer["bias"]


def test_image_generators_are_transposed_convolutions():
    network, params, state = made(IMAGES, channels=1)
    noise = draw(9, M, 5)
    found, _ = network.apply(params, state, noise, train=True)
    layers, noise = as_double(params), np.asarray(noise, np.float64)
    first = np.einsum("mz,zkh->mkh", noise, layers["first"]["kernel"])
    own = normalised(first + layers["first"]["bias"], axes=0)
    norm = layers["first_norm"]
    x = relu(own * norm["scale"] + norm["bias"]).reshape(M * K, 2, 2, 8)
    x = normalised(transposed(layers["up1"], x), axes=(0, 1, 2))
    x = np.tanh(transposed(layers["output"], relu(x * layers["up1_norm"]["scale"])))
    expected = x.reshape(M, K, 8, 8, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@BOTH
def test_generators_equal_networks_of_their_own(config):
    network, params, state = made(config)
    alone = compiled(make_generators(replace_fields(config, generators=1), 1))
    noise = draw(9, M, 5)
    # Outside of training, where shared layers are not normalised by all samples.
    found, _ = network.apply(params, state, noise)
    for k in range(K):
        single, _ = alone.apply(one_of(params, k), one_of(state, k), noise)
        np.testing.assert_allclose(found[:, k], single[:, 0], rtol=1e-5, atol=1e-6)


@BOTH
def test_noise_for_all_is_the_same_for_each_and_its_own_reaches_one_alone(config):
    network, params, state = made(config)
    noise = draw(9, M, 5)
    each = jnp.broadcast_to(noise[:, None], (M, K, 5))
    all_of_them, _ = network.apply(params, state, noise)
    before, _ = network.apply(params, state, each)
    np.testing.assert_allclose(all_of_them, before, rtol=1e-4, atol=1e-5)
    after, _ = network.apply(params, state, each.at[:, 1].multiply(2.0))
    np.testing.assert_allclose(before[:, [0, 2]], after[:, [0, 2]], rtol=1e-6)
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-3


def first_hidden(params, state, noise):
    """Return the normalised first layers and their averages after one batch."""
    module = ImageGenerators(K, sizes_of(8, 2), 4, 1, jax.nn.initializers.ones)

    @jax.jit
    def run(params, state, noise):
        return module.apply(
            {"params": params, **state},
            noise,
            train=True,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=True,
        )

    _, updated = run(params, state, noise)
    hidden = updated["intermediates"]["first_norm"]["__call__"][0]
    return hidden, updated["batch_stats"]["first_norm"]


def test_first_layers_are_normalised_over_their_own_samples():
    _, params, state = made(IMAGES)
    noise = draw(9, M, 5)
    hidden, averages = first_hidden(params, state, noise)
    kernel = params["first"]["kernel"]
    params["first"]["kernel"] = kernel.at[:, 1].set(7.0 + 3.0 * kernel[:, 1])
    changed, moved_averages = first_hidden(params, state, noise)
    others = np.array([0, 2])
    np.testing.assert_array_equal(hidden[:, others], changed[:, others])
    assert np.abs(hidden[:, 1] - changed[:, 1]).max() > 0.1
    for name in ("mean", "var"):
        one, other = averages[name], moved_averages[name]
        np.testing.assert_array_equal(one[others], other[others])
        assert np.abs(one[1] - other[1]).max() > 0.01


def test_running_averages_move_a_tenth_of_the_way():
    network, params, state = made(IMAGES)
    noise = draw(9, M, 5)
    _, after = network.apply(params, state, noise, train=True)
    layer = as_double(params["first"])
    first = np.einsum("mz,zkh->mkh", noise, layer["kernel"]) + layer["bias"]
    before = state["batch_stats"]["first_norm"]
    found = after["batch_stats"]["first_norm"]
    expected = 0.9 * before["mean"] + 0.1 * first.mean(axis=0)
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-4, atol=1e-5)
    expected = 0.9 * before["var"] + 0.1 * first.var(axis=0)
    np.testing.assert_allclose(found["var"], expected, rtol=1e-4, atol=1e-5)


def test_samples_outside_of_training_do_not_depend_on_the_batch():
    network, params, state = made(IMAGES)
    noise = draw(9, M, 5)
    all_of_them, unchanged = network.apply(params, state, noise)
    two, _ = network.apply(params, state, noise[:2])
    np.testing.assert_allclose(all_of_them[:2], two, rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, unchanged, state)
    # They follow the running averages.
    other = jax.tree.map(lambda x: x + 0.5, state)
    after, _ = network.apply(params, other, noise)
    assert np.abs(all_of_them - after).max() > 1e-3


@pytest.mark.slow
def test_real_and_generated_images_are_normalised_apart():
    config = replace_fields(IMAGES, generators=1)
    players = make_players(config, 1)
    judge, params = judged(config)
    real, fake = draw(9, M, 8, 8, 1), 3.0 + 2.0 * draw(10, M, 1, 8, 8, 1)
    weights = jnp.ones(1)
    losses = jax.jit(partial(discriminator_losses, config, players))
    _, parts = losses(params, real, fake, weights)

    def logits(images):
        return judge.apply(params, {}, images, train=True)[0].realness

    apart = discriminator_loss(logits(real), logits(fake[:, 0])[:, None], weights)
    np.testing.assert_allclose(parts["discriminator_loss"], apart, rtol=1e-5)
    both = logits(jnp.concatenate([real, fake[:, 0]]))
    together = discriminator_loss(both[:M], both[M:, None], weights)
    assert abs(together - apart) > 1e-2


@pytest.mark.parametrize(("size", "stages", "channels"), [(28, 3, 1), (48, 4, 3)])
def test_images_have_the_size_asked_for(size, stages, channels):
    config = replace_fields(IMAGES, image_size=size, stages=stages, width=2)
    noise = jax.ShapeDtypeStruct((2, 5), jnp.float32)
    images = jax.eval_shape(partial(outputs, make_generators(config, channels)), noise)
    assert images.shape == (2, K, size, size, channels)
    sample = jax.ShapeDtypeStruct(images.shape[1:], jnp.float32)
    found = jax.eval_shape(partial(outputs, make_discriminator(config)), sample)
    assert found.realness.shape == (K,)
    assert found.generators.shape == (K, K)


def test_images_are_within_1_of_0():
    network, params, state = made(IMAGES)
    images, _ = network.apply(params, state, 100.0 * draw(9, M, 5))
    assert np.abs(images).max() <= 1.0
    assert np.abs(images).max() > 0.9


@pytest.mark.slow
def test_plane_weights_are_drawn_with_the_deviation_asked_for():
    config = replace_fields(Config(), init_deviation=0.05)
    _, params, _ = begun(config, "generators")
    _, judge, _ = begun(config, "discriminator")
    for layers in (params["first"], params["second"], judge["classifier"]):
        kernel = layers["kernel"]
        near = 4 / np.sqrt(2 * kernel.size)
        np.testing.assert_allclose(kernel.std(), 0.05, rtol=near)
        np.testing.assert_array_equal(layers["bias"], 0.0)
    # Normal and not cut: some weights lie beyond three deviations.
    assert np.abs(params["first"]["kernel"]).max() > 3 * 0.05


@pytest.mark.slow
def test_image_weights_are_drawn_as_the_authors():
    config = replace_fields(IMAGES, image_size=16, width=32, init_deviation=0.05)
    _, params, _ = begun(config, "generators", 3)
    _, judge, _ = begun(config, "discriminator", 3)
    np.testing.assert_allclose(params["up1"]["kernel"].std(), 0.05, rtol=0.02)
    np.testing.assert_allclose(params["first"]["kernel"].std(), 0.05, rtol=0.05)
    # Cut at two deviations, which leaves 0.88 of one.
    down = judge["down2"]["kernel"]
    assert np.abs(down).max() <= 2 * 0.05
    np.testing.assert_allclose(down.std(), 0.8796 * 0.05, rtol=0.02)
    np.testing.assert_allclose(judge["classifier"]["kernel"].std(), 0.01, rtol=0.05)
    np.testing.assert_allclose(judge["discriminator"]["kernel"].std(), 0.01, rtol=0.1)


@pytest.mark.slow
def test_d2gan_has_two_discriminators_that_share_nothing():
    config = replace_fields(PLANE, game="d2gan", generators=1)
    network, params = judged(config)
    points = draw(9, M, 2)
    found: jax.Array = network.apply(params, {}, points, train=True)[0]
    layers = as_double(params)
    for column, name in enumerate(("data", "model")):
        trunk = leaky(dense(layers[f"{name}_trunk"], np.asarray(points, np.float64)))
        expected = dense(layers[f"{name}_head"], trunk)[:, 0]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-4, atol=1e-5)


def test_axes_of_the_stacked_layers():
    _, params, _ = made(IMAGES)
    axes = stacked_axes(params)
    assert axes["first"] == {"bias": 0, "kernel": 1}
    assert axes["first_norm"] == {"bias": 0, "scale": 0}
    shared = [axes[name] for name in axes if not name.startswith("first")]
    assert all(axis is None for part in shared for axis in part.values())
