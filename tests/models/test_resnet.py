import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lars_jax.errors import InputError
from lars_jax.models import BatchNorm, resnet, resnet_features
from lars_jax.models.layers import Conv
from lars_jax.models.resnet import IMAGENET_STAGES, Block, subsample_and_pad
from tests.cases import mostly_slow
from tests.models.support import (
    abstract,
    count,
    jitted,
    losses_by_heart,
    multiply_adds,
    random_images,
    small_network,
)

PUBLISHED = {
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
    20: 269_722,
    32: 464_154,
    44: 658_586,
    56: 853_018,
    110: 1_727_962,
}


# Depths of one kind differ in numbers alone.
@pytest.mark.parametrize(
    "depth",
    mostly_slow({str(depth): (depth,) for depth in PUBLISHED}, ["18", "50", "20"]),
)
def test_parameter_counts_are_the_published_ones(depth):
    pixels, classes = (224, 1000) if depth in IMAGENET_STAGES else (32, 10)
    params, _ = abstract(resnet(classes, depth=depth), 1, pixels, pixels, 3)
    assert count(params) == PUBLISHED[depth]
    # Names sort in the order of the blocks, and no convolution has a bias.
    blocks = [name for name in params if "block" in name]
    assert sorted(blocks) == sorted(
        blocks, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]
    )
    convs = [p for b in params.values() for n, p in b.items() if n.startswith("conv")]
    assert not any("kernel" in p and "bias" in p for p in convs)


@pytest.mark.parametrize(
    ("depth", "stride_in", "billions"),
    [(34, "1x1", 3.6), (50, "1x1", 3.8), (50, "3x3", 4.1)],
)
def test_multiply_adds_are_those_of_table_1(depth, stride_in, billions):
    network = resnet(1000, depth=depth, stride_in=stride_in)
    actual = multiply_adds(network, 1, 224, 224, 3) / 1e9
    # The compiler leaves out products with padding, which the paper counts.
    assert billions * 0.93 < actual < billions * 1.03


def test_unknown_depth_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="18, 34, 50, 101, 152, 8, 14.*got 51"):
        resnet(10, depth=51)


def test_unknown_stride_is_refused():
    with pytest.raises(InputError, match="got '5x5'"):
        resnet(10, depth=50, stride_in="5x5")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("depth", "pixels", "kernel", "width"),
    [(18, 65, 7, 64), (18, 64, 3, 64), (8, 96, 3, 16)],
)
def test_image_size_and_form_choose_the_stem(depth, pixels, kernel, width):
    params, _ = abstract(resnet(10, depth=depth), 1, pixels, pixels, 3)
    assert params["conv1"]["kernel"].shape == (kernel, kernel, 3, width)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [2, 4])
def test_stem_of_a_larger_stride_passes_no_pixel_over(key, stride):
    network = resnet(10, depth=8, width=0.25, stem_stride=stride)
    images = random_images(8, 16, 16, 1)

    @jax.jit
    def gradient(images):
        params, state = network.init(key, images)
        return jax.grad(lambda x: network.apply(params, state, x)[0].sum())(images)

    assert np.all(np.any(gradient(images) != 0, axis=0))


def test_stem_stride_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="stem_stride of 1, 2 or 4; got 1 and 3"):
        resnet(10, depth=8, stem_stride=3)  # pyright: ignore[reportArgumentType]


def block_of(features, stride, **choices):
    conv = functools.partial(Conv, bias_init=None)
    return Block(features, stride, conv, BatchNorm, **choices)


@pytest.mark.parametrize(("features", "bottleneck"), [(8, False), (2, True)])
def test_zeroed_last_scale_makes_a_block_its_shortcut(features, bottleneck):
    x = random_images(1, 4, 4, 8)
    block = block_of(features, 1, zero_init=True, bottleneck=bottleneck)
    made = jax.jit(functools.partial(block.init_with_output, train=False))
    np.testing.assert_array_equal(made(jax.random.key(0), x)[0], jax.nn.relu(x))


