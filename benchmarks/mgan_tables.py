"""The tables of docs/mgan.md, made from records and presets."""

import statistics
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.mgan_batch import REFERENCE
from benchmarks.records import mean_sd, read_record
from experiments.mgan.presets import PRESETS

MEASURES = {
    "modes": ("modes", 1),
    "generators": ("distinct generators", 1),
    "purity": ("purity", 3),
    "symmetric_kl": ("symmetric KL", 2),
    "wasserstein": ("Wasserstein", 3),
    "average/wasserstein": ("Wasserstein, averaged", 3),
}
"""Columns of the tables of games: name among measures, heading, digits."""


def ring() -> str:
    """Return the table of Section 5.1's ring."""
    return _games("mgan_ring", with_data=False)


def harder() -> str:
    """Return the table of rings and grids with other numbers."""
    return _games("mgan_harder", with_data=True)


def step() -> str:
    """Return the table of what a step costs."""
    record = read_record("mgan_step")
    rows = [
        [
            row["what"],
            f"{row['ratio']['median']:.2f}",
            f"{row['ratio']['lowest']:.2f} to {row['ratio']['highest']:.2f}",
            f"{1000 * row['over_seconds']['median']:.1f}",
            f"{1000 * row['under_seconds']['median']:.1f}",
        ]
        for row in record["rows"]
    ]
    head = ["what", "ratio", "lowest to highest", "ms", "over ms"]
    note = f"Medians of n = {record['rounds']} alternating rounds. "
    return _table(head, rows, record, note)


def batch() -> str:
    """Return the table of Adam and LARS over batch sizes."""
    record = read_record("mgan_batch")
    groups: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for run in record["runs"]:
        key = run["optimizer"], run["rates"], run["batch"], run["rule"]
        groups.setdefault(key, []).append(run["final"])
    rows = [
        [
            optimizer,
            rates,
            str(size),
            "chosen here" if size == REFERENCE else rule,
            str(len(finals)),
            _mean([final["modes"] for final in finals], 1),
            _mean([final["wasserstein"] for final in finals], 3),
        ]
        for (optimizer, rates, size, rule), finals in groups.items()
    ]
    head = ["optimizer", "at 512", "batch", "rates scale", "n", "modes", "Wasserstein"]
    note = f"{record['seen']:,} real samples in every run. "
    return _table(head, rows, record, note)


def images() -> str:
    """Return the table of CIFAR-10 in features of a classifier of our own."""
    record = read_record("mgan_cifar10")
    rows = []
    for game in record["games"]:
        last = game["final"]
        rows.append(
            [
                f"`{game['preset']}`",
                f"{game['steps']:,}",
                f"{last['eval/distance']:.1f}",
                f"{last['eval/average/distance']:.1f}",
                f"{last['eval/average/score']:.2f} ± "
                f"{last['eval/average/score_sd']:.2f}",
                f"{game['sample_distance']:.1f} ({game['real_distance']:.1f})",
                f"{game['steps_per_second']:.1f}",
            ]
        )
    test = record["test_images"]
    score = f"{test['score_mean']:.2f} ± {test['score_sd']:.2f}"
    rows.append(
        ["10,000 test images", "", f"{test['frechet_distance']:.1f}", "", score, "", ""]
    )
    head = [
        "game",
        "steps",
        "distance",
        "distance, averaged",
        "score, averaged",
        "to nearest training image (of real ones)",
        "steps/s",
    ]
    count = record["games"][0]["final"]["eval/count"]
    found = record["classifier"]
    note = (
        f"Distance and score in features of a {found['network']} of our own "
        f"({100 * found['accuracy']:.1f} % of the test images right), not an FID and "
        f"not an Inception score; {count:,.0f} samples, 10 splits, no resizing. "
    )
    return _table(head, rows, record, note)


def presets() -> str:
    """Return the table of all presets."""
    rows = [
        [
            f"`{name}`",
            preset.reproduces,
            preset.expected,
            preset.status,
            preset.note,
        ]
        for name, preset in PRESETS.items()
    ]
    return _rows(["preset", "reproduces", "expected", "status", "note"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "mgan_ring": ring,
    "mgan_harder": harder,
    "mgan_images": images,
    "mgan_batch": batch,
    "mgan_step": step,
}


def _games(name: str, *, with_data: bool) -> str:
    record = read_record(name)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in record["runs"]:
        groups.setdefault((run["data"], run["preset"]), []).append(run)
    rows = []
    for (data, preset), runs in groups.items():
        cells = [
            _mean([run["final"][key] for run in runs], digits)
            for key, (_, digits) in MEASURES.items()
        ]
        seconds = statistics.fmean(run["seconds"] for run in runs)
        place = [data] if with_data else []
        rows.append([*place, f"`{preset}`", str(len(runs)), *cells, f"{seconds:.0f}"])
    if not with_data:
        floor = record["runs"][0]["floor"]
        cells = [f"{floor[key]:.3f}" if key in floor else "" for key in MEASURES]
        rows.append(["true samples", "", *cells, ""])
    headings = [heading for heading, _ in MEASURES.values()]
    head = [*(["data"] if with_data else []), "preset", "n", *headings, "seconds"]
    return _table(head, rows, record, "Mean ± sd of n seeds. ")


def _mean(values: Sequence[float], digits: int) -> str:
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f} ± {sd:.{digits}f}" if len(values) > 1 else f"{mean:.3f}"


def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _table(
    head: list[str], rows: list[list[str]], record: dict[str, Any], note: str
) -> str:
    found = record["environment"]
    origin = (
        f"`{record['command']}` on {record['machine']}; Python {found['python']}, "
        f"jax {found['jax']}, optax {found['optax']}, flax {found['flax']}."
    )
    return "\n".join([_rows(head, rows), "", textwrap.fill(note + origin, 88)])
