"""Figures 1 and 2 and Table 5 of the paper, from runs on Fashion-MNIST.

    TFDS_DATA_DIR=... python -m benchmarks.lars.paper_figures

Each is a family of presets, trained as a user would: the gap between training and test
loss at a small and a large batch, local rates of layers at three batches, and the
largest batch for longer. What has ended is not trained again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common.commands import command
from benchmarks.common.figures import save_svg
from benchmarks.common.records import write_record
from benchmarks.lars.presets import run
from experiments.lars.presets import get_preset
from lars_jax.data import KNOWN_SIZES
from lars_jax.report.style import identity, legend_above, log_axis, new_axes
from lars_jax.train.record import read_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMAND = "python -m benchmarks.lars.paper_figures"
NAME = "fashion_mnist_paper"
EXAMPLES = KNOWN_SIZES["fashion_mnist"].train

GAP = ("fashion_mnist_512_sgd", "fashion_mnist_8k_sgd")
"""Figure 1: test loss less training loss."""

LOCAL_RATES = (
    "fashion_mnist_128_lars",
    "fashion_mnist_512_lars",
    "fashion_mnist_8k_lars",
)
"""Figure 2: local rates lambda of layers."""

LONGER = (
    "fashion_mnist_16k_lars",
    "fashion_mnist_16k_lars_34ep",
    "fashion_mnist_16k_lars_41ep",
    "fashion_mnist_16k_lars_48ep",
    "fashion_mnist_16k_lars_55ep",
)
"""Table 5: the length of the accuracy of a smaller batch."""

LAYERS = {"conv1/kernel": "first convolution", "fc/kernel": "classifier"}
"""Kernels whose local rates are drawn; biases have none here."""

Points = list[tuple[float, float]]
Found = dict[str, Any]


def gap(rows: Sequence[Mapping[str, Any]], batch: int) -> Points:
    """Return epoch and test loss less training loss at each evaluation.

    The training loss is the mean of the rows since the evaluation before.

    Args:
        rows: of `metrics.jsonl`.
        batch: examples per step.

    >>> rows = [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": 1.0}]
    >>> gap([*rows, {"step": 2, "eval/loss": 1.75}], 30_000)
    [(1.0, 0.25)]
    """
    points, training = [], []
    for row in rows:
        if "train/loss" in row:
            training.append(row["train/loss"])
        if "eval/loss" in row and training:
            epoch = row["step"] * batch / EXAMPLES
            points.append((epoch, float(row["eval/loss"] - np.mean(training))))
            training = []
    return points


def local_rates(rows: Sequence[Mapping[str, Any]], batch: int) -> dict[str, Points]:
    """Return epoch and trust ratio of each layer that is drawn.

    Args:
        rows: of `layers.jsonl`.
        batch: examples per step.

    >>> layers = {"fc/kernel": {"trust_ratio": 0.5}, "conv1/kernel": {}}
    >>> local_rates([{"step": 2, "layers": layers}], 30_000)["fc/kernel"]
    [(1.0, 0.5)]
    """
    return {
        layer: [
            (row["step"] * batch / EXAMPLES, row["layers"][layer]["trust_ratio"])
            for row in rows
            if "trust_ratio" in row["layers"][layer]
        ]
        for layer in LAYERS
    }


def lines_figure(title: str, lines: Mapping[str, Points], unit: str) -> "Figure":
    """Draw lines over epochs, one for each batch.

    Args:
        title: what it shows.
        lines: points by the name of the line.
        unit: what the y axis counts.

    >>> lines_figure("Gap", {"512": [(0.0, 0.0)]}, "loss").axes[0].get_xlabel()
    'epoch'
    """
    figure, axes = new_axes(4.0, 2.9, title)
    for number, (name, points) in enumerate(lines.items()):
        epoch, value = np.array(points).T
        axes.plot(
            epoch, value, label=name, linewidth=1.6, markersize=3.5, **identity(number)
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    legend_above(axes)
    return figure


def look_at(preset: str, seed: int, directory: Path, data_dir: Path | None) -> Found:
    """Train a preset, if that is not done, and return what is drawn of it."""
    found = run(preset, seed, directory, None, data_dir)
    batch = get_preset(preset).config.global_batch
    metrics = list(read_lines(directory / "metrics.jsonl"))
    layers = list(read_lines(directory / "layers.jsonl"))
    kept = ("preset", "seed", "accuracy", "loss", "steps", "wall_seconds")
    return {name: found[name] for name in kept} | {
        "gap": gap(metrics, batch),
        "local_rates": local_rates(layers, batch),
    }


def main(
    data_dir: Path | None = None,
    run_dir: Path = Path("runs/paper_figures"),
    seeds: int = 3,
) -> None:
    """Train what is missing, write `records/fashion_mnist_paper.json`, and draw.

    Args:
        data_dir: where Fashion-MNIST lies prepared; else $TFDS_DATA_DIR.
        run_dir: where the runs are, or will be.
        seeds: of the runs that are longer; curves are those of seed 0.
    """
    runs = []
    for preset in dict.fromkeys((*GAP, *LOCAL_RATES, *LONGER)):
        for seed in range(seeds if preset in LONGER else 1):
            place = run_dir / f"{preset}-{seed}"
            runs.append(look_at(preset, seed, place, data_dir))
            print(f"{preset} seed {seed}: {100 * runs[-1]['accuracy']:.2f} %")
            write_record(NAME, f"{COMMAND} --seeds {seeds}", runs=runs)
    draw(runs)


def draw(runs: Sequence[Mapping[str, Any]]) -> None:
    """Draw both figures from the rows of the record."""
    first = {run["preset"]: run for run in runs if run["seed"] == 0}

    def named(preset: str) -> str:
        return f"batch {get_preset(preset).config.global_batch:,}"

    lines = {named(preset): first[preset]["gap"] for preset in GAP}
    figure = lines_figure("Test loss less training loss, SGD", lines, "loss")
    save_svg(figure, "fashion_mnist_gap", "The gap between test and training loss")
    for layer, title in LAYERS.items():
        lines = {
            named(preset): first[preset]["local_rates"][layer] for preset in LOCAL_RATES
        }
        figure = lines_figure(f"Local rate of the {title}", lines, "local rate")
        log_axis(figure.axes[0])
        name = f"fashion_mnist_local_rates_{layer.partition('/')[0]}"
        save_svg(figure, name, f"The local rate of the {title} by epoch and batch")


if __name__ == "__main__":
    command(main)
