"""Several presets, several seeds: the table, the curves and the samples of Figure 2.

Each run has its own directory, `PRESET/SEED`, as `train` writes it; a comparison that
was stopped goes on, and one whose runs are all there only draws them.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.mgan.check import check
from experiments.mgan.config import Config, in_plane
from experiments.mgan.results import panels, real_points, save_picture
from experiments.mgan.snapshots import load_snapshots
from lars_jax.errors import InputError
from lars_jax.report import Series, distance_figure, evolution_figure
from lars_jax.runs import Experiment, can_resume
from lars_jax.runs.train import train
from lars_jax.train.config import replace_fields
from lars_jax.train.record import read_json, read_rows, write_json, write_text

COLUMNS = {
    "modes": "modes",
    "generators": "distinct generators",
    "purity": "purity",
    "precision": "precision",
    "symmetric_kl": "symmetric KL",
    "wasserstein": "Wasserstein",
    "average/wasserstein": "Wasserstein, averaged",
}
"""Measures of the table by their names among metrics, with its headings."""

DISTANCES = {
    "symmetric_kl": ("Symmetric KL divergence", "nats"),
    "wasserstein": ("Wasserstein distance", "units of the data"),
}
"""Measures that are drawn over the steps, with title and unit."""


def compare(
    experiment: Experiment[Config],
    presets: Mapping[str, Config],
    seeds: int,
    directory: Path,
) -> tuple[int, str]:
    """Play every preset with every seed that has not been, and write what they show.

    Args:
        experiment: MGAN's record.
        presets: configurations by name, all on the same data in the plane, at least
            one.
        seeds: runs of each, with seeds 0, 1, 2 ..., at least one.
        directory: where runs are, or will be, and `compare.json`, `table.md`,
            `evolution.svg` and a figure for each distance.

    Returns:
        The exit status, 0 where all runs ended, and the table.

    Raises:
        InputError: presets on different data.
    """
    _check(presets)
    rows = []
    for seed in range(seeds):
        for name, config in presets.items():
            place = directory / name / str(seed)
            status = _play(experiment, replace_fields(config, seed=seed), place, name)
            if status:
                return status, ""
            rows.append(read_result(place, name, seed))
    write_json(directory / "compare.json", {"runs": rows})
    table = make_table(rows)
    write_text(directory / "table.md", table)
    _draw(presets, directory, rows)
    return 0, table


def read_result(place: Path, name: str, seed: int) -> dict[str, Any]:
    """Return how one run ended, and its distances on the way.

    Args:
        place: its directory.
        name: of its preset.
        seed: its own.
    """
    rows = list(read_rows(place / "metrics.jsonl"))
    evaluated = [row for row in rows if "eval/count" in row]
    floors = next((row for row in rows if "floor/wasserstein" in row), {})
    curves = {
        distance: [(row["step"], row[f"eval/{distance}"]) for row in evaluated]
        for distance in (*DISTANCES, "average/wasserstein")
    }
    timed = [row["steps_per_second"] for row in rows if "steps_per_second" in row]
    steps = evaluated[-1]["step"]
    record = read_json(place / "config.json")
    return {
        "preset": name,
        "seed": seed,
        "digest": record["digest"],
        "steps": steps,
        "seconds": steps / statistics.harmonic_mean(timed),
        "environment": record["environment"],
        "final": {key: evaluated[-1][f"eval/{key}"] for key in COLUMNS},
        "floor": {key: floors[f"floor/{key}"] for key in DISTANCES},
        "curves": curves,
    }


def make_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of a comparison, a line for each preset, mean and sd of seeds.

    Args:
        rows: as `read_result` returns them.
    """
    lines = [
        "| preset | n | " + " | ".join(COLUMNS.values()) + " | seconds |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name in dict.fromkeys(row["preset"] for row in rows):
        own = [row for row in rows if row["preset"] == name]
        cells = [_cell([row["final"][key] for row in own]) for key in COLUMNS]
        seconds = statistics.fmean(row["seconds"] for row in own)
        lines.append(
            f"| `{name}` | {len(own)} | " + " | ".join(cells) + f" | {seconds:.0f} |"
        )
    floors = {
        key: statistics.fmean(row["floor"][key] for row in rows) for key in DISTANCES
    }
    cells = [f"{floors[key]:.3f}" if key in floors else "" for key in COLUMNS]
    lines.append("| true samples | | " + " | ".join(cells) + " | |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3f}"
    # One run has no deviation.
    return f"{mean} ± {statistics.stdev(values):.3f}" if values[1:] else mean


def _check(presets: Mapping[str, Config]) -> None:
    configs = [check(config) for config in presets.values()]
    if not in_plane(configs[0]) or any(c.data != configs[0].data for c in configs):
        raise InputError(
            "a comparison is of games on the same data in the plane; got "
            f"{', '.join(presets)}: leave out what differs"
        )


def _play(
    experiment: Experiment[Config], config: Config, place: Path, name: str
) -> int:
    """Train what is not finished yet, and return the exit status."""
    rows = read_rows(place / "metrics.jsonl")
    ended = (place / "report.html").exists() and any(
        row["step"] == config.steps and "eval/count" in row for row in rows
    )
    if ended:
        # What is there is this game, or else it is refused.
        can_resume(config, place, "if_any", placement=experiment.placement)
        return 0
    return train(experiment, config, place, name=name, resume="if_any").status


def _draw(
    presets: Mapping[str, Config], directory: Path, rows: list[dict[str, Any]]
) -> None:
    for distance, (title, unit) in DISTANCES.items():
        curves = {name: [] for name in presets}
        for row in rows:
            steps, values = np.array(row["curves"][distance]).T
            curves[row["preset"]].append(Series(steps.astype(np.int64), values))
        floor = statistics.fmean(row["floor"][distance] for row in rows)
        figure = distance_figure(
            curves, floor, title=title, unit=unit, methods=list(presets)
        )
        save_picture(directory / f"{distance}.svg", figure)
    figure = evolution_figure(
        {name: panels(load_snapshots(directory / name / "0")) for name in presets},
        real_points(next(iter(presets.values())).data),
    )
    save_picture(directory / "evolution.svg", figure)
