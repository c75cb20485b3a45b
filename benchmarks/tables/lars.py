"""Tables of the LARS paper's runs, and of the presets of every experiment."""

from collections.abc import Mapping

from benchmarks.common.records import mean_sd, read_record
from benchmarks.tables.markdown import columns, grouped, origin, plain, table
from lars_jax.runs.presets import Preset


def digits() -> str:
    """Return the table of the digits presets."""
    record = read_record("digits")
    rows = []
    for own in grouped(record["runs"], "preset").values():
        mean, sd = mean_sd([run["accuracy"] for run in own])
        seconds, _ = mean_sd([run["wall_seconds"] for run in own])
        found = {"mean": mean, "sd": sd, "n": len(own), "seconds": seconds}
        rows.append({**own[0], **found})
    cells = {
        "preset": "`{preset}`",
        "optimizer": "{config[optimizer][optimizer]}",
        "global batch": "{config[global_batch]}",
        "steps": "{steps}",
        "accuracy %": "{mean:.2f %}",
        "sd": "{sd:.2f %}",
        "n": "{n}",
        "wall s": "{seconds:.0f}",
    }
    return table(cells, rows, record)


def compared() -> str:
    """Return the table of a comparison of optimizers over batch sizes."""
    record = read_record("compare_digits")
    return record["table"] + "\n" + origin(record)


def presets(every: Mapping[str, Preset], *, linked: bool) -> str:
    """Return the table of all presets of an experiment.

    Args:
        every: its presets.
        linked: whether what is expected leads to where it is published.
    """
    rows = []
    for preset in every.values():
        link = linked and preset.source.startswith("http")
        expected = f"[{preset.expected}]({preset.source})" if link else preset.expected
        rows.append({**vars(preset), "expected": expected})
    fields = plain("reproduces", "expected", "status", "note")
    return columns({"preset": "`{name}`"} | fields, rows)
