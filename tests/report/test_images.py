import base64
import io

import numpy as np
import pytest
from PIL import Image

from lars_jax.errors import InputError
from lars_jax.report import Mistakes, image_sheet, save_png
from lars_jax.report.images import image_uri
from tests.report.support import mistakes


def images(
    rows: int = 2, columns: int = 3, size: int = 4, channels: int = 3
) -> np.ndarray:
    shape = (rows, columns, size, size, channels)
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


def dark(sheet: np.ndarray) -> np.ndarray:
    """Where letters are, on white."""
    return sheet.max(axis=-1) < 128


def test_each_pixel_is_a_square_at_its_place():
    given = images()
    sheet = image_sheet(given)
    assert sheet.shape == (2 + 2 * 66, 2 + 3 * 66, 3)
    assert sheet.dtype == np.uint8
    gaps = np.ones(sheet.shape[:2], bool)
    for row, column in np.ndindex(2, 3):
        y, x = 2 + 66 * row, 2 + 66 * column
        gaps[y : y + 64, x : x + 64] = False
        for shift in (0, 15):
            tile = sheet[y + shift : y + 64 : 16, x + shift : x + 64 : 16]
            np.testing.assert_array_equal(tile, given[row, column])
    assert (sheet[gaps] == 255).all()


def test_images_need_not_be_square_nor_coloured():
    given = images(size=64, channels=1)[:, :, :32]
    sheet = image_sheet(given)
    assert sheet.shape == (2 + 2 * 34, 2 + 3 * 66, 3)
    expected = np.repeat(given[1, 2], 3, axis=-1)
    np.testing.assert_array_equal(sheet[36:68, 134:198], expected)


def test_small_images_are_enlarged_to_a_legible_size():
    for size, scale in ((8, 8), (28, 3), (32, 2), (48, 2), (96, 1)):
        side = scale * size + 4
        assert image_sheet(images(1, 1, size)).shape == (side, side, 3)


def test_row_labels_stand_level_with_their_row_left_of_it():
    sheet = image_sheet(images(2, 2, 32), row_labels=["0  12.5 %", ""])
    left = sheet.shape[1] - (2 + 2 * 66)
    assert left > 30
    letters = dark(sheet[:, :left])
    assert letters[2:66].sum() > 30
    assert not letters[66:].any()
    rows = np.flatnonzero(letters.any(axis=1))
    assert abs((rows[0] + rows[-1]) / 2 - 34) < 3
    assert not letters[:, [0, -1]].any()
    np.testing.assert_array_equal(sheet[:, left:], image_sheet(images(2, 2, 32)))


def test_column_labels_stand_above_their_column():
    sheet = image_sheet(images(2, 3, 32), column_labels=["", "noise", ""])
    top = sheet.shape[0] - (2 + 2 * 66)
    columns = np.flatnonzero(dark(sheet[:top]).any(axis=0))
    assert abs((columns[0] + columns[-1]) / 2 - (2 + 66 + 32)) < 3
    assert not dark(sheet[:top])[[0, -1]].any()


def test_words_of_a_column_label_stand_one_below_the_other_where_it_is_narrow():
    narrow = image_sheet(images(1, 2, 32), column_labels=["neighbour one", "a"])
    short = image_sheet(images(1, 2, 32), column_labels=["neighbour", "a"])
    assert narrow.shape[0] > short.shape[0]
    assert narrow.shape[1] == short.shape[1]


def test_word_wider_than_its_column_is_broken_and_does_not_reach_the_next():
    sheet = image_sheet(images(1, 2, 32), column_labels=["neighbour" * 4, ""])
    columns = np.flatnonzero(dark(sheet[: sheet.shape[0] - 68]).any(axis=0))
    assert columns[-1] <= 69


def test_blank_labels_take_no_room():
    labelled = image_sheet(images(), row_labels=["", ""], column_labels=["", "", ""])
    np.testing.assert_array_equal(labelled, image_sheet(images()))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (images()[0], {}, r"\[R, C, H, W, 1 or 3\]; got uint8 \(3, 4, 4, 3\)"),
        (images() / 255, {}, "got float64"),
        (images(channels=2), {}, "1 or 3"),
        (images(rows=0), {}, "1 or 3"),
        (images(), {"row_labels": ["a"]}, "row_labels .* 2 rows; got 1"),
        (images(), {"column_labels": ["a"]}, "column_labels .* 3 columns; got 1"),
    ],
)
def test_what_is_no_sheet_is_refused(given, options, message):
    with pytest.raises(InputError, match=message):
        image_sheet(given, **options)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_pixels_and_nothing_stays_beside_it(tmp_path, channels):
    path = tmp_path / "sheet.png"
    path.write_text("before")
    image = images(channels=channels)[0, 0]
    save_png(path, image)
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    np.testing.assert_array_equal(pixels, np.broadcast_to(image, (4, 4, 3)))
    assert [found.name for found in tmp_path.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    "image", [images(), images()[0, 0] / 255, np.zeros((2, 2), np.uint8)]
)
def test_png_of_what_is_no_image_is_refused(tmp_path, image):
    with pytest.raises(InputError, match=r"uint8 \[H, W, 1 or 3\]"):
        save_png(tmp_path / "sheet.png", image)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3), (1, 1, 1)])
def test_image_survives_the_way_into_the_page(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    head, data = image_uri(image).split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as decoded:
        pixels = np.asarray(decoded.convert("RGB"))
    np.testing.assert_array_equal(pixels, np.broadcast_to(image, (*shape[:2], 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((2, 8, 8), np.uint8)}, r"\[M, H, W, 1 or 3\]"),
        ({"image": np.zeros((2, 8, 8, 4), np.uint8)}, r"\[M, H, W, 1 or 3\]"),
        ({"image": np.zeros((2, 8, 8, 1), np.float32)}, "must be uint8 .* got float32"),
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
