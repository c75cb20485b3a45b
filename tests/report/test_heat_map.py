import io

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import trust_ratio_figure
from lars_jax.report.heat_map import MOST_LABELS
from tests.report.support import layers, resnet152


def picture(figure) -> np.ndarray:
    return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)


def labels(figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def rows_of(figure) -> list[float]:
    return figure.axes[0].get_yticks().tolist()


def test_picture_is_the_logarithm_of_the_ratio():
    figure = trust_ratio_figure(
        [layers(1, {"a": 0.1, "b": 0.001}), layers(2, {"a": 1.0, "b": 0.01})]
    )
    np.testing.assert_allclose(picture(figure), [[-1, 0], [-3, -2]], atol=1e-12)
    assert labels(figure) == ["a", "b"]


def test_step_between_records_shows_the_nearer_one():
    rows = [layers(1, {"a": 0.1}), layers(5, {"a": 0.01}), layers(11, {"a": 0.001})]
    shown = picture(trust_ratio_figure(rows))[0]
    # Steps 1 to 11; 3 lies half way and belongs to the earlier record, as does 8.
    np.testing.assert_allclose(shown, [-1] * 3 + [-2] * 5 + [-3] * 3, atol=1e-12)


def test_long_run_has_a_bounded_number_of_columns():
    rows = [layers(step, {"a": 0.1}) for step in range(1, 3000, 3)]
    assert picture(trust_ratio_figure(rows)).shape == (1, 256)


@pytest.mark.parametrize("broken", [0.0, -1.0, float("nan"), float("inf"), None])
def test_ratio_without_a_logarithm_is_blank(broken):
    row = layers(1, {"a": 0.1, "b": 0.1})
    row["layers"]["b"]["trust_ratio"] = broken
    assert np.isnan(picture(trust_ratio_figure([row]))).tolist() == [[False], [True]]


def test_layer_that_appears_later_is_blank_before():
    rows = [layers(1, {"a": 0.1}), layers(2, {"a": 0.1, "b": 0.1})]
    blank = np.isnan(picture(trust_ratio_figure(rows)))
    assert blank.tolist() == [[False, False], [True, False]]


def test_every_leaf_of_resnet152_keeps_its_row():
    names = resnet152()
    assert len(names) == 467
    rng = np.random.default_rng(0)
    ratios = dict(zip(names, 10.0 ** rng.uniform(-4, 0, len(names)), strict=True))
    shown = picture(trust_ratio_figure([layers(1, ratios)]))
    assert shown.shape == (467, 1)
    expected = np.sort(np.log10(list(ratios.values())))
    np.testing.assert_allclose(np.sort(shown[:, 0]), expected)


def test_labels_of_resnet152_have_room_and_name_their_rows():
    names = resnet152()
    ratios = {name: 10.0 ** -(1 + number / 200) for number, name in enumerate(names)}
    figure = trust_ratio_figure([layers(1, ratios)])
    rows = np.array(rows_of(figure))
    inches = (figure.get_figheight() - 1.0) * np.diff(rows) / len(names)
    # Nine points of text are an eighth of an inch high.
    assert inches.min() > 0.125
    assert 30 <= len(rows) <= MOST_LABELS
    shown = picture(figure)[:, 0]
    for row, name in zip(rows, labels(figure), strict=True):
        np.testing.assert_allclose(shown[int(row)], np.log10(ratios[name]))


def test_many_layers_are_sorted_by_kind_kernels_first():
    figure = trust_ratio_figure([layers(1, dict.fromkeys(resnet152(), 0.01))])
    kinds = [label.rsplit("/")[-1] for label in labels(figure)]
    assert list(dict.fromkeys(kinds)) == ["kernel", "bias", "scale"]
    assert kinds == sorted(kinds, key=["kernel", "bias", "scale"].index)


@pytest.mark.parametrize("count", [1, 48, 49, 97])
def test_kinds_of_one_leaf_each_do_not_overlap(count):
    names = [f"layer/kind{number}" for number in range(count)]
    figure = trust_ratio_figure([layers(1, dict.fromkeys(names, 0.5))])
    rows = rows_of(figure)
    assert rows == sorted(set(rows))
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue()


def test_equal_ratios_get_a_scale_around_them():
    low, high = (
        trust_ratio_figure([layers(1, {"a": 0.01})]).axes[0].images[0].get_clim()
    )
    np.testing.assert_allclose([low, high], [-2.5, -1.5])


def test_rows_without_a_ratio_are_refused():
    row = {"step": 1, "layers": {"a": {"weight_norm": 1.0, "gradient_norm": 1.0}}}
    for rows in ([], [row]):
        with pytest.raises(InputError, match="got none"):
            trust_ratio_figure(rows)


def test_layers_whose_ratio_is_always_one_are_left_out():
    rows = [
        layers(1, {"adapted": 1.0, "excluded": 1.0}),
        layers(2, {"adapted": 0.1, "excluded": 1.0}),
    ]
    figure = trust_ratio_figure(rows)
    assert labels(figure) == ["adapted"]
    np.testing.assert_allclose(picture(figure), [[0, -1]], atol=1e-12)


def test_plain_updates_have_no_picture():
    with pytest.raises(InputError, match="not always one"):
        trust_ratio_figure([layers(1, {"a": 1.0})])
