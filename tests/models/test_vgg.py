import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lars_jax.errors import InputError
from lars_jax.models import (
    VGG16_CONVS,
    VGG16_LAYERS,
    BatchNorm,
    chain,
    fold_batch_norm,
    from_linen,
    vgg16,
    vgg_head,
)
from lars_jax.models.vgg import EPSILON, VGG16_BLOCKS
from lars_jax.optim import BIAS_AND_NORM, exclude, leaf_names
from tests.models.support import (
    abstract,
    count,
    drawn,
    jitted,
    multiply_adds,
    random_images,
)

NARROW = 1 / 16
DEEP = VGG16_CONVS[4:]


def layer_sizes(params):
    return {name: count(leaf) for name, leaf in params.items()}


@functools.cache
def narrow(norm_layers=()):
    """A compiled network for 32x32 pixels, its parameters, and statistics as drawn."""
    network = jitted(vgg16(width=NARROW, norm_layers=norm_layers))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return network, *drawn(*network.init(jax.random.key(0), images))


def test_parameters_are_those_of_the_specification():
    network = chain(trunk=vgg16(), head=vgg_head((4096, 1024)))
    params, model_state = abstract(network, 1, 96, 96, 3)
    assert count(params["trunk"]) == 14_714_688
    assert layer_sizes(params["head"]) == {"fc6": 18_878_464, "fc7": 4_195_328}
    assert count(params) == 37_788_480
    assert model_state == {}


def test_classifier_has_the_published_parameters():
    head = vgg_head((4096, 4096, 1000), last_relu=False, dropout=0.5)
    params, _ = abstract(chain(trunk=vgg16(), head=head), 1, 224, 224, 3)
    assert count(params) == 138_357_544


def test_multiply_adds_are_those_of_the_specification():
    # The compiler leaves out products with padding.
    assert multiply_adds(vgg16(), 1, 96, 96, 3) == pytest.approx(2.82e9, rel=0.1)


def test_layers_are_named_as_in_the_papers_and_in_their_order():
    params, _ = abstract(vgg16(), 1, 32, 32, 3)
    assert tuple(params) == VGG16_CONVS
    assert VGG16_CONVS[-3:] == ("conv5_1", "conv5_2", "conv5_3")
    assert VGG16_LAYERS[:4] == ("conv1_1", "conv1_2", "pool1", "conv2_1")
    assert len(VGG16_CONVS) == 13
    assert len(VGG16_LAYERS) == 18


def test_normalisation_brings_no_parameters_and_masks_find_the_others():
    network = chain(
        trunk=vgg16(norm_layers=DEEP), head=vgg_head((8, 4), norm_layers=("fc6",))
    )
    params, model_state = abstract(network, 1, 32, 32, 3)
    names = leaf_names(params)
    assert not [name for name in names if "_bn" in name]
    assert {"trunk/conv5_3/kernel", "head/fc7/bias"} < set(names)
    mask = jax.tree.leaves(exclude(BIAS_AND_NORM)(params))
    assert sum(mask) == len(mask) - sum(mask) == 15
    assert sorted(model_state["trunk"]["batch_stats"]) == [f"{n}_bn" for n in DEEP]
    assert list(model_state["head"]["batch_stats"]) == ["fc6_bn"]


@pytest.mark.parametrize(("width", "first", "last"), [(0.25, 16, 128), (0.001, 1, 1)])
def test_width_is_a_share_of_the_channels(width, first, last):
    params, _ = abstract(vgg16(width=width), 1, 32, 32, 3)
    assert params["conv1_1"]["kernel"].shape == (3, 3, 3, first)
    assert params["conv5_3"]["kernel"].shape == (3, 3, last, last)


