"""Where real samples come from: drawn on the device, or images that lie there whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mgan.check import check_data
from experiments.mgan.config import Config, in_plane
from experiments.mgan.game import Draw, Shared
from experiments.mgan.mixture import make_mixture
from lars_jax.data import Source, Unlabelled, batch_samples, load_source, to_arrays


@dataclass(frozen=True)
class Inputs:
    """The data of a game.

    Attributes:
        sample_shape: of one sample, (2,) or (S, S, channels).
        draw: real samples of a step, from its key and its row of the batch.
        image: all images, uint8 [N, S, S, channels]; None in the plane.
        name: what the data are called.
    """

    sample_shape: tuple[int, ...]
    draw: Draw
    image: np.ndarray | None
    name: str


def open_sources(config: Config) -> dict[str, Source]:
    """Open the images of a configuration, if it is not one of the plane.

    Raises:
        InputError: there are none.
    """
    if in_plane(config):
        return {}
    data = config.data
    source = load_source(data.dataset, data.split, data_dir=data.data_dir)
    return {"train": Unlabelled(source)}


def load_inputs(config: Config, sources: Mapping[str, Source] | None = None) -> Inputs:
    """Return the data of a configuration.

    Args:
        config: of the game.
        sources: what `open_sources` returns; None: they are opened here.

    Raises:
        InputError: there are none, or fewer images than a batch.
    """
    data = config.data
    if in_plane(config):
        return plane_inputs(config)
    source = (open_sources(config) if sources is None else sources)["train"]
    image = to_arrays(source, resize=data.image_size).image
    check_data(config, len(image))
    return Inputs(image.shape[1:], pick, image, source.name)


def plane_inputs(config: Config) -> Inputs:
    """Return the data of a game in the plane, which are drawn and not loaded."""
    data = config.data
    mixture = make_mixture(data)
    name = f"{data.dataset} of {data.modes} Gaussians"
    return Inputs((2,), lambda key, *_: mixture.draw(key, config.batch), None, name)


def to_unit(image: jax.Array) -> jax.Array:
    """Return bytes as floats in [-1, 1], as generators make them.

    >>> print(to_unit(jnp.array([0, 255], jnp.uint8)))
    [-1.  1.]
    """
    return image.astype(jnp.float32) / 127.5 - 1.0


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Return images of floats in [-1, 1] as bytes.

    >>> to_bytes(np.array([-1.0, 1.0])).tolist()
    [0, 255]
    """
    return np.clip(np.rint((image + 1.0) * 127.5), 0, 255).astype(np.uint8)


def call_rows(
    config: Config, inputs: Inputs, start: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield what each call of the compiled program needs of the host, from a step on.

    Images are shown in an order that is a function of seed and step: the places of the
    images of every step, int32 [steps_per_call, B].

    Args:
        config: of the game.
        inputs: its data.
        start: steps already made.
    """
    for first in range(start, config.steps, config.steps_per_call):
        if inputs.image is None:
            yield {}
            continue
        size, steps = len(inputs.image), range(first, first + config.steps_per_call)
        rows = [batch_samples(config.seed, s, size, config.batch)[0] for s in steps]
        yield {"index": np.stack(rows)}


def pick(key: jax.Array, row: Any, shared: Shared) -> jax.Array:
    """Return the images of a step, which lie on the device and need no key."""
    del key
    return to_unit(shared["image"][row["index"]])
