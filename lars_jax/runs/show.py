"""What every experiment's `show` tells: settings, and the parameters of a network."""

from collections.abc import Iterator
from typing import Any

import jax

from lars_jax.train.config import digest, flatten, to_json


def settings(config: Any) -> Iterator[str]:
    """Yield a line for each field of a configuration, and its digest.

    >>> from dataclasses import make_dataclass
    >>> Config = make_dataclass("Config", [("steps", int)], frozen=True)
    >>> next(settings(Config(7)))
    'steps   7'
    """
    found = flatten(to_json(config))
    width = max(map(len, (*found, "digest")))
    for name, value in found.items():
        yield f"{name:{width}}  {value}"
    yield f"{'digest':{width}}  {digest(config)}"


def parameter_table(params: Any, title: str = "parameters") -> Iterator[str]:
    """Yield a line for each parameter, its shape and size, and one with the sum.

    Args:
        params: arrays or their shapes.
        title: what the sum is of.

    >>> import jax.numpy as jnp
    >>> for line in parameter_table({"kernel": jnp.zeros((2, 3))}):
    ...     print(" ".join(line.split()))
    kernel (2, 3) 6
    parameters 6
    """
    leaves = jax.tree.leaves_with_path(params)
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        yield f"{name:40} {leaf.shape!s:20} {leaf.size:>12,}"
    yield f"{title:61} {sum(leaf.size for _, leaf in leaves):>12,}"
