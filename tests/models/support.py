"""What the tests of the networks share."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.models import Network, build


def jitted(network: Network) -> Network:
    """The same network, compiled: eager convolutions are slow to test."""
    return network._replace(apply=jax.jit(network.apply, static_argnames="train"))


def abstract(network: Network, *shape: int) -> Any:
    """Shapes of parameters and state for images of this shape."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda: network.init(jax.random.key(0), images))


def count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def drawn(params: Any, model_state: Any) -> tuple[Any, Any]:
    """The same with biases and statistics that are not those of a new network."""
    numbers = np.random.default_rng(0)

    def draw(path: Any, leaf: jax.Array) -> jax.Array:
        name = path[-1].key
        if name == "kernel":
            return leaf
        values = numbers.uniform(0.2, 2.0, leaf.shape)
        return jnp.asarray(values if name == "var" else values - 1, jnp.float32)

    return jax.tree.map_with_path(draw, (params, model_state))


def multiply_adds(network: Network, *shape: int) -> float:
    """Multiply-adds of one forward pass, as the compiler counts them."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, model_state = abstract(network, *shape)
    lowered = jax.jit(network.apply).lower(params, model_state, images)
    analysis: Any = lowered.cost_analysis()
    return analysis["flops"] / 2


def random_images(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(7), shape)


@functools.cache
def small_network(name: str) -> tuple[Any, Any, Any]:
    """A compiled network for 8x8 pixels in 10 classes, its parameters and state.

    Kept from test to test, for drawing weights takes longer than using them.
    """
    network = jitted(build(name, 10))
    images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    return network, *network.init(jax.random.key(0), images)


def losses_by_heart(name: str, rate: float) -> tuple[Any, Any]:
    """Losses of 60 steps on eight examples of as many classes, and the last logits."""
    network, params, model_state = small_network(name)
    images, labels = random_images(8, 8, 8, 3), jnp.arange(8)
    tx = optax.sgd(rate, momentum=0.9)

    def loss_fn(params: Any, model_state: Any, key: Any) -> tuple[Any, Any]:
        logits, model_state = network.apply(
            params, model_state, images, train=True, key=key
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses), model_state

    def step(carry: Any, key: Any) -> tuple[Any, Any]:
        params, model_state, opt_state = carry
        (loss, model_state), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            params, model_state, key
        )
        updates, opt_state = tx.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), model_state, opt_state), loss

    carry = (params, model_state, tx.init(params))
    keys = jax.random.split(jax.random.key(1), 60)
    (params, model_state, _), losses = jax.jit(lambda c: jax.lax.scan(step, c, keys))(
        carry
    )
    return losses, network.apply(params, model_state, images)[0]
