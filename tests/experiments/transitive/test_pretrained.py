"""Convolutions that another library's file holds."""

import jax
import numpy as np
import pytest

from experiments.transitive.detection.config import ModelConfig
from experiments.transitive.networks import BLOCKS, trunk_network
from experiments.transitive.pretrained import load_trunk
from lars_jax.errors import InputError
from lars_jax.models import vgg16_arrays
from lars_jax.train.weights import save_weights


@pytest.fixture
def drawn():
    """Return the convolutions of a small network, and what says which it is."""
    model = ModelConfig(network="small", width=0.25)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    network = trunk_network(model)  # pyright: ignore[reportArgumentType]
    return model, network.init(jax.random.key(3), images)[0]


@pytest.mark.parametrize("names", ["torchvision", "caffe"])
@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_network_begins_with_weights_of_other_names(drawn, tmp_path, names, ending):
    model, params = drawn
    path = tmp_path / f"weights.{ending}"
    save_weights(path, vgg16_arrays(params, names, BLOCKS["small"]))
    own = ModelConfig(network="small", width=0.25, init_from=str(path))
    found = load_trunk(own, params)
    for layer, arrays in params.items():
        for name, expected in arrays.items():
            np.testing.assert_allclose(found[layer][name], expected, rtol=1e-6)


def test_weights_of_another_width_are_refused(drawn, tmp_path):
    _, params = drawn
    path = tmp_path / "weights.npz"
    save_weights(path, vgg16_arrays(params, "torchvision", BLOCKS["small"]))
    own = ModelConfig(network="small", width=0.5, init_from=str(path))
    other = jax.tree.map(lambda leaf: np.zeros((*leaf.shape, 2)), params)
    with pytest.raises(InputError, match="set --network and --width"):
        load_trunk(own, other)
