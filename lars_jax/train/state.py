"""What training carries from one step to the next."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Params = Any
ModelState = Any
Metrics = dict[str, jax.Array]


class TrainState(NamedTuple):
    """Everything that a step changes, and nothing else.

    There is no random key in it: the key of a step is a function of the seed and of
    `step`, so that a restored state goes on exactly where it was.
    """

    step: jax.Array  # int32 []
    params: Params
    model_state: ModelState
    opt_state: Any

    @classmethod
    def create(
        cls, params: Params, model_state: ModelState, tx: optax.GradientTransformation
    ) -> "TrainState":
        """Return the state at step 0 for parameters and an optimizer.

        >>> import jax.numpy as jnp, optax
        >>> state = TrainState.create({"w": jnp.ones(2)}, {}, optax.sgd(0.1))
        >>> int(state.step)
        0
        """
        return cls(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))
