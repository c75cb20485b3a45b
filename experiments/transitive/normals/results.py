"""What the run of a network of normals shows."""

from pathlib import Path
from typing import Any

from experiments.transitive.task_report import Row, write_task_report
from lars_jax.report import Curve
from lars_jax.runs import read_run

CURVES = (
    Curve(
        "Angle to the truth, degrees",
        {"eval/mean": "mean", "eval/median": "median"},
        reference=("baseline/mean_normal/mean", "mean, of the mean normal"),
    ),
    Curve(
        "Pixels within so many degrees of the truth, percent",
        {
            "eval/below_11.25": "11.25",
            "eval/below_22.5": "22.5",
            "eval/below_30": "30",
        },
    ),
)
"""What evaluations leave, beside the mean normal."""

GUESSES = {"mean_normal": "the mean normal", "commonest": "the commonest codeword"}
"""What is known without a network."""


def write_normals_report(directory: Path) -> Path:
    """Write `report.html` from the files of a run, finished or not.

    Raises:
        InputError: the directory holds no run, or one of its files is broken.
    """
    config: dict[str, Any] = read_run(directory)["config"]
    return write_task_report(
        directory,
        about=f"surface normals of {config['data']['frames']}",
        curves=CURVES,
        tell=_tell,
        picture=(
            "normals.png",
            "Normals",
            "Frames of the evaluation: the photograph, what is there, and what the "
            "network tells. Grey: no depth.",
        ),
    )


def _tell(last: Row, known: Row) -> dict[str, str]:
    found = {}
    if last:
        found["angle to the truth"] = _angles(last, "eval/")
        found["within 11.25, 22.5 and 30 degrees"] = ", ".join(
            f"{last[f'eval/below_{bound}']:.1f} %" for bound in ("11.25", "22.5", "30")
        )
    for name, guess in GUESSES.items():
        if known:
            found[f"angle of {guess}"] = _angles(known, f"baseline/{name}/")
    return found


def _angles(row: Row, prefix: str) -> str:
    mean, median = (row[f"{prefix}{name}"] for name in ("mean", "median"))
    return f"mean {mean:.1f}, median {median:.1f} degrees"
