"""Tables of the LARS paper's runs and presets."""

from typing import Any

from benchmarks.common.records import mean_sd, read_record
from benchmarks.tables.markdown import lines, origin, table
from experiments.lars.presets import PRESETS


def digits() -> str:
    """Return the table of the digits presets."""
    record = read_record("digits")
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in record["runs"]:
        runs.setdefault(run["preset"], []).append(run)
    rows = []
    for name, own in runs.items():
        mean, sd = mean_sd([run["accuracy"] for run in own])
        seconds, _ = mean_sd([run["wall_seconds"] for run in own])
        config = own[0]["config"]
        rows.append(
            [
                f"`{name}`",
                config["optimizer"]["optimizer"],
                config["global_batch"],
                own[0]["steps"],
                f"{100 * mean:.2f}",
                f"{100 * sd:.2f}",
                len(own),
                f"{seconds:.0f}",
            ]
        )
    head = ["preset", "optimizer", "global batch", "steps"]
    return table([*head, "accuracy %", "sd", "n", "wall s"], rows, record)


def compared() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    record = read_record("compare_digits")
    return record["table"] + "\n" + origin(record)


def presets() -> str:
    """Return the table of all presets."""
    rows = []
    for name, preset in PRESETS.items():
        expected = preset.expected
        if preset.source.startswith("http"):
            expected = f"[{expected}]({preset.source})"
        rows.append(
            [f"`{name}`", preset.reproduces, expected, preset.status, preset.note]
        )
    return lines(["preset", "reproduces", "expected", "status", "note"], rows)
