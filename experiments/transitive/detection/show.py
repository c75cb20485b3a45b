"""What a detector comes to, without running it."""

import functools
from collections.abc import Iterator

import jax

from experiments.transitive.detection.ahead import assumed_classes, batch_shapes
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.network import Detector, frozen_layers
from experiments.transitive.detection.program import drawn_state
from lars_jax.runs.show import parameter_table, settings


def describe(config: Config) -> Iterator[str]:
    """Yield the lines of `show`: settings, shapes of a batch, parameters.

    >>> any("134,690,729" in line for line in describe(Config()))
    True
    """
    yield from settings(config)
    classes = assumed_classes(config)
    yield f"({config.data.dataset} is not opened: taken to have {classes} classes)"
    yield ""
    for name, shape in batch_shapes(config).items():
        yield f"{name:40} {shape.shape!s:20} {shape.dtype!s:>12}"
    yield ""
    detector = Detector(config, classes)
    state = jax.eval_shape(functools.partial(drawn_state, detector))
    yield from parameter_table(state.params)
    if stay := frozen_layers(config):
        yield f"not trained: {', '.join(sorted(stay))}"
