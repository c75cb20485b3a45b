"""Figures and images as part of the HTML file itself."""

import base64
import html
import io
import re
from typing import TYPE_CHECKING

import numpy as np

from lars_jax.report.style import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: "Figure", name: str, description: str) -> str:
    """Return a figure as an `<svg>` element that may stand in an HTML body.

    Text stays text, in the font of the page. Colours of the palette become variables
    of its style sheet. What only a file needs goes: prologue, metadata, namespaces.
    The same figure always gives the same element.

    Args:
        figure: drawn in the light colours of the palette.
        name: unique in the page; it keeps the identifiers of figures apart.
        description: read out where the figure cannot be seen.

    >>> from lars_jax.report.style import new_axes
    >>> inline_svg(new_axes(2.0, 1.0, "Loss")[0], "loss", "The loss")[:39]
    '<svg role="img" aria-label="The loss" w'
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", text)
    for use, colour in PALETTE.items():
        text = text.replace(colour.light, f"var(--{use})")
    label = html.escape(description)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file; the same pixels give the same bytes.

    Args:
        image: uint8 [H, W, C], C is 1 or 3.

    >>> png(np.zeros((2, 2, 1), np.uint8))[1:4]
    b'PNG'
    """
    from matplotlib.image import imsave

    file = io.BytesIO()
    colours = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
    imsave(file, colours, format="png", metadata={"Software": ""})
    return file.getvalue()


def image_uri(image: np.ndarray) -> str:
    """Return an image as a `data:` address that holds it as PNG.

    Args:
        image: uint8 [H, W, C], C is 1 or 3.

    >>> image_uri(np.zeros((2, 2, 1), np.uint8))[:22]
    'data:image/png;base64,'
    """
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
