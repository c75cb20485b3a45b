"""What a detector's run shows."""

from pathlib import Path
from typing import Any

from experiments.transitive.task_report import Row, write_task_report
from lars_jax.report import Curve
from lars_jax.runs import read_run

CURVES = (
    Curve(
        "Average precision at an overlap of one half",
        {"eval/ap50": ""},
        "share",
        reference=("baseline/same_box/ap50", "the mean box"),
    ),
)
"""What evaluations leave, beside one box, the same part of every picture."""


def write_detection_report(directory: Path) -> Path:
    """Write `report.html` from the files of a run, finished or not.

    Raises:
        InputError: the directory holds no run, or one of its files is broken.
    """
    config: dict[str, Any] = read_run(directory)["config"]
    return write_task_report(
        directory,
        about=f"{config['model']['detector'].capitalize()} R-CNN on "
        f"{config['data']['dataset']}",
        curves=CURVES,
        tell=_tell,
        picture=(
            "detections.png",
            "Detections",
            "Pictures of the evaluation: what was found, with its score, and what is "
            "there.",
        ),
    )


def _tell(last: Row, known: Row) -> dict[str, str]:
    found = {}
    if last:
        count = f"of {last['eval/count']:.0f} pictures"
        found["AP50"] = f"{_percent(last['eval/ap50'])} {count}"
        if "eval/ap" in last:
            found["AP"] = _percent(last["eval/ap"])
    for name, value in last.items():
        if name.startswith("eval/ap50/"):
            found[f"AP50 of {name.removeprefix('eval/ap50/')}"] = _percent(value)
    if known:
        same_box = known["baseline/same_box/ap50"]
        found["AP50 of the mean box on every picture"] = _percent(same_box)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
