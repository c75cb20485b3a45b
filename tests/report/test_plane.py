import itertools
import re
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from lars_jax.errors import InputError
from lars_jax.report import Panel, evolution_figure
from lars_jax.report.plane import HEIGHT, WIDTH
from lars_jax.report.style import inline_svg, point_colour
from tests.report.support import Page, drawn

REAL = np.array([[0.0, 2.0], [2.0, 0.0]])


def panel(step: int, generator=(0, 1, 2), at: float = 1.0) -> Panel:
    samples = at + np.arange(2.0 * len(generator)).reshape(-1, 2) / 10
    return Panel(step, samples, np.array(generator, int))


def ring(count: int) -> Panel:
    """A ring of eight Gaussians, a generator for each."""
    rng = np.random.default_rng(count)
    mode = rng.integers(0, 8, count)
    centres = 2 * np.stack([np.cos(mode * np.pi / 4), np.sin(mode * np.pi / 4)], -1)
    return Panel(count, centres + rng.normal(0, 0.1414, (count, 2)), mode)


def points(collection) -> dict[tuple[float, float], str]:
    """Colour of each point of a scatter by its place."""
    places = np.round(np.ma.filled(collection.get_offsets(), np.nan), 6).tolist()
    colours = np.round(255 * collection.get_facecolors()[:, :3]).astype(int)
    named = ["#" + "".join(f"{part:02x}" for part in colour) for colour in colours]
    return {tuple(place): name for place, name in zip(places, named, strict=True)}


def boxes(figure) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of all axes, in inches."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    ends = [axes.get_position().extents for axes in figure.axes]
    return [tuple(end * (width, height, width, height)) for end in ends]


def test_samples_have_the_colour_of_their_generator_and_truth_lies_behind():
    behind, front = evolution_figure({"MGAN": [panel(1)]}, REAL).axes[0].collections
    np.testing.assert_array_equal(behind.get_offsets(), REAL)
    assert points(front) == {
        (1.0, 1.1): point_colour(0),
        (1.2, 1.3): point_colour(1),
        (1.4, 1.5): point_colour(2),
    }


def test_a_generator_keeps_its_colour_whoever_else_is_there():
    rows = {"GAN": [panel(1, (1,))], "MGAN": [panel(1, (0, 1))]}
    axes = evolution_figure(rows, REAL).axes
    assert points(axes[0].collections[1])[(1.0, 1.1)] == point_colour(1)
    assert points(axes[1].collections[1])[(1.2, 1.3)] == point_colour(1)


def test_last_generator_does_not_cover_all_others():
    many = Panel(1, np.zeros((100, 2)), np.repeat([0, 1], 50))
    front: Any = evolution_figure({"MGAN": [many]}, REAL).axes[0].collections[1]
    blue = front.get_facecolors()[:, 2] > 0.5
    assert 5 < blue[50:].sum() < 45


def test_panels_stand_by_method_and_by_rising_step():
    rows = {"GAN": [panel(20_000), panel(5_000)], "MGAN": [panel(5_000, at=-1.0)]}
    figure = evolution_figure(rows, REAL)
    axes = figure.axes[:4]
    assert [one.get_title() for one in axes] == ["step 5,000", "20,000", "", ""]
    assert [one.get_ylabel() for one in axes] == ["GAN", "", "MGAN", ""]
    assert [len(one.collections) for one in axes] == [2, 2, 2, 0]
    assert (-1.0, -0.9) in points(axes[2].collections[1])
    found = boxes(figure)
    np.testing.assert_allclose([found[0][0], found[0][1]], [found[2][0], found[1][1]])
    assert found[0][0] < found[1][0]
    assert found[0][1] > found[2][1]


@pytest.mark.parametrize(("methods", "steps"), [(1, 1), (1, 8), (9, 1)])
def test_panels_are_square_apart_and_within_the_figure(methods, steps):
    row = [panel(step) for step in range(steps)]
    figure = evolution_figure({f"m{i}": row for i in range(methods)}, REAL)
    width, height = figure.get_size_inches()
    assert width <= WIDTH + 1e-9
    assert height <= HEIGHT + 1e-9
    panels = boxes(figure)
    key = max(legend.get_window_extent().y1 for legend in figure.legends) / figure.dpi
    sides = [side for a, b, c, d in panels for side in (c - a, d - b)]
    np.testing.assert_allclose(sides, sides[0])
    assert sides[0] > 0.75 * min(WIDTH / steps, HEIGHT / methods, 4.3)
    for left, bottom, right, top in panels:
        assert 0.2 < left < right <= width
        assert key - 1e-9 <= bottom < top < height
    for one, other in itertools.pairwise(panels[:steps]):
        assert one[2] < other[0]


