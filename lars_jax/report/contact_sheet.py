"""What the network got wrong: the pictures, what they show, and what it saw instead."""

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.style import (
    ALERT,
    INK,
    TICK_SIZE,
    new_axes,
    new_figure,
    say_empty,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Evaluation examples whose predicted class is not their label.

    Args:
        image: uint8 [M, H, W, C], one channel or three.
        label: int [M], the true class.
        prediction: int [M], the class with the greatest probability.
        confidence: float [M], that probability, in [0, 1].
        index: int [M], place in the evaluation data.
        class_names: a name for each class; a class without one goes by its number.

    Raises:
        InputError: arrays of unequal length, or images that are not uint8 [M, H, W, C].

    >>> import numpy as np
    >>> one = np.array([3])
    >>> wrong = Mistakes(np.zeros((1, 8, 8, 1), np.uint8), one, one + 5, one / 4, one)
    >>> len(wrong)
    1
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...] = ()

    def __post_init__(self):
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 4 or image.shape[-1] not in (1, 3):
            raise InputError(
                "mistakes need images uint8 [M, H, W, 1 or 3]; got "
                f"{image.dtype} {list(image.shape)}: convert them"
            )
        for field in ("label", "prediction", "confidence", "index"):
            shape = getattr(self, field).shape
            if shape != image.shape[:1]:
                raise InputError(
                    f"mistakes need one {field} for each of {len(image)} images; got "
                    f"shape {list(shape)}: give arrays of one length"
                )

    def __len__(self) -> int:
        return len(self.image)

    def class_name(self, number: int) -> str:
        """Return the name of a class, or its number where it has none."""
        named = 0 <= number < len(self.class_names)
        return self.class_names[number] if named else str(number)

    def most_confident_first(self) -> "Mistakes":
        """Return the same mistakes in falling order of confidence.

        >>> import numpy as np
        >>> two = np.array([0, 1])
        >>> image = np.zeros((2, 4, 4, 3), np.uint8)
        >>> wrong = Mistakes(image, two, 1 - two, np.array([0.5, 0.9]), two)
        >>> print(wrong.most_confident_first().index)
        [1 0]
        """
        # NaN sorts last whichever way the rest is sorted.
        order = np.argsort(-self.confidence, kind="stable")
        return Mistakes(
            self.image[order],
            self.label[order],
            self.prediction[order],
            self.confidence[order],
            self.index[order],
            self.class_names,
        )


def contact_sheet(mistakes: Mistakes, columns: int = 8) -> "Figure":
    """Draw all mistakes on one sheet, the most confident first.

    Args:
        mistakes: what to draw, one tile each.
        columns: tiles in a row.

    Returns:
        A figure whose tiles are enlarged without smoothing, so that every pixel which
        the network was given can be seen.

    Raises:
        InputError: fewer than one column.

    >>> import numpy as np
    >>> one = np.array([3])
    >>> wrong = Mistakes(np.zeros((1, 8, 8, 1), np.uint8), one, one + 5, one / 4, one)
    >>> contact_sheet(wrong).axes[0].get_title(loc="left")
    '3'
    """
    if columns < 1:
        raise InputError(f"a contact sheet needs 1 column or more; got {columns}")
    if not len(mistakes):
        figure, axes = new_axes(5.2, 1.6, x_label="", y_label="")
        say_empty(axes, "Nothing was wrong.")
        return figure
    columns = min(columns, len(mistakes))
    rows = math.ceil(len(mistakes) / columns)
    figure = new_figure(1.25 * columns, 1.75 * rows)
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    ordered = mistakes.most_confident_first()
    for place, axes in enumerate(tiles):
        axes.set_axis_off()
        if place < len(ordered):
            _draw_tile(axes, ordered, place)
    return figure


def png(image: np.ndarray) -> bytes:
    """Return a picture as a PNG file, pixel for pixel.

    Args:
        image: uint8 [H, W, C], one channel or three.

    >>> import numpy as np
    >>> png(np.zeros((8, 8, 1), np.uint8))[1:4]
    b'PNG'
    """
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, rgb(image), format="png", metadata={"Software": None})
    return buffer.getvalue()


def rgb(image: np.ndarray) -> np.ndarray:
    """Return a picture uint8 [H, W, 3], grey repeated three times."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _draw_tile(axes: "Axes", mistakes: Mistakes, place: int) -> None:
    axes.imshow(rgb(mistakes.image[place]), interpolation="nearest")
    label = mistakes.class_name(int(mistakes.label[place]))
    prediction = mistakes.class_name(int(mistakes.prediction[place]))
    confidence = 100.0 * float(mistakes.confidence[place])
    axes.set_title(_shorten(label), loc="left", color=INK, fontsize=TICK_SIZE, pad=3)
    axes.text(
        0.0,
        -0.04,
        f"{_shorten(prediction)}\n{confidence:.0f} %",
        transform=axes.transAxes,
        va="top",
        color=ALERT,
        fontsize=TICK_SIZE,
        parse_math=False,
    )


def _shorten(name: str, most: int = 14) -> str:
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
