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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from benchmarks.common.rounds import Run

Tensors = list[Any]

foreach: Any = torch
"""PyTorch has no public names for its operations on lists of tensors."""


@dataclass(frozen=True)
class Settings:
    """Numbers of a step; not every optimizer reads all of them."""

    learning_rate: float
    weight_decay: float
    momentum: float = 0.9
    trust_coefficient: float = 1e-3
    eps: float = 1e-8


class Lars:
    """What both forms of LARS hold."""

    def __init__(self, params: Tensors, settings: Settings):
        self.params, self.settings = params, settings
        self.buffers = [torch.zeros_like(param) for param in params]


class LarsByTensor(Lars):
    """LARS as a loop over the tensors."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its `grad`."""
        numbers = self.settings
        for param, buffer in zip(self.params, self.buffers, strict=True):
            gradient = param.grad
            weight_norm, gradient_norm = param.norm(2.0), gradient.norm(2.0)
            ratio = _trust_ratio(weight_norm, gradient_norm, numbers)
            gradient.add_(param, alpha=numbers.weight_decay).mul_(ratio)
            buffer.mul_(numbers.momentum).add_(gradient)
            param.add_(buffer, alpha=-numbers.learning_rate)


class LarsByList(Lars):
    """The same in operations on whole lists of tensors, few kernels on a GPU."""

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter by its `grad`."""
        numbers = self.settings
        gradients = [param.grad for param in self.params]
        weight_norms = torch.stack(foreach._foreach_norm(self.params))
        gradient_norms = torch.stack(foreach._foreach_norm(gradients))
        ratios = _trust_ratio(weight_norms, gradient_norms, numbers)
        foreach._foreach_add_(gradients, self.params, alpha=numbers.weight_decay)
        foreach._foreach_mul_(gradients, list(ratios.unbind()))
        foreach._foreach_mul_(self.buffers, numbers.momentum)
        foreach._foreach_add_(self.buffers, gradients)
        foreach._foreach_add_(self.params, self.buffers, alpha=-numbers.learning_rate)


@dataclass(frozen=True)
class Program:
    """An optimizer that can be started anew on a fresh copy of the parameters."""

    optimizer: Callable[[Tensors], Any]

    def start(self, params: Sequence[np.ndarray], gradients: Any) -> Run:
        """Return a function that does some steps and waits for the last."""
        place = device()
        # A copy, because what JAX hands out as NumPy is its own memory.
        tensors = [torch.tensor(param, device=place) for param in params]
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient, device=place)
        optimizer = self.optimizer(tensors)

        def run(steps: int) -> None:
            for _ in range(steps):
                optimizer.step()
            if place == "cuda":
                torch.cuda.synchronize()

        return run


def programs(settings: Settings) -> dict[str, Program]:
    """Return what there is in PyTorch to be timed, by name, SGD first."""
    torch.set_num_threads(_cores())
    found: dict[str, Callable[[Tensors], Any]] = {
        "torch SGD": partial(
            torch.optim.SGD,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            foreach=True,
        ),
        "torch LARS, tensor by tensor": partial(LarsByTensor, settings=settings),
        "torch LARS, lists of tensors": partial(LarsByList, settings=settings),
    }
    if importlib.util.find_spec("timm") is not None:
        from timm import optim  # pyright: ignore[reportMissingImports]

        found["timm Lars"] = partial(
            optim.Lars,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            trust_coeff=settings.trust_coefficient,
            eps=settings.eps,
        )
    return {name: Program(optimizer) for name, optimizer in found.items()}


def device() -> str:
    """Return the device that the steps run on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def version() -> str:
    """Return torch's version."""
    return torch.__version__


def _trust_ratio(weight_norm: Any, gradient_norm: Any, numbers: Settings) -> Any:
    denominator = gradient_norm + numbers.weight_decay * weight_norm + numbers.eps
    quotient = numbers.trust_coefficient * weight_norm / denominator
    measurable = (weight_norm > 0) & (gradient_norm > 0)
    return torch.where(measurable, quotient, torch.ones_like(quotient))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
