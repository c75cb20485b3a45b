"""What a network of normals comes to, without running it."""

from collections.abc import Iterator
from functools import partial

import jax

from experiments.transitive.normals.config import Config
from experiments.transitive.normals.program import build_network, drawn_state
from lars_jax.runs.show import parameter_table, settings


def describe(config: Config) -> Iterator[str]:
    """Yield the lines of `show`: settings, then parameters.

    >>> any("FCN-32s" in line for line in describe(Config()))
    True
    """
    yield from settings(config)
    yield ""
    state = jax.eval_shape(partial(drawn_state, config))
    yield from parameter_table(state.params)
    data, stride = config.data, build_network(config).stride
    yield f"FCN-{stride}s on frames of {data.height} x {data.length} pixels"
