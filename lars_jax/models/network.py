"""A network is two pure functions; this is the only seam to a layer library.

Everything outside `lars_jax.models` sees parameters, state and arrays. Linen keeps its
variables in one dictionary; here they are split into what the optimizer changes
(`params`) and what the forward pass changes (`model_state`), which never mix.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import flax.errors
import jax
import jax.numpy as jnp
from flax import linen as nn

from lars_jax.errors import InputError

Params = Any
ModelState = Any
Inputs = jax.Array | jax.ShapeDtypeStruct


class Apply(Protocol):
    """Type of `Network.apply`."""

    def __call__(
        self,
        params: Params,
        model_state: ModelState,
        inputs: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        examples: jax.Array | None = None,
    ) -> tuple[jax.Array, ModelState]:
        """Return the outputs and the state after this forward pass."""
        ...


class Network(NamedTuple):
    """A network as two pure functions.

    `init(key, inputs) -> (params, model_state)` uses only the shape and dtype of
    `inputs`, which may be a `jax.ShapeDtypeStruct`. `model_state` is `{}` for a network
    that keeps none.

    `apply(params, model_state, inputs, *, train=False, key=None, examples=None)`
    returns `(outputs, model_state)`. In training it normalises by the statistics of the
    batch, returns an updated state, and drops activations by `key` and, where they are
    given, by the numbers that tell `examples` [B] apart; otherwise it uses the running
    statistics and returns the state that it was given.
    """

    init: Callable[[jax.Array, Inputs], tuple[Params, ModelState]]
    apply: Apply


def from_linen(module: nn.Module) -> Network:
    """Return the two pure functions of a Linen module.

    Args:
        module: called as `module(inputs, train=bool)`; its random streams are `params`
            and, where it drops activations, `dropout`. One that has an argument
            `examples` is given the numbers of the examples, too.

    Returns:
        The network. Its `init` is compiled and traces the forward pass for shapes only,
        so initialising a network costs drawing its weights and nothing more.

    Raises:
        InputError: when applied in training without the key that dropout needs.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> class Linear(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, inputs, *, train):
    ...         return nn.Dense(3, kernel_init=nn.initializers.ones)(inputs)
    >>> network = from_linen(Linear())
    >>> inputs = jnp.array([[1.0, 2.0]])
    >>> params, model_state = network.init(jax.random.key(0), inputs)
    >>> outputs, _ = network.apply(params, model_state, inputs)
    >>> print(outputs, model_state)
    [[3. 3. 3.]] {}
    """

    @partial(jax.jit, static_argnums=(1, 2))
    def variables(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> Any:
        return module.init({"params": key}, jnp.zeros(shape, dtype), train=False)

    takes_examples = "examples" in inspect.signature(type(module).__call__).parameters

    def init(key: jax.Array, inputs: Inputs) -> tuple[Params, ModelState]:
        state = dict(variables(key, inputs.shape, inputs.dtype))
        params = state.pop("params", {})
        return params, state

    def apply(
        params: Params,
        model_state: ModelState,
        inputs: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        examples: jax.Array | None = None,
    ) -> tuple[jax.Array, ModelState]:
        tree = {"params": params, **model_state}
        if not train:
            outputs: Any = module.apply(tree, inputs, train=False)
            return outputs, model_state
        rngs = {} if key is None else {"dropout": key}
        numbers: dict[str, Any] = {"examples": examples} if takes_examples else {}
        try:
            outputs, updated = module.apply(
                tree,
                inputs,
                train=True,
                rngs=rngs,
                mutable=list(model_state),
                **numbers,
            )
        except flax.errors.InvalidRngError:
            raise InputError(
                "a network with dropout needs a random key in training; got "
                f"key={key}: pass key=jax.random.key(...)"
            ) from None
        return outputs, updated

    return Network(init, apply)


def chain(**parts: Network) -> Network:
    """Return a network that feeds what one part puts out to the next.

    Args:
        **parts: networks by name, in order; the names are the first of their
            parameters' paths, and of their states'.

    Raises:
        InputError: no parts.

    >>> import jax, jax.numpy as jnp
    >>> from flax import linen as nn
    >>> class Double(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, inputs, *, train):
    ...         return self.param("w", nn.initializers.constant(2.0), (1,)) * inputs
    >>> network = chain(low=from_linen(Double()), high=from_linen(Double()))
    >>> params, state = network.init(jax.random.key(0), jnp.ones(1))
    >>> print(network.apply(params, state, jnp.array([5.0]))[0], sorted(params), state)
    [20.] ['high', 'low'] {}
    """
    if not parts:
        raise InputError("a chain must have parts; got none: name at least one network")

    def init(key: jax.Array, inputs: Inputs) -> tuple[Params, ModelState]:
        params, model_state = {}, {}
        shape: Any = inputs
        for i, (name, part) in enumerate(parts.items()):
            params[name], state = part.init(jax.random.fold_in(key, i), shape)
            shape, _ = jax.eval_shape(part.apply, params[name], state, shape)
            if state:
                model_state[name] = state
        return params, model_state

    def apply(
        params: Params,
        model_state: ModelState,
        inputs: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        examples: jax.Array | None = None,
    ) -> tuple[jax.Array, ModelState]:
        after, x = {}, inputs
        for i, (name, part) in enumerate(parts.items()):
            own = None if key is None else jax.random.fold_in(key, i)
            x, state = part.apply(
                params[name],
                model_state.get(name, {}),
                x,
                train=train,
                key=own,
                examples=examples,
            )
            if state:
                after[name] = state
        return x, after

    return Network(init, apply)
