import io

import numpy as np
import pytest

from lars_jax.errors import InputError
from lars_jax.report import Mistakes, contact_sheet
from tests.report.support import mistakes


def test_each_image_stands_with_prediction_confidence_and_label():
    sheet = contact_sheet(mistakes(2, names=("cat", "dog")))
    assert [axes.get_title(loc="left") for axes in sheet.axes] == [
        "dog  75 %",
        "2  75 %",
    ]
    assert [axes.texts[0].get_text() for axes in sheet.axes] == ["is cat", "is dog"]


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_image(channels):
    wrong = mistakes(1, channels=channels)
    shown = contact_sheet(wrong).axes[0].images[0].get_array()
    assert shown is not None
    assert shown.shape == (8, 8, 3)
    np.testing.assert_array_equal(shown[..., :channels], wrong.image[0])


@pytest.mark.parametrize(
    ("count", "columns", "lines"), [(1, 8, 1), (8, 8, 1), (9, 8, 2), (5, 2, 3)]
)
def test_sheet_has_as_many_lines_as_it_needs(count, columns, lines):
    grid = contact_sheet(mistakes(count), columns=columns).axes[0].get_subplotspec()
    assert grid is not None
    geometry = grid.get_gridspec().get_geometry()
    assert geometry == (lines, min(columns, count))


@pytest.mark.parametrize(("size", "crisp"), [(8, True), (96, True), (97, False)])
def test_only_small_images_show_their_pixels(size, crisp):
    image = contact_sheet(mistakes(1, size=size)).axes[0].images[0]
    assert (image.get_interpolation() == "nearest") is crisp


def test_sheet_saves_without_a_display():
    file = io.BytesIO()
    contact_sheet(mistakes(3)).savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_sheet_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing is wrong"):
        contact_sheet(mistakes(0))


def test_sheet_needs_a_column():
    with pytest.raises(InputError, match="1 or more; got 0"):
        contact_sheet(mistakes(1), columns=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((2, 8, 8), np.uint8)}, r"\[M, H, W, 1 or 3\]"),
        ({"image": np.zeros((2, 8, 8, 4), np.uint8)}, r"\[M, H, W, 1 or 3\]"),
        ({"image": np.zeros((2, 8, 8, 1), np.float32)}, "must be uint8; got float32"),
        ({"image": np.zeros((3, 8, 8, 1), np.uint8)}, r"label .* shape \(3,\)"),
        ({"confidence": np.zeros((2, 1))}, r"confidence .* got \(2, 1\)"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    wrong = mistakes(2)
    fields = {name: getattr(wrong, name) for name in Mistakes.__dataclass_fields__}
    with pytest.raises(InputError, match=message):
        Mistakes(**{**fields, **change})


def test_class_without_a_name_goes_by_its_number():
    wrong = mistakes(1, names=("cat",))
    assert [wrong.name(label) for label in (0, 1, -1)] == ["cat", "1", "-1"]
