"""Every published LARS written down once more, in float64 NumPy, a leaf at a time.

Each function is one implementation, from its paper or its source, and shares nothing
with the others but the norm and the momentum, so that a slip in one stays there.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Setting:
    """What one leaf is given at one step; beta is 0 for a leaf that does not decay."""

    rate: float
    beta: float
    eta: float
    momentum: float
    nesterov: bool
    adapted: bool


@dataclass(frozen=True)
class Taken:
    """A step: what is subtracted, the new buffer, and what telemetry should say."""

    moved: np.ndarray
    buffer: np.ndarray
    measured: float
    effective_rate: float


def norm(x: np.ndarray) -> float:
    """Return the Euclidean norm, summed without rounding."""
    return math.sqrt(math.fsum(float(entry) ** 2 for entry in np.ravel(x)))


def accumulate(v, step, at):
    """Return what the momentum yields and the buffer that it leaves."""
    v = at.momentum * v + step
    return (step + at.momentum * v if at.nesterov else v), v


def paper(w, v, g, at):
    """Algorithm 1 of arXiv 1708.03888; flax.optim.LARS; MLPerf's later references."""
    local = 1.0
    if at.adapted and norm(w) > 0 and norm(g) > 0:
        local = at.eta * norm(w) / (norm(g) + at.beta * norm(w))
    moved, v = accumulate(v, at.rate * local * (g + at.beta * w), at)
    return Taken(moved, v, norm(g), at.rate * local)


def optax(w, v, g, at):
    """optax.lars; SimCLR's LARSOptimizer with classic_momentum=True."""
    g = g + at.beta * w
    trust_ratio = 1.0
    if at.adapted and norm(w) > 0 and norm(g) > 0:
        trust_ratio = at.eta * norm(w) / norm(g)
    moved, v = accumulate(v, at.rate * trust_ratio * g, at)
    return Taken(moved, v, norm(g), at.rate * trust_ratio)


def larc_clip(w, v, g, at):
    """nvcaffe with larc_policy "clip", December 2017."""
    local = 1.0
    if norm(w) > 0 and norm(g) > 0:
        local = at.eta * norm(w) / norm(g)
    rate = min(at.rate, local) if at.adapted else at.rate
    moved, v = accumulate(v, rate * (g + at.beta * w), at)
    return Taken(moved, v, norm(g), rate)


def larc_apex(w, v, g, at, *, clip):
    """apex.parallel.LARC around torch.optim.SGD, which edits the gradient."""
    measured, adaptive = norm(g), 1.0
    if not at.adapted:
        g = g + at.beta * w
    elif norm(w) != 0 and measured != 0:
        adaptive = at.eta * norm(w) / (measured + norm(w) * at.beta + 1e-8)
        if clip:
            adaptive = min(adaptive / at.rate if at.rate else math.inf, 1.0)
        g = (g + at.beta * w) * adaptive
    # Without either norm the gradient is left alone, and SGD's own decay is off.
    moved, v = accumulate(v, g, at)
    return Taken(at.rate * moved, v, measured, at.rate * adaptive)


def larc_apex_clip(w, v, g, at):
    """apex LARC(optimizer, clip=True), its default."""
    return larc_apex(w, v, g, at, clip=True)


def larc_apex_scale(w, v, g, at):
    """apex LARC(optimizer, clip=False)."""
    return larc_apex(w, v, g, at, clip=False)


def mlperf_scaled(w, v, g, at):
    """MLPerf's "scaled momentum", arXiv 1909.09756."""
    measured, local = norm(g), 1.0
    if at.adapted and norm(w) > 0 and measured > 0:
        local = at.eta * norm(w) / (measured + at.beta * norm(w))
    moved, v = accumulate(v, g + at.beta * w, at)
    return Taken(at.rate * local * moved, v, measured, at.rate * local)


def tf_contrib(w, v, g, at):
    """tf.contrib.opt.LARSOptimizer, whose decay is only in the denominator."""
    trust_ratio = 1.0
    if at.adapted and norm(w) > 0 and norm(g) > 0:
        trust_ratio = at.eta * norm(w) / (norm(g) + at.beta * norm(w))
    rate = at.rate * trust_ratio
    v = at.momentum * v + g
    # ApplyMomentum with use_nesterov.
    moved = g * rate + v * at.momentum * rate if at.nesterov else v * rate
    return Taken(moved, v, norm(g), rate)


def simclr_popular(w, v, g, at):
    """SimCLR's LARSOptimizer with classic_momentum=False."""
    g = g + at.beta * w
    v = at.momentum * v + g
    update = at.momentum * v + g if at.nesterov else v
    trust_ratio = 1.0
    if at.adapted and norm(w) > 0 and norm(update) > 0:
        trust_ratio = at.eta * norm(w) / norm(update)
    rate = trust_ratio * at.rate
    return Taken(rate * update, v, norm(update), rate)


def byol(w, v, g, at):
    """BYOL's chain of decay, LARS with momentum, and rate, each with its own filter."""
    g = g + at.beta * w
    measured, ratio = norm(g), 1.0
    if at.adapted and norm(w) > 0 and measured > 0:
        ratio = at.eta * norm(w) / measured
    moved, mu = accumulate(v, ratio * g, at)
    return Taken(at.rate * moved, mu, measured, at.rate * ratio)


LARC: tuple[Callable[..., Taken], ...] = (larc_clip, larc_apex_clip, larc_apex_scale)
OUTSIDE: tuple[Callable[..., Taken], ...] = (mlperf_scaled, tf_contrib, simclr_popular)
IMPLEMENTATIONS: Mapping[str, Callable[..., Taken]] = {
    function.__name__: function for function in (paper, optax, *LARC, *OUTSIDE, byol)
}


class Oracle:
    """One implementation over a dict of leaves, with weights and buffers of its own."""

    def __init__(
        self,
        variant: str,
        weights: Mapping[str, np.ndarray],
        *,
        beta: float,
        eta: float = 1e-3,
        momentum: float = 0.9,
        nesterov: bool = False,
        unadapted: Collection[str] = (),
        undecayed: Collection[str] = (),
    ):
        self.apply = IMPLEMENTATIONS[variant]
        self.weights = {k: np.asarray(w, np.float64) for k, w in weights.items()}
        self.buffers = {k: np.zeros_like(w) for k, w in self.weights.items()}
        self.beta, self.eta, self.momentum = beta, eta, momentum
        self.nesterov, self.unadapted, self.undecayed = nesterov, unadapted, undecayed

    def step(
        self, rate: float, gradients: Mapping[str, np.ndarray]
    ) -> dict[str, Taken]:
        """Move the weights by one step and return what every leaf took."""
        taken = {}
        for name, w in self.weights.items():
            at = Setting(
                rate=rate,
                beta=0.0 if name in self.undecayed else self.beta,
                eta=self.eta,
                momentum=self.momentum,
                nesterov=self.nesterov,
                adapted=name not in self.unadapted,
            )
            g = np.asarray(gradients[name], np.float64)
            taken[name] = self.apply(w, self.buffers[name], g, at)
            self.buffers[name] = taken[name].buffer
            self.weights[name] = w - taken[name].moved
        return taken
