import itertools
import subprocess
import sys

import numpy as np
import pytest

from lars_jax.report.style import (
    PALETTE,
    POINTS,
    SERIES,
    gradation,
    new_axes,
    point_colour,
)

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "panel"])
@pytest.mark.parametrize("use", ["ink", "muted", *SERIES])
def test_colours_are_readable_on_their_ground(use, ground, scheme):
    colours = {name: getattr(colour, scheme) for name, colour in PALETTE.items()}
    assert contrast(colours[use], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
def test_lines_of_a_gradation_stand_out_in_both_schemes(place, scheme):
    # WCAG 2.1 asks 3 of graphics.
    assert contrast(gradation(place), getattr(PALETTE["paper"], scheme)) >= 3.5


def test_gradation_never_meets_a_colour_that_becomes_a_variable():
    fixed = {colour.light for colour in PALETTE.values()}
    assert not fixed & {gradation(place / 500) for place in range(501)}


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("count", "least"), [(8, 0.08), (10, 0.075), (50, 0.025)])
def test_colours_of_points_differ_to_every_eye(count, least, sight):
    seen = [oklab(point_colour(number), SIGHTS[sight]) for number in range(count)]
    pairs = itertools.combinations(seen, 2)
    # Black and white are one apart.
    assert min(float(np.linalg.norm(a - b)) for a, b in pairs) >= least


@pytest.mark.parametrize("colour", POINTS)
def test_points_stand_out_in_both_schemes(colour):
    assert contrast(colour, PALETTE["paper"].light) >= 3
    assert contrast(colour, PALETTE["paper"].dark) >= 2.4


def test_colours_of_points_never_become_a_variable():
    assert len(set(POINTS)) == 50
    assert not set(POINTS) & {colour.light for colour in PALETTE.values()}


def test_light_colours_are_distinct_so_that_each_has_one_variable():
    assert len({colour.light for colour in PALETTE.values()}) == len(PALETTE)


def test_contrast_of_black_and_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


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
        "report.loss_figure([{'step': 1, 'train/loss': 1.0}]).savefig(io.BytesIO())\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == ["[]", "True False"]
