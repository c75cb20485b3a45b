"""Pictures with the boxes of what was found in them."""

from collections.abc import Sequence

import numpy as np

from experiments.transitive.detection.annotated import Detections, Objects

COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 110, 220),
    (245, 130, 48),
    (145, 30, 180),
    (0, 160, 160),
    (240, 50, 230),
    (150, 110, 40),
)
"""Of classes, in turn."""

TRUTH = (255, 255, 255)
"""Of the boxes that are in the annotations."""


def draw_detections(
    pixels: np.ndarray,
    found: Detections,
    classes: Sequence[str],
    truth: Objects | None = None,
    *,
    least: float = 0.5,
) -> np.ndarray:
    """Return a picture with a box, a name and a probability for each detection.

    Args:
        pixels: uint8 [H, W, 3].
        found: boxes in pixels of the picture.
        classes: their names.
        truth: what is there, drawn in white; None: nothing is known.
        least: probability from which on a detection is drawn.

    Returns:
        uint8 [H, W, 3].

    >>> found = Detections(boxes=np.array([[2.0, 12, 30, 30]]), scores=np.array([0.9]),
    ...     classes=np.array([0]))
    >>> drawn = draw_detections(np.zeros((40, 40, 3), np.uint8), found, ["cat"])
    >>> drawn[20, 2].tolist(), drawn[20, 15].tolist()
    ([230, 25, 75], [0, 0, 0])
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    thick = max(1, round(min(pixels.shape[:2]) / 150))
    for box in () if truth is None else truth.boxes:
        draw.rectangle(_corners(box), outline=TRUTH, width=thick)
    # The most certain on top.
    for place in np.argsort(found.scores):
        if found.scores[place] < least:
            continue
        kind = int(found.classes[place])
        colour = COLOURS[kind % len(COLOURS)]
        corners = _corners(found.boxes[place])
        draw.rectangle(corners, outline=colour, width=thick)
        text = f"{classes[kind]} {found.scores[place]:.2f}"
        at = (corners[0] + thick, max(0, corners[1] - 12))
        draw.rectangle(draw.textbbox(at, text), fill=colour)
        draw.text(at, text, fill=TRUTH)
    return np.asarray(image)


def detection_sheet(
    pictures: Sequence[np.ndarray], *, columns: int = 4, side: int = 240
) -> np.ndarray:
    """Return pictures side by side, each row as high as its highest.

    Args:
        pictures: uint8 [H, W, 3] each.
        columns: pictures in a row.
        side: that each is fitted into, pixels.

    Returns:
        uint8 [at most rows * side, columns * side, 3], white where there is none.

    >>> detection_sheet([np.zeros((4, 8, 3), np.uint8)] * 3, columns=2, side=8).shape
    (8, 16, 3)
    """
    from PIL import Image

    images = [Image.fromarray(pixels) for pixels in pictures]
    for image in images:
        image.thumbnail((side, side))
    rows = [images[at : at + columns] for at in range(0, len(images), columns)]
    heights = [max(image.height for image in row) for row in rows]
    sheet = Image.new("RGB", (columns * side, sum(heights)), (255, 255, 255))
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, image in enumerate(row):
            sheet.paste(image, (place * side, top))
        top += height
    return np.asarray(sheet)


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    # The last pixel of a box is the one before its right edge.
    x1, y1, x2, y2 = np.round(box).tolist()
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)
