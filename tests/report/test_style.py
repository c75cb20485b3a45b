import itertools
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lars_jax.report import CURVES, confusion_figure, curve_figure
from lars_jax.report.style import (
    PALETTE,
    POINTS,
    SERIES,
    gradation,
    inline_svg,
    legend_above,
    log_axis,
    new_axes,
    point_colour,
)
from tests.report.support import Page, evaluation, training

# Of constants: a change of colours asks for them, nothing else does.
colours = pytest.mark.slow

GROUNDS = ("paper", "panel")

# What an eye blind to red, or to green, makes of linear RGB: Machado, Oliveira and
# Fernandes, 2009, at full severity.
SIGHTS = {
    "all colours": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def oklab(colour: str, sight: np.ndarray) -> np.ndarray:
    """Return #rrggbb as an eye sees it, in Ottosson's Oklab."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    opponents = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return opponents @ np.cbrt(cones @ np.clip(sight @ linear, 0, 1))


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb as WCAG 2.1 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@colours
def test_colours_are_readable_on_their_ground():
    for scheme in ("light", "dark"):
        colour = {name: getattr(pair, scheme) for name, pair in PALETTE.items()}
        for use, ground in itertools.product(("ink", "muted", *SERIES), GROUNDS):
            assert contrast(colour[use], colour[ground]) >= 4.5, (use, ground, scheme)


@colours
def test_lines_and_points_stand_out_in_both_schemes():
    paper = PALETTE["paper"]
    for colour in gradation(50):
        # WCAG 2.1 asks 3 of graphics.
        assert min(contrast(colour, paper.light), contrast(colour, paper.dark)) >= 3.5
    for colour in POINTS:
        assert contrast(colour, paper.light) >= 3
        assert contrast(colour, paper.dark) >= 2.4


@colours
def test_numbers_stand_out_from_their_cell():
    share = np.linspace(0, 1, 24).reshape(2, 12)
    for part in share:
        matrix = np.stack([part, 1 - part], axis=1)
        figure = confusion_figure(matrix, title="", row_label="", column_label="")
        axes: Any = figure.axes[0]
        image = axes.images[0]
        for text, own in zip(axes.texts, matrix.ravel(), strict=True):
            cell = to_hex(image.cmap(image.norm(own)))
            assert contrast(to_hex(text.get_color()), cell) >= 4, own


@colours
@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("count", "least"), [(8, 0.08), (10, 0.075), (50, 0.025)])
def test_colours_of_points_differ_to_every_eye(count, least, sight):
    seen = [oklab(point_colour(number), SIGHTS[sight]) for number in range(count)]
    pairs = itertools.combinations(seen, 2)
    # Black and white are one apart.
    assert min(float(np.linalg.norm(a - b)) for a, b in pairs) >= least


def test_only_colours_of_the_palette_become_variables_each_its_own():
    variables = {colour.light for colour in PALETTE.values()}
    assert len(variables) == len(PALETTE)
    assert len(set(POINTS)) == 50
    assert not variables & {*POINTS, *gradation(256)}


@pytest.mark.parametrize("names", [["a", "b", "c", "d"], ["method number 9"] * 7])
def test_legend_stands_within_the_figure_below_the_title_and_above_the_data(names):
    figure, axes = new_axes(4.6, 2.8, "KL")
    for name in names:
        axes.plot([1, 2], [2, 1], label=name)
    legend_above(axes)
    figure.draw_without_rendering()
    title: Any = axes._left_title  # pyright: ignore[reportAttributeAccessIssue]
    legend: Any = axes.get_legend()
    # The boxes have a little room of their own around the letters.
    assert legend.get_window_extent().y1 <= title.get_window_extent().y0 + 4
    assert legend.get_window_extent().y0 >= axes.bbox.y1 - 1
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    assert title.get_window_extent().y1 <= figure.bbox.y1


def test_logarithmic_scale_has_a_readable_number_of_marks():
    spans = (0.0, 1e-3, 0.2, 1.0, 1.9, 2.0, 6.0, 30.0)
    for low, span in itertools.product((5e-5, 0.00977), spans):
        _, axes = new_axes(4.0, 3.0, "")
        axes.plot([1, 2], [low, low * 10**span])
        log_axis(axes)
        bottom, top = axes.get_ylim()
        marks = sum(bottom <= mark <= top for mark in axes.get_yticks())
        assert 2 <= marks <= 9, (low, span)


def test_style_does_not_depend_on_the_defaults_of_matplotlib():
    import matplotlib

    with matplotlib.rc_context({"xtick.labelsize": 30, "axes.titlesize": 30}):
        _, axes = new_axes(4, 3, "Loss")
        axes.set_xticks([0, 1])
    assert axes.get_xticklabels()[0].get_fontsize() == 9
    assert axes.get_title(loc="left") == "Loss"


def test_report_imports_lightly_and_leaves_pyplot_alone():
    program = (
        "import io, sys, lars_jax.report as report\n"
        "print([n for n in ('matplotlib', 'PIL', 'flax') if n in sys.modules])\n"
        "rows = [{'step': 1, 'train/loss': 1.0}]\n"
        "report.curve_figure(rows, report.CURVES[0]).savefig(io.BytesIO())\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == ["[]", "True False"]


def identifiers(svg: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]*)"', svg))


def test_svg_is_one_element_that_names_nothing_outside_itself():
    figure = curve_figure([*training(9), evaluation(9, 0.9)], CURVES[0])
    svg, other = (inline_svg(figure, name, "a < b") for name in ("a", "b"))
    page = Page(svg)
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert page.tags["svg"] == 1
    assert {"Loss", "training", "evaluation", "step"} <= set(page.texts)
    assert ("svg", "aria-label", "a < b") in page.attributes
    assert "://" not in svg
    references = re.findall(r'(?:href="|url\()([^")]*)', svg)
    assert references
    assert {reference[1:] for reference in references} <= identifiers(svg)
    # Two figures may stand in one page.
    assert not identifiers(svg) & identifiers(other)
    # Colours are those of the page.
    assert not [colour for colour in PALETTE.values() if colour.light in svg]
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert {"blue", "orange", "muted"} <= used <= set(PALETTE)
