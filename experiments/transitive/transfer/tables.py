"""Tables 1, 2, 3 and 5 of the paper, its numbers beside those that were found here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from experiments.transitive.transfer.methods import METHODS

Task = Literal["fast", "faster", "normals"]
"""Fast R-CNN, Faster R-CNN, surface normals."""

Cell = tuple[Task, int, str]
"""A task, the blocks of convolutions that are left as they are, and a method."""

AP50, NORMALS = "ap50", ("mean", "median", "below_11.25", "below_22.5", "below_30")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: over it.
        measure: of an evaluation, in percent or degrees.
        frozen: blocks of convolutions that are not trained.
        factor: from what is measured to what the table has.
    """

    title: str
    measure: str
    frozen: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: what it shows.
        task: that features are carried to.
        columns: of numbers.
        published: the paper's numbers by method; rows that are none of `METHODS` need
            networks or data that are not here.
    """

    title: str
    task: Task
    columns: tuple[Column, ...]
    published: Mapping[str, tuple[float | None, ...]]

    def cells(self, frozen: Iterable[int]) -> list[Cell]:
        """Return what is to be run for it, row after row.

        >>> TABLES[3].cells([0, 5])[:3]
        [('faster', 0, 'Scratch'), ('faster', 5, 'Scratch'), ('faster', 0, 'Context')]
        """
        blocks = dict.fromkeys(one.frozen for one in self.columns)
        wanted = [block for block in blocks if block == 0 or block in set(frozen)]
        return [
            (self.task, block, method)
            for method in self.published
            if method in METHODS
            for block in wanted
        ]


BLOCKS = range(6)

TABLES: Mapping[int, Table] = MappingProxyType(
    {
        1: Table(
            "Table 1: Fast R-CNN, mAP (%)",
            "fast",
            (Column("mAP", AP50, factor=100.0),),
            {
                "Scratch": (39.7,),
                "Vid-Edge": (44.2,),
                "Context": (61.5,),
                "Tracking": (60.2,),
                "Ours": (63.2,),
                "ImageNet": (67.3,),
            },
        ),
        2: Table(
            "Table 2: Fast R-CNN, mAP (%), other ways to learn",
            "fast",
            (Column("mAP", AP50, factor=100.0),),
            {
                "Ours": (63.2,),
                "Multi-task": (62.1,),
                "15-frame": (61.5,),
                "HOG": (60.4,),
            },
        ),
        3: Table(
            "Table 3: Faster R-CNN, mAP (%), convolutions frozen up to a block",
            "faster",
            tuple(
                Column(f">c{block}" if block else "all", AP50, block, 100.0)
                for block in BLOCKS
            ),
            {
                "Scratch": (None,) * 6,
                "Context": (62.6, 61.1, 60.9, 57.0, 49.7, 38.1),
                "Tracking": (62.2, 61.5, 62.2, 61.4, 58.9, 39.5),
                "Multi-task": (62.4, 63.2, 63.5, 62.9, 58.7, 27.6),
                "Ours": (65.0, 64.5, 63.6, 60.4, 55.7, 43.1),
                "ImageNet": (70.9, 71.1, 71.1, 70.2, 70.3, 64.3),
            },
        ),
        5: Table(
            "Table 5: surface normals, degrees and % of pixels",
            "normals",
            tuple(
                Column(title, measure)
                for title, measure in zip(
                    ("mean", "median", "< 11.25", "< 22.5", "< 30"),
                    NORMALS,
                    strict=True,
                )
            ),
            {
                "Scratch": (31.3, 25.3, 24.2, 45.6, 56.8),
                "Context": (29.0, 21.6, 28.8, 51.5, 61.9),
                "Tracking": (27.8, 21.8, 27.4, 51.1, 62.5),
                "Ours": (26.0, 18.0, 33.9, 57.6, 67.5),
                "ImageNet": (27.8, 21.2, 29.0, 52.3, 63.4),
            },
        ),
    }
)
"""By their numbers; Table 4 needs COCO. The paper's networks are VGG16 at full width,
on VOC 2007 and NYUv2. The row from scratch of Table 3 is ours: it tells what features
that nothing has learned are good for."""


def markdown(number: int, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the paper with what was found here beside its numbers.

    Args:
        number: of the table.
        rows: what was run; each has `task`, `frozen`, `method`, `seed`, `evaluation`.

    >>> cell = {"task": "fast", "frozen": 0, "method": "Ours"}
    >>> found = [{**cell, "seed": s, "evaluation": {"ap50": 0.7 + s}} for s in (0, 0.1)]
    >>> print(markdown(2, found).splitlines()[4])
    | Ours | 63.2 | 75.0 (7.1, n 2) |
    """
    table = TABLES[number]
    titles = [one.title for one in table.columns]
    heads = [f"paper {title}" for title in titles] + [
        f"here {title}" for title in titles
    ]
    lines = [
        table.title,
        "",
        f"| | {' | '.join(heads)} |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for method, numbers in table.published.items():
        theirs = ["" if value is None else f"{value}" for value in numbers]
        ours = [_found(table.task, one, method, rows) for one in table.columns]
        lines.append(f"| {' | '.join([method, *theirs, *ours])} |")
    return "\n".join(lines) + "\n"


def values(
    task: Task, column: Column, method: str, rows: Iterable[Mapping[str, Any]]
) -> dict[int, float]:
    """Return what was measured of a method, by seed."""
    cell = {"task": task, "frozen": column.frozen, "method": method}
    return {
        row["seed"]: column.factor * row["evaluation"][column.measure]
        for row in rows
        if cell.items() <= row.items()
    }


def _found(
    task: Task, column: Column, method: str, rows: Sequence[Mapping[str, Any]]
) -> str:
    found = list(values(task, column, method, rows).values())
    if not found:
        return "not run"
    spread = f"{np.std(found, ddof=1):.1f}, " if len(found) > 1 else ""
    return f"{np.mean(found):.1f} ({spread}n {len(found)})"
