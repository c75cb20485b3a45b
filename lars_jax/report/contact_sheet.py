"""What the network got wrong, to look at."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.errors import InputError
from lars_jax.report.style import TEXT_SIZE, light

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CRISP_UNTIL = 96
"""Image width in pixels up to which enlarging shows the pixels themselves."""


@dataclass(frozen=True)
class Mistakes:
    """M examples whose prediction is not their label.

    Attributes:
        image: uint8 [M, H, W, C], C is 1 or 3; as the evaluation saw it, 0 to 255.
        label: int32 [M].
        prediction: int32 [M].
        confidence: float32 [M], probability that the network gave its prediction.
        index: int32 [M], number of the example in its split.
        class_names: name of each class; a class without one goes by its number.

    Raises:
        InputError: arrays that do not belong together.

    >>> empty = np.zeros(0, np.int32)
    >>> len(Mistakes(np.zeros((0, 8, 8, 1), np.uint8), empty, empty, empty, empty))
    0
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    index: np.ndarray
    class_names: tuple[str, ...] = ()

    def __post_init__(self):
        if self.image.ndim != 4 or self.image.shape[-1] not in (1, 3):
            raise InputError(
                "images of mistakes must be [M, H, W, 1 or 3]; got shape "
                f"{self.image.shape}: stack them so"
            )
        if self.image.dtype != np.uint8:
            raise InputError(
                f"images of mistakes must be uint8; got {self.image.dtype}: pass the "
                "pixels before they are normalised"
            )
        shape = (len(self.image),)
        for name in ("label", "prediction", "confidence", "index"):
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"{name} of mistakes must have one entry an image, shape {shape}; "
                    f"got {getattr(self, name).shape}: select both alike"
                )

    def __len__(self) -> int:
        return len(self.image)

    def name(self, label: int) -> str:
        """Return what a class is called.

        >>> empty = np.zeros(0, np.int32)
        >>> image = np.zeros((0, 8, 8, 1), np.uint8)
        >>> Mistakes(image, empty, empty, empty, empty, ("cat",)).name(0)
        'cat'
        """
        known = 0 <= label < len(self.class_names)
        return self.class_names[label] if known else str(label)


def contact_sheet(mistakes: Mistakes, columns: int = 8) -> "Figure":
    """Draw mistakes in a grid, each with its label, the prediction and its confidence.

    Args:
        mistakes: M of them, drawn in their order.
        columns: images in a line.

    Raises:
        InputError: no mistakes, or no columns.

    >>> one = np.array([3])
    >>> image = np.zeros((1, 8, 8, 1), np.uint8)
    >>> sheet = contact_sheet(Mistakes(image, one, one + 2, one / 4, one))
    >>> sheet.axes[0].get_title(loc="left")
    '5  75 %'
    """
    from matplotlib.figure import Figure

    if columns < 1:
        raise InputError(f"columns must be 1 or more; got {columns}: ask for more")
    if not len(mistakes):
        raise InputError("a contact sheet needs mistakes; got none: nothing is wrong")
    columns = min(columns, len(mistakes))
    lines = -(-len(mistakes) // columns)
    figure = Figure(figsize=(1.25 * columns, 1.65 * lines), layout="constrained")
    figure.set_facecolor(light("paper"))
    for number in range(len(mistakes)):
        axes = figure.add_subplot(lines, columns, number + 1)
        _draw_mistake(axes, mistakes, number)
    return figure


def _draw_mistake(axes: "Axes", mistakes: Mistakes, number: int) -> None:
    image = mistakes.image[number]
    crisp = image.shape[1] <= CRISP_UNTIL
    axes.imshow(
        np.broadcast_to(image, (*image.shape[:2], 3)),
        interpolation="nearest" if crisp else "antialiased",
    )
    axes.set_axis_off()
    predicted = mistakes.name(int(mistakes.prediction[number]))
    confidence = f"{100 * float(mistakes.confidence[number]):.0f} %"
    axes.set_title(
        f"{_shortened(predicted)}  {confidence}",
        loc="left",
        fontsize=TEXT_SIZE - 1,
        fontweight="bold",
        color=light("orange"),
        pad=3,
    )
    axes.text(
        0.0,
        -0.04,
        f"is {_shortened(mistakes.name(int(mistakes.label[number])))}",
        transform=axes.transAxes,
        verticalalignment="top",
        fontsize=TEXT_SIZE - 1,
        color=light("muted"),
    )


def _shortened(name: str, letters: int = 12) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"
