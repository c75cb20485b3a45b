from typing import Any

import numpy as np
import pytest
from matplotlib.text import Annotation, Text

from lars_jax.errors import InputError
from lars_jax.report import plot_trust_ratios, trust_ratio_figure
from lars_jax.report.layers import LONGEST_LABEL, MOST_LABELS, MOST_ROWS
from lars_jax.report.style import gradation, inline_svg
from tests.report.support import Page, drawn, layers, resnet152

NAMES = ("conv2/kernel", "conv10/kernel", "fc/bias")
RATIOS = np.array([[0.1, 0.01, 1e-4], [0.2, 0.02, 2e-4], [0.4, 0.04, 4e-4]])


def picture(figure) -> np.ndarray:
    return np.ma.filled(figure.axes[0].collections[0].get_array(), np.nan)


def labels(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def rows_of(figure) -> list[float]:
    return figure.axes[0].get_yticks().tolist()


def test_picture_is_the_ratio_on_a_logarithmic_scale():
    figure = trust_ratio_figure(
        [layers(1, {"a": 0.1, "b": 0.001}), layers(2, {"a": 1.0, "b": 0.01})]
    )
    np.testing.assert_array_equal(picture(figure), [[0.1, 1.0], [0.001, 0.01]])
    assert labels(figure) == ["a", "b"]
    low, high = figure.axes[0].get_ylim()
    assert low > high
    norm: Any = figure.axes[0].collections[0].norm
    np.testing.assert_allclose([norm(0.001), norm(0.01), norm(1.0)], [0, 1 / 3, 1])


def test_step_between_records_shows_the_nearer_one():
    rows = [layers(1, {"a": 0.1}), layers(5, {"a": 0.01}), layers(11, {"a": 0.001})]
    image: Any = trust_ratio_figure(rows).axes[0].collections[0]
    edges = image.get_coordinates()[0, :, 0]
    assert edges.tolist() == [0.5, 3.0, 8.0, 11.5]


def test_long_run_of_many_layers_stays_small():
    rows = [layers(step, dict.fromkeys("abc", step)) for step in range(2, 3000, 3)]
    svg = inline_svg(trust_ratio_figure(rows), "a", "")
    # An image of the map and one of its scale.
    assert Page(svg).tags["image"] == 2
    assert len(svg) < 60_000


def test_ratio_without_a_logarithm_or_not_there_yet_is_blank():
    broken = (0.0, -1.0, float("nan"), float("inf"), None)
    rows = [layers(step, {"a": 0.1, "b": 0.1}) for step in range(1, 7)]
    for row, ratio in zip(rows[1:], broken, strict=True):
        row["layers"]["b"]["trust_ratio"] = ratio
    rows.append(layers(7, {"a": 0.1}))
    blank = np.isnan(picture(trust_ratio_figure(rows)))
    assert blank.tolist() == [[False] * 7, [False] + [True] * 6]


def test_every_leaf_of_resnet152_keeps_its_row_and_labels_have_room():
    names = resnet152()
    assert len(names) == 467
    ratios = {name: 10.0 ** -(1 + number / 200) for number, name in enumerate(names)}
    figure = trust_ratio_figure([layers(1, ratios)])
    rows = np.array(rows_of(figure))
    inches = (figure.get_figheight() - 1.0) * np.diff(rows) / len(names)
    # Nine points of text are an eighth of an inch high.
    assert inches.min() > 0.125
    assert 30 <= len(rows) <= MOST_ROWS
    shown = picture(figure)[:, 0]
    assert sorted(shown) == sorted(ratios.values())
    for row, name in zip(rows, labels(figure), strict=True):
        assert shown[int(row)] == ratios[name]
    # Sorted by kind, kernels first.
    kinds = [label.rsplit("/")[-1] for label in labels(figure)]
    assert list(dict.fromkeys(kinds)) == ["kernel", "bias", "scale"]
    assert kinds == sorted(kinds, key=["kernel", "bias", "scale"].index)


def test_kinds_of_one_leaf_each_do_not_overlap():
    for count in (1, MOST_ROWS, MOST_ROWS + 1):
        names = [f"layer/kind{number}" for number in range(count)]
        rows = rows_of(trust_ratio_figure([layers(1, dict.fromkeys(names, 0.5))]))
        assert rows == sorted(set(rows))
        assert len(rows) == (count if count <= MOST_ROWS else -(-count // 2))


def test_equal_ratios_get_a_scale_around_them():
    figure = trust_ratio_figure([layers(1, {"a": 0.01})])
    low, high = figure.axes[0].collections[0].get_clim()
    np.testing.assert_allclose(np.log10([low, high]), [-2.5, -1.5])
    assert drawn(figure)


def test_rows_without_a_ratio_or_with_plain_updates_have_no_picture():
    row = {"step": 1, "layers": {"a": {"weight_norm": 1.0, "gradient_norm": 1.0}}}
    for rows in ([], [row], [layers(1, {"a": 1.0})]):
        with pytest.raises(InputError, match="not always one; got none"):
            trust_ratio_figure(rows)


def test_layers_whose_ratio_is_always_one_are_left_out():
    rows = [
        layers(1, {"adapted": 1.0, "excluded": 1.0}),
        layers(2, {"adapted": 0.1, "excluded": 1.0}),
    ]
    figure = trust_ratio_figure(rows)
    assert labels(figure) == ["adapted"]
    assert picture(figure).tolist() == [[1.0, 0.1]]


def lines(figure) -> dict[str, list[float]]:
    """Colour to height of each line."""
    return {
        line.get_color(): np.asarray(line.get_ydata()).tolist()
        for line in figure.axes[0].lines
    }


def named(figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation)]


def line_names(figure) -> list[str]:
    return [text.get_text() for text in named(figure)]


def test_every_layer_is_one_line_on_a_logarithmic_scale():
    figure = plot_trust_ratios([1, 2, 3], RATIOS, NAMES)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    steps = [line.get_xdata() for line in axes.lines]
    np.testing.assert_array_equal(steps, [[1, 2, 3]] * 3)
    np.testing.assert_array_equal(list(lines(figure).values()), RATIOS.T)
    assert drawn(figure)


def test_colour_follows_the_order_that_people_count_in():
    figure = plot_trust_ratios([1, 2, 3], RATIOS[:, ::-1], NAMES[::-1])
    shown = lines(figure)
    assert list(shown) == gradation(3)
    assert list(shown.values()) == RATIOS.T.tolist()


def test_names_stand_beside_the_lines_from_the_highest_down():
    assert line_names(plot_trust_ratios([1, 2, 3], RATIOS, NAMES)) == list(NAMES)


def test_key_says_what_the_colours_are_ordered_by():
    legend = plot_trust_ratios([1, 2, 3], RATIOS, NAMES).axes[0].get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["first", "last by name"]


@pytest.mark.parametrize("count", [1, MOST_LABELS + 1, 161])
def test_few_layers_are_named_and_their_names_do_not_overlap(count):
    names = resnet152()[:count]
    ratios = np.full((2, count), 0.01) * np.linspace(1, 1.01, count)
    figure = plot_trust_ratios([1, 2], ratios, names)
    assert len(figure.axes[0].lines) == count
    found = line_names(figure)
    assert len(found) == len(set(found)) == min(count, MOST_LABELS)
    assert names[-1] in found
    assert names[0] in found
    drawn(figure)
    inches = figure.axes[0].get_window_extent().height / figure.dpi
    heights = [inches * text.xyann[1] for text in named(figure)]
    # Nine points of text are an eighth of an inch high.
    assert (-np.diff(heights) > 0.125).all()
    assert 0 <= min(heights) <= max(heights) <= inches


def test_names_and_legend_stay_off_the_lines_and_on_the_paper():
    names = [
        f"params/encoder/block{number}/{'attention/' * 5}kernel" for number in range(39)
    ] + ["params/encoder/final/norm/scale"]
    figure = plot_trust_ratios([1, 2], np.geomspace(1, 1e-3, 80).reshape(2, 40), names)
    drawn(figure)
    axes = figure.axes[0]
    box = axes.get_window_extent()
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 > box.y1
    assert box.width > 0.4 * figure.bbox.width
    found = line_names(figure)
    assert len(set(found)) == MOST_LABELS
    assert found[-1] == "final/norm/scale"
    assert len(found[0]) == LONGEST_LABEL
    assert found[0].startswith("block0/attention…")
    for text in named(figure):
        assert text.xyann[0] > 1
        assert Text.get_window_extent(text).x1 <= figure.bbox.x1


def test_value_without_a_logarithm_leaves_a_gap():
    broken = (0.0, -1.0, np.nan, np.inf)
    ratios = np.array([[0.1, 0.2, *broken, 0.4], np.ones(7) / 2]).T
    figure = plot_trust_ratios(range(7), ratios, NAMES[:2])
    first = figure.axes[0].lines[0]
    np.testing.assert_array_equal(first.get_ydata(), [0.1, 0.2, *[np.nan] * 4, 0.4])
    # What stands alone between gaps is marked, what is part of a line is not.
    assert first.get_markevery() == [6]
    assert figure.axes[0].lines[1].get_markevery() == []


def test_layer_that_is_never_positive_has_no_name():
    ratios = RATIOS.copy()
    ratios[:, 1] = 0
    figure = plot_trust_ratios([1, 2, 3], ratios, NAMES)
    assert line_names(figure) == ["conv2/kernel", "fc/bias"]
    assert drawn(figure)


def test_layer_that_dies_is_named_at_its_last_value():
    ratios = RATIOS.copy()
    ratios[1:, 0] = np.nan
    figure = plot_trust_ratios([1, 2, 3], ratios, NAMES)
    ends = {text.get_text(): text.xy for text in named(figure)}
    assert ends["conv2/kernel"] == (1.0, 0.1)
    assert ends["fc/bias"] == (3.0, 4e-4)


def test_excluded_layers_are_left_out():
    ratios = np.concatenate([RATIOS, np.ones((3, 1))], axis=1)
    figure = plot_trust_ratios([1, 2, 3], ratios, [*NAMES, "fc/scale"])
    assert line_names(figure) == list(NAMES)


def test_pattern_chooses_layers():
    figure = plot_trust_ratios([1, 2, 3], RATIOS, NAMES, pattern=r"^conv\d+/kernel$")
    assert line_names(figure) == ["conv2", "conv10"]
    assert len(figure.axes[0].lines) == 2


@pytest.mark.parametrize(
    ("pattern", "words"), [("scale$", "matches none"), ("(", "regular expression")]
)
def test_pattern_that_chooses_nothing_is_refused(pattern, words):
    with pytest.raises(InputError, match=words):
        plot_trust_ratios([1, 2, 3], RATIOS, NAMES, pattern=pattern)


def test_steps_come_in_any_order():
    figure = plot_trust_ratios([3, 1, 2], RATIOS[[2, 0, 1]], NAMES)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(list(lines(figure).values()), RATIOS.T)


@pytest.mark.parametrize(
    ("steps", "ratios", "names"),
    [
        ([1, 2], RATIOS, NAMES),
        ([1, 2, 3], RATIOS.T[:2], NAMES),
        ([1, 2, 3], RATIOS, NAMES[:2]),
        ([1, 2, 3], RATIOS, NAMES[:2] + NAMES[:1]),
        ([1, 2, 3], RATIOS[..., np.newaxis], NAMES),
        (1, RATIOS[0], NAMES),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(steps, ratios, names):
    with pytest.raises(InputError, match="ratios"):
        plot_trust_ratios(steps, ratios, names)


def test_nothing_to_draw_is_refused():
    for value in (0.0, 1.0, np.nan):
        with pytest.raises(InputError, match="got none in 3 layers at 2 steps"):
            plot_trust_ratios([1, 2], np.full((2, 3), value), NAMES)
    with pytest.raises(InputError, match="got none in 3 layers at 0 steps"):
        plot_trust_ratios([], np.zeros((0, 3)), NAMES)


def test_single_step_is_a_mark():
    figure = plot_trust_ratios([7], RATIOS[:1], NAMES)
    assert [line.get_markevery() for line in figure.axes[0].lines] == [[0]] * 3
    assert figure.axes[0].get_xticks().tolist() == [7]


def test_jax_arrays_are_taken_as_they_are():
    import jax.numpy as jnp

    figure = plot_trust_ratios(jnp.arange(3), jnp.asarray(RATIOS), NAMES, title="Rate")
    assert figure.axes[0].get_title(loc="left") == "Rate"
