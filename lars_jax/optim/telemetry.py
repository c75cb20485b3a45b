"""Norms, trust ratios and effective rates of layers, read out of an optimizer's state.

`scale_by_lars` leaves them in its own state. An optimizer without layer-wise ratios
gets the same telemetry by putting `record_norms` first in its chain.
"""

import html
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lars_jax.optim.scaling import ScaleByLarsState, scale_by_lars

FIELDS = ("weight_norm", "gradient_norm", "trust_ratio", "effective_rate")
"""What is known of a layer, in the order of the last axis of `layer_norms`."""


def record_norms(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    stacked_axes: Any = None,
    axis_names: Any = None,
) -> optax.GradientTransformation:
    """Pass gradients through unchanged and keep ||w|| and ||g|| of every layer.

    Args:
        learning_rate: what the effective rate of every layer is, the ratio being one.
        stacked_axes: axes that count layers, as `lars` takes them.
        axis_names: mesh axes over which leaves are split, as `lars` takes them.

    >>> import jax.numpy as jnp
    >>> w, g = jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])
    >>> tx = record_norms()
    >>> _, state = tx.update(g, tx.init(w), w)
    >>> print(np.array(state.weight_norm), np.array(state.gradient_norm))
    [5.] [2.]
    """
    return scale_by_lars(
        learning_rate=learning_rate,
        trust_ratio_mask=False,
        stacked_axes=stacked_axes,
        axis_names=axis_names,
    )


def layer_norms(opt_state: Any) -> jax.Array | None:
    """Return the last norms, ratio and effective rate of every layer as one array.

    One array means one transfer to the host, however many layers there are; the rows
    are in the order of `layer_names(params)` and of the names in the state.

    Args:
        opt_state: state of a chain that has `scale_by_lars` or `record_norms` in it;
            of several, the first that keeps telemetry.

    Returns:
        float32 [L, 4], columns as in `FIELDS`, or None where the state has no norms.

    >>> import jax.numpy as jnp
    >>> from lars_jax.optim import lars
    >>> w, g = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}
    >>> tx = lars(2.0)
    >>> print(layer_norms(tx.update(g, tx.init(w), w)[1]))
    [[5.    1.    0.005 0.01 ]]
    """
    found = _find(opt_state)
    return _columns(found[0]) if found else None


@dataclass(frozen=True, repr=False)
class LarsReport:
    """What the last step did to every layer; prints as a table, in notebooks as HTML.

    Attributes:
        names: of L layers.
        values: float32 [L, 4], columns as in `FIELDS`.
    """

    names: tuple[str, ...]
    values: np.ndarray

    def _table(self) -> list[tuple[str, ...]]:
        rows = zip(self.names, self.values, strict=True)
        cells = [(name, *(f"{value:.6g}" for value in row)) for name, row in rows]
        return [("layer", *FIELDS), *cells]

    def __str__(self) -> str:
        width = max(len(name) for name, *_ in self._table())
        return "\n".join(
            f"{name:<{width}}" + "".join(f"  {cell:>14}" for cell in cells)
            for name, *cells in self._table()
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        left, right = (
            f"style='text-align:{side};padding:0.1em 0.7em'"
            for side in ("left", "right")
        )

        def row(kind: str, name: str, *cells: str) -> str:
            rest = "".join(f"<{kind} {right}>{cell}</{kind}>" for cell in cells)
            return f"<tr><th {left}>{html.escape(name)}</th>{rest}</tr>"

        head, *rows = self._table()
        body = "".join(row("td", *cells) for cells in rows)
        return f"<table><thead>{row('th', *head)}</thead><tbody>{body}</tbody></table>"


def lars_report(opt_state: Any) -> LarsReport:
    """Return the table of what the last update measured and applied, layer by layer.

    Args:
        opt_state: state of a chain that has `scale_by_lars` or `record_norms` in it; of
            several, as under `optax.partition`, the layers of all, each as the first
            that keeps it has it. A leaf that was given no gradient is not measured and
            has zeros.

    Raises:
        ValueError: the state keeps no telemetry, or no names of layers, as what
            `optax.tree.map_params` returns.

    >>> import jax.numpy as jnp
    >>> from lars_jax.optim import lars
    >>> w, g = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}
    >>> tx = lars(2.0)
    >>> print(lars_report(tx.update(g, tx.init(w), w)[1]))
    layer     weight_norm   gradient_norm     trust_ratio  effective_rate
    w                   5               1           0.005            0.01
    """
    found = _find(opt_state)
    if not found:
        raise ValueError(
            "a report needs a state that keeps telemetry; got one without: put "
            "lars(..., telemetry=True) or record_norms() in the chain"
        )
    rows: dict[str, np.ndarray] = {}
    for own in found:
        names, values = own.trust_ratio.names, np.asarray(_columns(own))
        if len(names) != len(values):
            raise ValueError(
                f"a report needs the names of layers; got a state of {len(values)} with"
                f" {len(names)} names: take one that init or update has returned"
            )
        for name, row in zip(names, values, strict=True):
            rows.setdefault(name, row)
    values = np.array(list(rows.values()), np.float32).reshape(-1, len(FIELDS))
    return LarsReport(tuple(rows), values)


def _columns(state: Any) -> jax.Array:
    return jnp.stack([getattr(state, name).vector for name in FIELDS], axis=-1)


def _find(state: Any) -> list[Any]:
    """Return all states that keep telemetry."""
    found = optax.tree_utils.tree_get_all_with_path(state, ScaleByLarsState.__name__)
    return [own for _, own in found if own.trust_ratio is not None]
