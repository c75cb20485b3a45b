import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.lars.config import NetworkName
from lars_jax.errors import InputError
from lars_jax.models import NETWORKS, BatchNorm, build, from_linen


class Dropping(nn.Module):
    @nn.compact
    def __call__(self, inputs, *, train):
        x = nn.Dense(16)(inputs)
        return nn.Dropout(0.5, deterministic=not train)(x)


@pytest.fixture
def inputs():
    return jnp.ones((2, 3))


def test_init_gives_the_weights_of_linen_from_shape_and_dtype_of_the_inputs(
    key, inputs
):
    network = from_linen(Dropping())
    expected = Dropping().init({"params": key}, inputs, train=False)
    for given in (inputs, jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)):
        params, model_state = network.init(key, given)
        assert model_state == {}
        jax.tree.map(np.testing.assert_array_equal, params, expected["params"])


def test_evaluation_needs_no_key_and_returns_the_same_state(key):
    network, x = from_linen(BatchNorm()), jnp.ones((2, 3))
    params, model_state = network.init(key, x)
    _, after = network.apply(params, model_state, x)
    assert after is model_state


def test_training_without_the_key_of_dropout_is_an_input_error(key, inputs):
    network = from_linen(Dropping())
    params, model_state = network.init(key, inputs)
    with pytest.raises(InputError, match="needs a random key in training") as caught:
        network.apply(params, model_state, inputs, train=True)
    assert "\n" not in str(caught.value)


def test_networks_are_those_of_the_configuration():
    assert typing.get_args(NetworkName) == NETWORKS


# Depths differ in numbers alone.
@pytest.mark.parametrize("name", ["alexnet", "alexnet_bn", "resnet8", "resnet50"])
def test_every_kind_of_network_has_float32_logits(name):
    network = build(name, 7, stride_in="3x3", bn_span=2)
    images = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)

    def run(key, images):
        params, model_state = network.init(key, images)
        dropping = jax.random.key(1)
        return network.apply(params, model_state, images, train=True, key=dropping)

    logits, _ = jax.eval_shape(run, jax.random.key(0), images)
    assert (logits.shape, logits.dtype) == ((4, 7), jnp.float32)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="alexnet_bn, resnet18.*got 'vgg'"):
        build("vgg", 10)
