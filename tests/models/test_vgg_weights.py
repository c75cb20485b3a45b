"""VGG16's weights of other libraries, against networks written out in their layouts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from lars_jax.data import known_statistics, normalize
from lars_jax.errors import InputError
from lars_jax.models import (
    VGG16_BLOCKS,
    chain,
    vgg16,
    vgg16_arrays,
    vgg16_weights,
    vgg_head,
)

BLOCKS = ((4, 1), (5, 2))
UNITS = (6, 3)
BGR_MEANS = np.array([103.939, 116.779, 123.68])


def drawn(names, rng, *, normalised=False):
    """Weights of a small network for 8 x 8 pixels, in the layout of the others."""
    apart = 3 if normalised else 2
    convs = {"conv1_1": (0, 3, 4), "conv2_1": (apart + 1, 4, 5)}
    convs["conv2_2"] = (2 * apart + 1, 5, 5)
    linear = {"fc6": (0, 5 * 2 * 2, 6), "fc7": (3, 6, 3)}
    arrays = {}
    for part, layers in (("features", convs), ("classifier", linear)):
        for layer, (place, inputs, outputs) in layers.items():
            shape = (outputs, inputs, *((3, 3) if part == "features" else ()))
            size = 0.02 if (names, layer) == ("caffe", "conv1_1") else 0.5
            both = size * rng.normal(size=shape), rng.normal(size=outputs)
            keys = [f"{layer}/0", f"{layer}/1"]
            if names == "torchvision":
                keys = [f"{part}.{place}.weight", f"{part}.{place}.bias"]
            arrays |= dict(zip(keys, both, strict=True))
            if normalised and part == "features":
                after = f"features.{place + 1}"
                for name in ("weight", "bias", "running_mean", "running_var"):
                    value = rng.uniform(0.5, 2, outputs)
                    arrays[f"{after}.{name}"] = value
    return arrays


def theirs(arrays, x, *, normalised=False):
    """What their network puts out, in float64; images are [B, C, H, W]."""
    caffe = "conv1_1/0" in arrays
    apart = 3 if normalised else 2
    places = {"conv1_1": 0, "conv2_1": apart + 1, "conv2_2": 2 * apart + 1}

    def weights(layer, place):
        keys = (f"{layer}/0", f"{layer}/1")
        return [
            arrays[k] for k in (keys if caffe else (f"{place}.weight", f"{place}.bias"))
        ]

    for layer, place in places.items():
        kernel, bias = weights(layer, f"features.{place}")
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        x = np.stack(
            [
                np.stack([correlate(one, k, mode="valid")[0] for k in kernel])
                for one in padded
            ]
        )
        x = x + bias[:, None, None]
        if normalised:
            g, b, m, v = (
                arrays[f"features.{place + 1}.{name}"][:, None, None]
                for name in ("weight", "bias", "running_mean", "running_var")
            )
            x = g * (x - m) / np.sqrt(v + 1e-5) + b
        x = np.maximum(x, 0)
        if layer in ("conv1_1", "conv2_2"):
            batch, channels, height, width = x.shape
            cut = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
            x = cut.max(axis=(3, 5))
    x = x.reshape(len(x), -1)
    for layer, place in (("fc6", 0), ("fc7", 3)):
        kernel, bias = weights(layer, f"classifier.{place}")
        x = x @ kernel.T + bias
        x = np.maximum(x, 0) if layer == "fc6" else x
    return x


def ours(layers, x):
    head = ("fc6", "fc7")
    params = {
        "trunk": {k: v for k, v in layers.items() if k not in head},
        "head": {k: layers[k] for k in head},
    }
    network = chain(
        trunk=vgg16("pool2", blocks=BLOCKS),
        head=vgg_head(UNITS, last_relu=False),
    )
    return np.asarray(network.apply(jax.tree.map(jnp.asarray, params), {}, x)[0])


def shown(pixels):
    """Bytes as networks here are shown them."""
    statistics = known_statistics("imagenet2012")
    assert statistics is not None
    return normalize(jnp.asarray(pixels), *statistics)


@pytest.mark.parametrize("normalised", [False, True])
def test_network_of_torchvisions_weights_is_torchvisions(normalised):
    rng = np.random.default_rng(0)
    arrays = drawn("torchvision", rng, normalised=normalised)
    x = shown(rng.integers(0, 256, (2, 8, 8, 3), np.uint8))
    channels_first = np.asarray(x, np.float64).transpose(0, 3, 1, 2)
    expected = theirs(arrays, channels_first, normalised=normalised)
    found = ours(vgg16_weights(arrays, BLOCKS), x)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
    assert np.abs(expected).max() > 0.1


def test_network_of_caffes_weights_is_caffes_but_for_half_a_grey_level():
    rng = np.random.default_rng(1)
    arrays = drawn("caffe", rng)
    pixels = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    grey = (pixels[..., ::-1] - BGR_MEANS).transpose(0, 3, 1, 2)
    layers = vgg16_weights(arrays, BLOCKS)
    found, expected = ours(layers, shown(pixels)), theirs(arrays, grey)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    # Shown the very means of our statistics, it is the same network.
    means = 255 * np.array([0.485, 0.456, 0.406])
    grey = (pixels - means)[..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, theirs(arrays, grey), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("names", ["torchvision", "caffe"])
def test_there_and_back_is_the_same(names):
    arrays = drawn(names, np.random.default_rng(2))
    layers = vgg16_weights(arrays, BLOCKS)
    again = vgg16_arrays(layers, names, BLOCKS)
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-6)


@pytest.mark.parametrize("names", ["torchvision", "caffe"])
@pytest.mark.parametrize("form", ["convolution", "old"])
def test_linear_layers_in_other_forms_are_the_same(names, form):
    arrays = drawn(names, np.random.default_rng(3))
    # fc6 is of 5 channels and 2 x 2 pixels.
    shapes = {"fc6": (6, 5, 2, 2), "fc7": (3, 6, 1, 1)}
    if form == "old":
        shapes = {"fc6": (1, 1, 6, 20), "fc7": (1, 1, 3, 6)}
    keys = {"caffe": ("fc6/0", "fc7/0")}
    keys["torchvision"] = ("classifier.0.weight", "classifier.3.weight")
    others = {
        key: arrays[key].reshape(shape)
        for key, shape in zip(keys[names], shapes.values(), strict=True)
    }
    expected = vgg16_weights(arrays, BLOCKS)
    found = vgg16_weights(arrays | others, BLOCKS)
    for layer in shapes:
        np.testing.assert_array_equal(found[layer]["kernel"], expected[layer]["kernel"])


def test_whole_vgg16_has_torchvisions_names():
    shapes = jax.eval_shape(
        lambda: vgg16().init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    )[0]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    arrays = vgg16_arrays(zeros, "torchvision", VGG16_BLOCKS)
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert [name for name in arrays if name.endswith("weight")] == [
        f"features.{place}.weight" for place in places
    ]
    assert arrays["features.28.weight"].shape == (512, 512, 3, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda arrays: arrays.clear(), "torchvision's names"),
        (lambda arrays: arrays.pop("features.3.bias"), "conv2_1, features.3.bias"),
        (
            lambda arrays: arrays.update({"features.3.weight": np.zeros((5, 9, 3, 3))}),
            "conv2_1 takes 4 channels",
        ),
        (
            lambda arrays: arrays.update({"classifier.0.weight": np.zeros((6, 15))}),
            "got 15 inputs",
        ),
        (
            lambda arrays: arrays.update({"classifier.3.weight": np.zeros((6, 4))}),
            "fc7 has a row of weights for each bias",
        ),
        (
            lambda arrays: arrays.update({"features.1.running_mean": np.zeros(4)}),
            "features",
        ),
    ],
)
def test_what_is_missing_or_of_another_shape_is_one_line(change, said):
    arrays = drawn("torchvision", np.random.default_rng(0))
    change(arrays)
    with pytest.raises(InputError, match=said) as caught:
        vgg16_weights(arrays, BLOCKS)
    assert "\n" not in str(caught.value)


def test_layers_that_are_missing_are_refused():
    with pytest.raises(InputError, match="has a layer conv1_1"):
        vgg16_arrays({}, "caffe")
