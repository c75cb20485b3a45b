"""The functional training core: state, one update, the loop, and what it leaves.

Orbax and TensorBoard are imported by `checkpoint` and `record` only when used from
there, so this package costs no more than JAX and Optax.
"""

from lars_jax.train.evaluate import evaluate
from lars_jax.train.interrupt import Interrupt, Interrupted
from lars_jax.train.loop import DataError, Hook, NonFiniteError, every, fit
from lars_jax.train.parallel import DataParallel, data_mesh
from lars_jax.train.sharding import (
    StateSharding,
    gathered,
    parameter_shardings,
    state_shardings,
)
from lars_jax.train.state import TrainState
from lars_jax.train.stop import any_process
from lars_jax.train.update import LossFn, update, update_in_parts

__all__ = [
    "DataError",
    "DataParallel",
    "Hook",
    "Interrupt",
    "Interrupted",
    "LossFn",
    "NonFiniteError",
    "StateSharding",
    "TrainState",
    "any_process",
    "data_mesh",
    "evaluate",
    "every",
    "fit",
    "gathered",
    "parameter_shardings",
    "state_shardings",
    "update",
    "update_in_parts",
]