def reference(params, x, norm_layers):
    """Every layer's activations in training, from primitives alone."""
    found = {}
    for block, (_, convs) in enumerate(VGG16_BLOCKS, 1):
        for i in range(1, convs + 1):
            name = f"conv{block}_{i}"
            x = lax.conv_general_dilated(
                x,
                params[name]["kernel"],
                (1, 1),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            ) + params[name]["bias"].reshape(1, 1, 1, -1)
            if name in norm_layers:
                mean = x.mean((0, 1, 2), keepdims=True)
                x = (x - mean) / jnp.sqrt(x.var((0, 1, 2), keepdims=True) + EPSILON)
            x = found[name] = jnp.maximum(x, 0.0)
        x = found[f"pool{block}"] = nn.max_pool(x, (2, 2), (2, 2))
    return found


@pytest.mark.slow
def test_every_tap_of_one_apply_equals_a_forward_pass_written_out():
    _, params, state = narrow(DEEP)
    network = jitted(vgg16(VGG16_LAYERS, width=NARROW, norm_layers=DEEP))
    images = random_images(4, 32, 32, 3)
    found, after = network.apply(params, state, images, train=True)
    expected = jax.jit(reference, static_argnums=2)(params, images, DEEP)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-3)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.slow
def test_earlier_tap_takes_the_parameters_of_the_whole():
    network, params, state = narrow(DEEP)
    images = random_images(2, 32, 32, 3)
    earlier = vgg16("conv3_2", width=NARROW, norm_layers=DEEP)
    both = vgg16(("pool5", "conv3_2"), width=NARROW, norm_layers=DEEP)
    whole, _ = network.apply(params, state, images)
    part, _ = jitted(earlier).apply(params, state, images)
    together, _ = jitted(both).apply(params, state, images)
    np.testing.assert_allclose(together["conv3_2"], part, rtol=1e-5)
    np.testing.assert_allclose(together["pool5"], whole, rtol=1e-4, atol=1e-5)
    own, _ = abstract(earlier, 1, 32, 32, 3)
    assert tuple(own) == VGG16_CONVS[:6]


@pytest.mark.slow
def test_folding_leaves_evaluation_as_it_was():
    def network(*norm_layers):
        mine = [name for name in norm_layers if name.startswith("conv")]
        linear = [name for name in norm_layers if name.startswith("fc")]
        trunk = vgg16(width=NARROW, norm_layers=mine)
        return jitted(chain(trunk=trunk, head=vgg_head((9, 5), norm_layers=linear)))

    normalised, plain = network(*DEEP, "fc6", "fc7"), network()
    images = random_images(3, 32, 32, 3)
    params, state = drawn(*normalised.init(jax.random.key(1), images))
    folded = fold_batch_norm(params, state)
    assert jax.tree.structure(folded) == jax.tree.structure(params)
    expected, _ = normalised.apply(params, state, images)
    found, _ = plain.apply(folded, {}, images)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    without, _ = plain.apply(params, {}, images)
    assert np.abs(without - expected).max() > 0.1


@pytest.mark.slow
def test_folding_without_statistics_changes_nothing():
    _, params, _ = narrow()
    assert fold_batch_norm(params, {}) == params


@pytest.mark.parametrize(
    "params",
    [{"conv1": {}}, {"fc6": {}, "fc6_bn": {"scale": jnp.ones(1)}}],
    ids=["no layer", "scale"],
)
def test_folding_refuses_what_is_not_its_own(params):
    statistics = {"mean": jnp.zeros(1), "var": jnp.ones(1)}
    with pytest.raises(InputError, match="got fc6_bn beside"):
        fold_batch_norm(params, {"batch_stats": {"fc6_bn": statistics}})


def test_standardisation_has_mean_0_and_variance_1_and_no_parameters():
    norm = from_linen(BatchNorm(affine=False))
    x = 3.0 + 2.0 * random_images(64, 5)
    params, state = norm.init(jax.random.key(0), x)
    y, after = norm.apply(params, state, x, train=True)
    assert params == {}
    np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(y.std(0), 1.0, atol=1e-4)
    expected = 0.1 * x.mean(0)
    np.testing.assert_allclose(after["batch_stats"]["mean"], expected, rtol=1e-5)


