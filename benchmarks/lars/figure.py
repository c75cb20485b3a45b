"""The figure at the top of the README: how far one step moves each layer.

    TFDS_DATA_DIR=... python -m benchmarks.lars.figure

ResNet-20 learns CIFAR-10 by LARS for an epoch. The norms of weights and gradients of
its last step say how far a step without momentum moves each kernel, relative to its
size: gamma ||g|| / ||w|| by SGD, and lambda times that by LARS.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from benchmarks.common.figures import save_svg
from benchmarks.common.records import read_record, write_record
from benchmarks.lars.presets import run
from lars_jax.report.style import legend_above, light, new_axes
from lars_jax.train.record import read_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESET, STEPS = "cifar10_resnet20_128", 390
COMMAND = "python -m benchmarks.lars.figure"
DESCRIPTION = (
    "One step of SGD moves the layers of ResNet-20 by very different shares of their "
    "size, one of LARS moves all by the same"
)
Layers = Mapping[str, Mapping[str, float]]


def relative_steps(layers: Layers) -> dict[str, list[float]]:
    """Return ||dw|| / ||w|| of one step for each kernel, in the order of the network.

    SGD has the rate at which its median layer moves as far as the median by LARS.

    >>> norms = {"weight_norm": 5.0, "gradient_norm": 1.0, "effective_rate": 0.02}
    >>> relative_steps({"fc/kernel": norms})
    {'SGD': [0.004], 'LARS': [0.004]}
    """
    kernels = [name for name in layers if name.endswith("kernel")]
    # The only layer whose name does not sort where it stands.
    kernels.sort(key=lambda name: (name.startswith("fc"), name))
    own = [layers[name] for name in kernels]
    shares = [norms["gradient_norm"] / norms["weight_norm"] for norms in own]
    lars = [a * norms["effective_rate"] for a, norms in zip(shares, own, strict=True)]
    rate = statistics.median(lars) / statistics.median(shares)
    return {"SGD": [rate * share for share in shares], "LARS": lars}


def step_figure(layers: Layers) -> "Figure":
    """Draw the relative step of every layer by SGD and by LARS.

    >>> norms = {"weight_norm": 5.0, "gradient_norm": 1.0, "effective_rate": 0.02}
    >>> step_figure({"fc/kernel": norms}).axes[0].get_yscale()
    'log'
    """
    figure, axes = new_axes(7.2, 3.0, "How far one step moves each layer")
    steps = relative_steps(layers)
    places = range(1, len(steps["LARS"]) + 1)
    axes.vlines(places, steps["LARS"], steps["SGD"], color=light("rule"), linewidth=1.2)
    for (name, own), colour, marker in zip(
        steps.items(), ("orange", "blue"), ("s", "o"), strict=True
    ):
        apart = float(f"{max(own) / min(own):.3g}")
        axes.plot(
            places,
            own,
            color=light(colour),
            marker=marker,
            markersize=5.0,
            linewidth=1.4,
            label=f"{name}: {apart:,g}x apart",
        )
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.set_xlabel("layer of ResNet-20, from the image to the classes")
    axes.set_ylabel("step over size of the weights")
    legend_above(axes)
    return figure


def main(run_dir: Path = Path("runs/figure")) -> None:
    """Train, and write `records/layer_steps.json` and `records/layer_steps.svg`.

    Args:
        run_dir: where the run is, or will be.
    """
    run(PRESET, 0, run_dir, STEPS)
    last = list(read_lines(run_dir / "layers.jsonl"))[-1]
    content = {"preset": PRESET, "step": last["step"], "layers": last["layers"]}
    print(write_record("layer_steps", COMMAND, **content))
    draw()


def draw() -> Path:
    """Draw the figure anew from its record."""
    figure = step_figure(read_record("layer_steps")["layers"])
    return save_svg(figure, "layer_steps", DESCRIPTION)


if __name__ == "__main__":
    tyro.cli(main)
