import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lars_jax.errors import InputError
from lars_jax.models import alexnet, from_linen
from lars_jax.models.alexnet import AlexNet
from tests.models.support import (
    abstract,
    count,
    jitted,
    losses_by_heart,
    multiply_adds,
    random_images,
    small_network,
)

PUBLISHED = 60_965_224
NORM_SCALES_AND_BIASES = 2 * (96 + 256 + 384 + 384 + 256)

# Table 2 of the LARS paper, column ||w||, its labels .w and .b put right.
TABLE_2 = {
    "conv1/kernel": 1.86,
    "conv1/bias": 0.098,
    "conv2/kernel": 5.546,
    "conv2/bias": 0.16,
    "conv3/kernel": 9.40,
    "conv3/bias": 0.196,
    "conv4/kernel": 8.15,
    "conv4/bias": 0.196,
    "conv5/kernel": 6.65,
    "conv5/bias": 0.16,
    "fc6/kernel": 30.7,
    "fc6/bias": 6.4,
    "fc7/kernel": 20.5,
    "fc7/bias": 6.4,
    "fc8/kernel": 20.2,
    "fc8/bias": 0.316,
}


@pytest.mark.parametrize(
    ("norm", "pixels", "more"),
    [("lrn", 224, 0), ("batch", 227, NORM_SCALES_AND_BIASES)],
)
def test_full_form_has_the_published_parameters(norm, pixels, more):
    params, model_state = abstract(alexnet(1000, norm=norm), 1, pixels, pixels, 3)
    assert count(params) == PUBLISHED + more
    assert bool(model_state) == bool(more)


def test_multiply_adds_are_those_of_the_grouped_network():
    convs = 55**2 * 363 * 96 + 27**2 * 1200 * 256 + 13**2 * 2304 * 384
    convs += 13**2 * 1728 * (384 + 256)
    linear = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    actual = multiply_adds(alexnet(1000), 1, 227, 227, 3)
    # The compiler leaves out products with padding; groups halve the work of three.
    assert actual == pytest.approx(convs + linear, rel=0.1)


@pytest.mark.slow
def test_alexnet_bn_starts_with_the_weight_norms_of_table_2(key):
    images = jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.float32)
    params, _ = alexnet(1000, norm="batch").init(key, images)
    norms = {
        f"{layer}/{leaf}": float(jnp.linalg.norm(jnp.ravel(value)))
        for layer, leaves in params.items()
        if not layer.endswith("_bn")
        for leaf, value in leaves.items()
    }
    assert norms == pytest.approx(TABLE_2, rel=0.01)


@pytest.mark.slow
def test_lrn_biases_are_those_of_bvlc():
    _, params, _ = small_network("alexnet")
    biases = {name: round(float(leaf["bias"][0]), 6) for name, leaf in params.items()}
    constants = {"conv1": 0.0, "conv2": 0.1, "conv3": 0.0, "conv4": 0.1, "conv5": 0.1}
    assert biases == constants | {"fc6": 0.1, "fc7": 0.1, "fc8": 0.0}


def reference(params, x, norm):
    """The forward pass in training, without dropout, from primitives alone."""

    def conv(name, x, padding, groups):
        p = params[name]
        y = lax.conv_general_dilated(
            x,
            p["kernel"],
            (1, 1),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        ) + p["bias"].reshape(1, 1, 1, -1)
        if norm == "batch":
            mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
            y = y - mean.reshape(1, 1, 1, -1)
            y = y / jnp.sqrt(var + 1e-4).reshape(1, 1, 1, -1)
        return jnp.maximum(y, 0.0)

    def lrn(x):
        if norm == "batch":
            return x
        energy = lax.reduce_window(
            x**2, 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME"
        )
        return x / (1 + 1e-4 / 5 * energy) ** 0.75

    def pool(x):
        return nn.max_pool(x, (3, 3), (2, 2), "SAME")

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"].reshape(1, -1)

    x = pool(lrn(conv("conv1", x, 2, 1)))
    x = pool(lrn(conv("conv2", x, 2, 2)))
    x = conv("conv4", conv("conv3", x, 1, 1), 1, 2)
    x = pool(conv("conv5", x, 1, 2)).reshape(x.shape[0], -1)
    x = jnp.maximum(dense("fc7", jnp.maximum(dense("fc6", x), 0.0)), 0.0)
    return dense("fc8", x)


@pytest.mark.parametrize(
    ("norm", "scale"),
    [("lrn", 100.0), pytest.param("batch", 1.0, marks=pytest.mark.slow)],
)
def test_small_form_equals_a_forward_pass_written_out(norm, scale):
    module = AlexNet(10, norm, jnp.float32, None, None, dropout=0.0)
    _, params, model_state = small_network("alexnet" if norm == "lrn" else "alexnet_bn")
    images = scale * random_images(4, 8, 8, 3)
    apply = jitted(from_linen(module)).apply
    actual, _ = apply(params, model_state, images, train=True)
    expected = jax.jit(reference, static_argnums=2)(params, images, norm)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("pixels", "left"), [(64, 8), (32, 4), (28, 3), (8, 1)])
def test_small_form_halves_the_image_three_times(pixels, left):
    params, _ = abstract(alexnet(10), 1, pixels, pixels, 3)
    assert params["conv1"]["kernel"].shape == (5, 5, 3, 96)
    assert params["fc6"]["kernel"].shape == (left * left * 256, 1024)


@pytest.mark.slow
def test_dropout_drops_half_of_fc7_in_training_and_none_in_evaluation():
    network, params, model_state = small_network("alexnet")
    image = jnp.ones((64, 8, 8, 3))
    # Ones leave fc7, and fc8 shows the first ten as they are.
    params = dict(params)
    params["fc7"] = {"kernel": jnp.zeros((1024, 1024)), "bias": jnp.ones(1024)}
    params["fc8"] = {"kernel": jnp.eye(1024, 10), "bias": jnp.zeros(10)}
    evaluated, _ = network.apply(params, model_state, image)
    trained, _ = network.apply(
        params, model_state, image, train=True, key=jax.random.key(1)
    )
    np.testing.assert_array_equal(evaluated, 1.0)
    assert set(np.unique(trained)) == {0.0, 2.0}
    assert float(jnp.mean(trained == 0.0)) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("norm", ["lrn", pytest.param("batch", marks=pytest.mark.slow)])
def test_bfloat16_stays_near_float32_and_yields_float32_logits(norm):
    images = random_images(4, 8, 8, 3)
    name = "alexnet" if norm == "lrn" else "alexnet_bn"
    network, params, state = small_network(name)
    half = jitted(alexnet(10, norm=norm, dtype=jnp.bfloat16))
    assert abstract(half, 1, 8, 8, 3) == jax.eval_shape(lambda: (params, state))
    expected, _ = network.apply(params, state, images)
    logits, _ = half.apply(params, state, images)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, expected, atol=0.05)
    assert not np.array_equal(logits, expected)


def test_unknown_norm_is_refused():
    with pytest.raises(InputError, match="must be 'lrn' or 'batch'; got 'layer'"):
        alexnet(10, norm="layer")  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "alexnet_bn"])
def test_small_form_learns_eight_examples_by_heart(name):
    losses, _ = losses_by_heart(name, 0.002)
    assert 1.5 < losses[0] < 4.0
    assert jnp.mean(losses[-5:]) < 0.3, losses[-5:]
