"""The tables of docs/transfer.md."""

from benchmarks.common.markdown import origin
from benchmarks.common.records import read_record
from experiments.transitive.transfer.tables import TABLES, markdown


def transfer_tables() -> str:
    """Return the paper's tables with what was found here beside its numbers."""
    record = read_record("transitive_transfer")
    note = "Mean, deviation and number of seeds. "
    tables = "\n".join(markdown(number, record["runs"]) for number in TABLES)
    return f"{tables}\n{origin(record, note)}"


def transfer_baselines() -> str:
    """Return what a guess that looks at no picture scores on the same sets."""
    runs = read_record("transitive_transfer")["runs"]
    found = {k: v for run in runs for k, v in run["baseline"].items()}
    lines = ["| guess | score |", "|---|---|"]
    for name, title, factor in (
        ("same_box/ap50", "the mean box of training, on every picture: AP50 (%)", 100),
        ("mean_normal/mean", "the mean normal: mean error (degrees)", 1),
        ("commonest/mean", "the commonest codeword: mean error (degrees)", 1),
    ):
        value = found.get(f"baseline/{name}")
        lines.append(
            f"| {title} | {'' if value is None else f'{factor * value:.1f}'} |"
        )
    return "\n".join(lines)
