from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lars_jax.errors import InputError
from lars_jax.report import confusion_figure
from lars_jax.report.style import PALETTE
from tests.report.support import drawn

WORDS = {"title": "Confusion", "row_label": "generator", "column_label": "named"}


def figure_of(matrix: Any, **options: Any) -> Any:
    return confusion_figure(np.asarray(matrix, float), **{**WORDS, **options})


def numbers(figure: Any) -> dict[tuple[float, float], str]:
    """Text of each cell by its row and column."""
    texts = figure.axes[0].texts
    return {text.get_position()[::-1]: text.get_text() for text in texts}


def colour_at(figure: Any, share: float) -> str:
    image = figure.axes[0].images[0]
    return to_hex(image.cmap(image.norm(share)))


def test_cells_have_their_share_in_percent():
    figure = figure_of([[0.25, 0.75], [1.0, 0.0]])
    assert numbers(figure) == {(0, 0): "25", (0, 1): "75", (1, 0): "100", (1, 1): "0"}
    picture = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(picture, [[0.25, 0.75], [1.0, 0.0]])


def test_the_same_share_has_the_same_shade_in_every_figure():
    even, sure = figure_of(np.full((2, 2), 0.5)), figure_of(np.eye(2))
    assert colour_at(even, 0.5) == colour_at(sure, 0.5)


def test_numbers_do_not_follow_a_dark_screen_for_their_cells_do_not():
    used = {text.get_color() for text in figure_of(np.eye(2)).axes[0].texts}
    assert len(used) == 2
    assert not used & {colour.light for colour in PALETTE.values()}


@pytest.mark.parametrize(("size", "numbered"), [(12, True), (13, False)])
def test_many_cells_have_no_numbers(size, numbered):
    assert bool(numbers(figure_of(np.eye(size)))) is numbered


@pytest.mark.parametrize("rows", [["cat", "dog", "eel"], None])
def test_rows_and_columns_need_not_be_as_many_and_may_have_names(rows):
    figure = figure_of(np.full((3, 5), 0.2), row_names=rows, column_names=[*"abcde"])
    axes = figure.axes[0]
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == (rows or ["0", "1", "2"])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [*"abcde"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("named", "generator")
    assert len(numbers(figure)) == 15


def test_generator_without_samples_is_blank():
    figure = figure_of([[1.0, 0.0], [np.nan, np.nan]])
    assert numbers(figure).keys() == {(0, 0), (0, 1)}
    assert figure.axes[0].images[0].get_array().mask.tolist() == [
        [False] * 2,
        [True] * 2,
    ]
    assert drawn(figure)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((2, 2), None),
        ((50, 50), None),
        ((8, 10), [f"automobile {number}" for number in range(10)]),
    ],
)
def test_nothing_is_cut_off(shape, names):
    title = "Which generator the classifier names"
    figure = figure_of(np.full(shape, 1 / shape[1]), title=title, column_names=names)
    figure.draw_without_rendering()
    box, whole = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= whole[0]
    assert box.y1 <= whole[1]


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        ([1.0], {}, r"\[R, C\]; got shape \(1,\)"),
        (np.zeros((0, 2)), {}, r"\[R, C\]"),
        ([[0.5, 0.5], [3.0, 4.0]], {}, "got a row that sums to 7"),
        ([[1.5, -0.5]], {}, "0 or more"),
        ([[np.nan, 1.0]], {}, "sums to nan"),
        ([[np.inf, 0.0]], {}, "sums to inf"),
        ([[0.5, 0.5]], {"column_names": ["a"]}, "each of 2 columns; got 1"),
        ([[0.5, 0.5]], {"row_names": ["a", "b"]}, "each of 1 rows; got 2"),
    ],
)
def test_what_is_no_share_is_refused(matrix, options, message):
    with pytest.raises(InputError, match=message):
        figure_of(matrix, **options)
