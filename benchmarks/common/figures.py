"""Figures beside the records, in the colours of the reader's scheme."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common.records import RECORDS
from lars_jax.report.style import PALETTE, inline_svg
from lars_jax.train.record import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMESPACES = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
)


def save_svg(figure: "Figure", name: str, description: str) -> Path:
    """Write a figure under `records/` that is light or dark as the page around it.

    Args:
        figure: drawn in the light colours of the palette.
        name: of the file, without its ending.
        description: read out where the figure cannot be seen.
    """
    text = inline_svg(figure, name, description)
    style = (
        f"<style>svg{{{_variables('light')}background:var(--paper)}}"
        f"@media(prefers-color-scheme:dark){{svg{{{_variables('dark')}}}}}"
        "text{font-family:system-ui,sans-serif!important}</style>"
    )
    text = text.replace("<svg ", f"<svg {NAMESPACES} ", 1).replace(">", f">{style}", 1)
    path = RECORDS / f"{name}.svg"
    write_text(path, text + "\n")
    return path


def _variables(scheme: str) -> str:
    return "".join(
        f"--{use}:{getattr(colour, scheme)};" for use, colour in PALETTE.items()
    )