@pytest.mark.slow
def test_no_letter_is_cut_off_and_none_covers_another():
    row = [panel(5_000 * step) for step in range(1, 6)]
    names = ("GAN", "Unrolled GAN", "D2GAN", "MGAN")
    four = evolution_figure(dict.fromkeys(names, row), REAL)
    assert (four.get_size_inches() <= (7, 6)).all()
    for figure in (
        four,
        evolution_figure({"MGAN": [panel(5_000, range(8))]}, REAL),
    ):
        figure.draw_without_rendering()
        texts = [text for legend in figure.legends for text in legend.get_texts()]
        for axes in figure.axes:
            texts += [axes.title, axes.yaxis.label]
        extents = [text.get_window_extent() for text in texts if text.get_text()]
        assert len(extents) >= 4
        for number, one in enumerate(extents):
            assert one.x0 >= 0
            assert one.y0 >= 0
            assert one.x1 <= figure.bbox.x1
            assert one.y1 <= figure.bbox.y1
            assert not any(one.overlaps(other) for other in extents[:number])


def test_square_shows_what_the_limit_says():
    axes = evolution_figure({"MGAN": [panel(1)]}, REAL, limit=1.5).axes[0]
    assert axes.get_xlim() == axes.get_ylim() == (-1.5, 1.5)
    assert axes.get_xticks().tolist() == axes.get_yticks().tolist() == []


@pytest.mark.parametrize(
    ("last", "dots", "words"),
    [
        (0, 1, "generated samples"),
        (2, 3, "samples of each"),
        (49, 8, "samples of each"),
    ],
)
def test_key_shows_the_colours_of_the_generators(last, dots, words):
    figure: Any = evolution_figure({"MGAN": [panel(1, (0, last))]}, REAL)
    true, made = figure.legends
    assert [text.get_text() for text in true.get_texts()] == ["true samples"]
    assert made.get_texts()[0].get_text().startswith(words)
    shown = [line.get_color() for line in made.findobj(Line2D)]
    assert shown == [point_colour(number) for number in range(dots)]


def test_points_of_a_drawing_are_pixels_so_that_it_stays_small_and_the_same():
    row = [ring(4096)._replace(step=step) for step in range(2)]
    one, other = (
        inline_svg(evolution_figure({"MGAN": row}, ring(4096).samples), "a", "")
        for _ in "ab"
    )
    assert Page(one).tags["image"] == 2
    # The points of the key are the only ones that are paths.
    assert len(re.findall(r"<use ", one)) < 30
    assert len(one) < 200_000
    assert one == other


def test_samples_that_are_not_finite_or_none_are_left_out():
    broken = Panel(
        1, np.array([[np.nan, 0.0], [np.inf, 1.0], [0.5, 0.5]]), np.arange(3)
    )
    none = Panel(2, np.zeros((0, 2)), np.zeros(0, int))
    assert drawn(evolution_figure({"MGAN": [broken, none]}, REAL))


@pytest.mark.parametrize(
    ("rows", "real", "message"),
    [
        ({}, REAL, "needs panels; got none in 0 rows"),
        ({"MGAN": []}, REAL, "needs panels; got none in 1 rows"),
        (
            {"MGAN": [panel(1)]},
            REAL[0],
            r"true samples must be .*\[R, 2\]; got .*\(2,\)",
        ),
        (
            {"MGAN": [Panel(7, np.zeros((3, 3)), np.zeros(3, int))]},
            REAL,
            r"samples of MGAN at step 7 must be .* got shape \(3, 3\)",
        ),
        (
            {"MGAN": [Panel(7, np.zeros((3, 2)), np.zeros(2, int))]},
            REAL,
            r"generators of MGAN at step 7 .* \(3,\); got int64 \(2,\)",
        ),
        ({"MGAN": [Panel(7, REAL, np.zeros(2))]}, REAL, "whole numbers .* got float64"),
        ({"MGAN": [Panel(7, REAL, np.array([0, -1]))]}, REAL, "whole numbers from 0"),
        ({"MGAN": [panel(7), panel(7)]}, REAL, "got two of MGAN at step 7"),
    ],
)
def test_what_is_no_evolution_is_refused(rows, real, message):
    with pytest.raises(InputError, match=message):
        evolution_figure(rows, real)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_square_without_an_area_is_refused(limit):
    with pytest.raises(InputError, match="above zero"):
        evolution_figure({"MGAN": [panel(1)]}, REAL, limit=limit)