@pytest.mark.slow
def test_zero_init_residual_zeroes_one_scale_of_each_block(key):
    network = resnet(10, depth=8, zero_init_residual=True)
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    params, _ = network.init(key, images)
    _, usual, _ = small_network("resnet8")
    for name in (name for name in params if "block" in name):
        scales = [
            (tree[name]["conv1_bn"]["scale"][0], tree[name]["conv2_bn"]["scale"][0])
            for tree in (params, usual)
        ]
        assert scales == [(1.0, 0.0), (1.0, 1.0)]


@pytest.mark.parametrize(("stride_in", "blind"), [("1x1", True), ("3x3", False)])
def test_only_a_stride_in_the_1x1_is_blind_to_odd_pixels(stride_in, blind):
    x = random_images(1, 4, 4, 8)
    block = block_of(4, 2, bottleneck=True, stride_in=stride_in)
    variables = jax.jit(functools.partial(block.init, train=False))(
        jax.random.key(0), x
    )
    changed = x.at[0, 1, 1].add(1.0)
    apply = jax.jit(functools.partial(block.apply, train=False))
    before, after = apply(variables, x), apply(variables, changed)
    assert np.array_equal(before, after) is blind


def test_option_a_subsamples_and_pads_on_both_sides():
    x = random_images(1, 4, 4, 2)
    y = subsample_and_pad(x, 4, 2)
    np.testing.assert_array_equal(y[..., 1:3], x[:, ::2, ::2])
    np.testing.assert_array_equal(y[..., [0, 3]], 0.0)


@pytest.mark.slow
def test_first_loss_is_close_to_log_of_the_classes():
    network, *variables = small_network("resnet8")
    images, labels = random_images(16, 8, 8, 3), jnp.arange(16) % 10
    logits, _ = network.apply(*variables, images, train=True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    assert float(jnp.mean(losses)) == pytest.approx(np.log(10), abs=0.1)


def test_bfloat16_stays_near_float32_and_yields_float32_logits():
    images = random_images(16, 8, 8, 3)
    network, params, before = small_network("resnet8")
    half = jitted(resnet(10, depth=8, dtype=jnp.bfloat16))
    assert abstract(half, 1, 8, 8, 3) == jax.eval_shape(lambda: (params, before))
    expected, _ = network.apply(params, before, images, train=True)
    logits, state = half.apply(params, before, images, train=True)
    types = {leaf.dtype for leaf in jax.tree.leaves((logits, state))}
    assert types == {jnp.dtype("float32")}
    np.testing.assert_allclose(logits, expected, atol=0.05)
    assert not np.array_equal(logits, expected)


@pytest.mark.slow
def test_resnet8_learns_eight_examples_by_heart():
    losses, logits = losses_by_heart("resnet8", 0.1)
    assert losses[0] > 2.0
    assert losses[-1] < 0.05
    np.testing.assert_array_equal(jnp.argmax(logits, axis=-1), jnp.arange(8))


@pytest.mark.slow
@pytest.mark.parametrize("own", [{}, {"stem_stride": 2, "width": 0.5}], ids=str)
def test_features_are_what_the_last_layer_sees(key, own):
    images = random_images(2, 32, 32, 3)
    network, body = resnet(10, depth=8, **own), resnet_features(depth=8, **own)
    params, state = network.init(key, images)
    drawn, _ = abstract(body, 2, 32, 32, 3)
    assert jax.tree.map(jnp.shape, drawn | {"fc": 0}) == jax.tree.map(
        jnp.shape, params | {"fc": 0}
    )
    state = jax.tree.map(lambda leaf: leaf + 0.1, state)
    params["fc"]["bias"] = jnp.arange(10.0)
    features, after = jitted(body).apply(params, state, images)
    assert features.shape == (2, 32 if own else 64)
    assert features.dtype == jnp.float32
    jax.tree.map(np.testing.assert_array_equal, after, state)
    logits, _ = jitted(network).apply(params, state, images)
    last = features @ params["fc"]["kernel"] + params["fc"]["bias"][None]
    np.testing.assert_allclose(last, logits, atol=1e-5)


def test_features_of_an_unknown_depth_are_refused():
    with pytest.raises(InputError, match="got 21"):
        resnet_features(depth=21)
    with pytest.raises(InputError, match="got 1 and 3"):
        resnet_features(depth=20, stem_stride=3)
