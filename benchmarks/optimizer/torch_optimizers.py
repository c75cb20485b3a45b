"""Steps of PyTorch's optimizers on given parameters, to be timed beside ours.

Import this module only where torch can be imported. PyTorch has no LARS of its own; the
two here do the arithmetic of timm's, with the local rate inside the momentum and the
global rate outside of it:

    lambda = eta ||w|| / (||g|| + beta ||w|| + eps), or 1 where a norm is zero
    g <- lambda (g + beta w);  v <- m v + g;  w <- w - gamma v

As in timm the gradient is overwritten. It may be the next step's gradient without being
set anew, for whatever its size LARS gives it the norm eta ||w||.
"""

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks.common.rounds import Run
from benchmarks.optimizer.programs import Program

Tensors = list[Any]

MOMENTUM, TRUST, EPS = 0.9, 1e-3, 1e-8

foreach: Any = torch
"""PyTorch has no public names for its operations on lists of tensors."""


class LarsByTensor:
    """LARS as a loop over the tensors."""

    def __init__(self, params: Tensors, rate: float, decay: float):
        self.params, self.rate, self.decay = params, rate, decay
        self.buffers = [torch.zeros_like(param) for param in params]

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its `grad`."""
        for param, buffer in zip(self.params, self.buffers, strict=True):
            gradient = param.grad
            ratio = self.trust_ratio(param.norm(2.0), gradient.norm(2.0))
            gradient.add_(param, alpha=self.decay).mul_(ratio)
            buffer.mul_(MOMENTUM).add_(gradient)
            param.add_(buffer, alpha=-self.rate)

    def trust_ratio(self, weight_norm: Any, gradient_norm: Any) -> Any:
        """Return lambda for norms of any shape."""
        denominator = gradient_norm + self.decay * weight_norm + EPS
        quotient = TRUST * weight_norm / denominator
        measurable = (weight_norm > 0) & (gradient_norm > 0)
        return torch.where(measurable, quotient, torch.ones_like(quotient))


class LarsByList(LarsByTensor):
    """The same in operations on whole lists of tensors, few kernels on a GPU."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its `grad`."""
        gradients = [param.grad for param in self.params]
        weight_norms = torch.stack(foreach._foreach_norm(self.params))
        gradient_norms = torch.stack(foreach._foreach_norm(gradients))
        ratios = self.trust_ratio(weight_norms, gradient_norms)
        foreach._foreach_add_(gradients, self.params, alpha=self.decay)
        foreach._foreach_mul_(gradients, list(ratios.unbind()))
        foreach._foreach_mul_(self.buffers, MOMENTUM)
        foreach._foreach_add_(self.buffers, gradients)
        foreach._foreach_add_(self.params, self.buffers, alpha=-self.rate)


def programs(rate: float, decay: float) -> dict[str, Program]:
    """Return what there is in PyTorch to be timed, by name, SGD first."""
    affinity = getattr(os, "sched_getaffinity", None)
    torch.set_num_threads(len(affinity(0)) if affinity else os.cpu_count() or 1)
    sgd = partial(torch.optim.SGD, lr=rate, momentum=MOMENTUM, foreach=True)
    found: dict[str, Callable[[Tensors], Any]] = {
        "torch SGD": sgd,
        "torch LARS, tensor by tensor": partial(LarsByTensor, rate=rate, decay=decay),
        "torch LARS, lists of tensors": partial(LarsByList, rate=rate, decay=decay),
    }
    if importlib.util.find_spec("timm") is not None:
        from timm import optim  # pyright: ignore[reportMissingImports]

        found["timm Lars"] = partial(
            optim.Lars,
            lr=rate,
            momentum=MOMENTUM,
            weight_decay=decay,
            trust_coeff=TRUST,
            eps=EPS,
        )
    started: dict[str, Program] = {
        name: partial(_start, optimizer) for name, optimizer in found.items()
    }
    if torch.cuda.is_available():
        for name in ("torch SGD", "torch LARS, lists of tensors"):
            started[f"{name}, CUDA graph"] = partial(_start, found[name], graph=True)
    return started


def _start(
    make: Callable[[Tensors], Any], params: Any, gradients: Any, *, graph: bool = False
) -> Run:
    """Return a function that takes steps on copies and waits for the last."""
    place = "cuda" if torch.cuda.is_available() else "cpu"

    def copied(tree: Any) -> Tensors:
        # What JAX hands out as NumPy is its own memory.
        leaves = map(np.asarray, jax.tree.leaves(tree))
        return [torch.tensor(leaf, device=place) for leaf in leaves]

    tensors = copied(params)
    for tensor, gradient in zip(tensors, copied(gradients), strict=True):
        tensor.grad = gradient
    optimizer = make(tensors)
    step = optimizer.step
    if graph and place == "cuda":
        step = _graph(step)

    def run(steps: int) -> None:
        for _ in range(steps):
            step()
        if place == "cuda":
            torch.cuda.synchronize()

    return run


def _graph(step: Callable[[], Any]) -> Callable[[], Any]:
    """Return what replays a step without the host."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        # The first step makes buffers, which a graph may not.
        step()
    torch.cuda.current_stream().wait_stream(aside)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay


def version() -> str:
    """Return torch's version."""
    return torch.__version__