@pytest.mark.slow
def test_relu_at_the_end_of_a_head_is_a_choice():
    x = random_images(8, 3, 3, 2)
    outputs = {}
    for relu in (True, False):
        head = vgg_head((7, 5), last_relu=relu)
        params, state = head.init(jax.random.key(0), x)
        outputs[relu], _ = head.apply(params, state, x)
        by_hand = jnp.maximum(x.reshape(8, 18) @ params["fc6"]["kernel"], 0.0)
        by_hand = by_hand @ params["fc7"]["kernel"]
        by_hand = jnp.maximum(by_hand, 0.0) if relu else by_hand
        np.testing.assert_allclose(outputs[relu], by_hand, rtol=1e-5, atol=1e-6)
    assert outputs[True].min() == 0.0 > outputs[False].min()


def test_head_goes_on_counting_where_another_ended():
    params, _ = abstract(vgg_head((6, 8), first=7), 1, 4)
    assert list(params) == ["fc7", "fc8"]


def test_dropout_of_a_head_is_for_training_and_by_the_key():
    head, x = vgg_head((512,), dropout=0.5), jnp.ones((2, 4))
    params, state = head.init(jax.random.key(0), x)
    params["fc6"]["bias"] = jnp.full(512, 100.0)
    apply = jax.jit(lambda key: head.apply(params, state, x, train=True, key=key)[0])
    one, two = apply(jax.random.key(1)), apply(jax.random.key(2))
    assert float(jnp.mean(one == 0.0)) == pytest.approx(0.5, abs=0.06)
    assert not np.array_equal(one, two)
    assert bool(jnp.all(head.apply(params, state, x)[0] > 0.0))


@pytest.mark.slow
def test_bfloat16_stays_near_float32_and_yields_float32():
    network, params, state = narrow(DEEP)
    half = jitted(vgg16(width=NARROW, norm_layers=DEEP, dtype=jnp.bfloat16))
    images = random_images(2, 32, 32, 3)
    expected, _ = network.apply(params, state, images)
    found, _ = half.apply(params, state, images)
    assert found.dtype == jnp.float32
    error = jnp.linalg.norm((found - expected).ravel())
    assert 0 < error < 0.05 * jnp.linalg.norm(expected.ravel())


def test_parts_of_a_chain_are_drawn_apart_and_keep_their_states():
    part = vgg_head((4,), norm_layers=("fc6",))
    both, x = chain(low=part, high=part), random_images(8, 4)
    params, state = both.init(jax.random.key(0), x)
    low, high = (params[name]["fc6"]["kernel"] for name in ("low", "high"))
    assert not np.array_equal(low, high)
    y, after = both.apply(params, state, x, train=True)
    middle, low_state = part.apply(params["low"], state["low"], x, train=True)
    expected, high_state = part.apply(params["high"], state["high"], middle, train=True)
    np.testing.assert_array_equal(y, expected)
    assert jax.tree.all(
        jax.tree.map(np.array_equal, after, {"low": low_state, "high": high_state})
    )


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: vgg16("pool6"), "a tap must be one of .*; got 'pool6'"),
        (lambda: vgg16(()), "got none"),
        (lambda: vgg16(norm_layers=("pool5",)), "normalised convolution .* 'pool5'"),
        (lambda: vgg16(norm_layers="conv1_1"), "in a tuple"),
        (lambda: vgg16(width=0.0), "width .* got 0.0"),
        (lambda: vgg16(width=1.5), "width .* got 1.5"),
        (lambda: vgg_head(()), r"at least one unit; got sizes \(\)"),
        (lambda: vgg_head((4, 0)), r"got sizes \(4, 0\)"),
        (lambda: vgg_head((4,), norm_layers=("fc7",)), "this head .* got 'fc7'"),
        (lambda: chain(), "a chain must have parts"),
        (lambda: abstract(vgg16(), 1, 16, 64, 3), "at least 32 pixels"),
        (lambda: abstract(vgg16(), 32, 32, 3), "floating-point images"),
    ],
)
def test_what_cannot_be_built_is_refused(build, told):
    with pytest.raises(InputError, match=told):
        build()
