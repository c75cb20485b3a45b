import numpy as np
import pytest
from PIL import Image

from lars_jax.errors import InputError
from lars_jax.report import image_sheet, save_png


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
    sheet = image_sheet(given, scale=3, gap=2)
    assert sheet.shape == (2 + 2 * 14, 2 + 3 * 14, 3)
    assert sheet.dtype == np.uint8
    for row in range(2):
        for column in range(3):
            y, x = 2 + 14 * row, 2 + 14 * column
            tile = sheet[y : y + 12, x : x + 12]
            for shift in range(3):
                np.testing.assert_array_equal(
                    tile[shift::3, shift::3], given[row, column]
                )
    gaps = np.ones(sheet.shape[:2], bool)
    for y in (2, 16):
        for x in (2, 16, 30):
            gaps[y : y + 12, x : x + 12] = False
    assert (sheet[gaps] == 255).all()


def test_images_need_not_be_square():
    given = images()[:, :, :3]
    sheet = image_sheet(given, scale=1, gap=0)
    assert sheet.shape == (6, 12, 3)
    np.testing.assert_array_equal(sheet[3:, 8:], given[1, 2])


def test_gray_images_are_gray():
    given = images(channels=1)
    sheet = image_sheet(given, scale=1, gap=0)
    np.testing.assert_array_equal(sheet[:4, :4], np.repeat(given[0, 0], 3, axis=-1))


@pytest.mark.parametrize(
    ("size", "scale"), [(8, 8), (28, 3), (32, 2), (48, 2), (96, 1)]
)
def test_small_images_are_enlarged_to_a_legible_size(size, scale):
    sheet = image_sheet(images(1, 1, size), gap=0)
    assert sheet.shape == (scale * size, scale * size, 3)


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


def test_word_wider_than_its_column_is_cut_and_does_not_reach_the_next():
    sheet = image_sheet(images(1, 2, 32), column_labels=["W" * 40, ""])
    columns = np.flatnonzero(dark(sheet[: sheet.shape[0] - 68]).any(axis=0))
    assert columns[-1] <= 69


def test_labels_of_several_lines_are_higher():
    one, two = (
        np.flatnonzero(
            dark(image_sheet(images(1, 1, 32), row_labels=[text])[:, :30]).any(1)
        )
        for text in ("HHHH", "HHHH\nHHHH")
    )
    assert np.ptp(two) > 1.8 * np.ptp(one)


@pytest.mark.parametrize(
    ("ground", "bright"), [((17, 22, 28), True), ((250,) * 3, False)]
)
def test_letters_stand_out_from_the_background(ground, bright):
    sheet = image_sheet(images(1, 1, 32), row_labels=["HHH"], background=ground)
    assert sheet[0, 0].tolist() == [*ground]
    label = sheet[:, : sheet.shape[1] - 68].astype(int).mean(axis=-1)
    most = label.max() - ground[0] if bright else ground[0] - label.min()
    assert most > 150


def test_blank_labels_take_no_room():
    labelled = image_sheet(images(), row_labels=["", ""], column_labels=["", "", ""])
    np.testing.assert_array_equal(labelled, image_sheet(images()))


def test_same_images_give_the_same_sheet():
    one, other = (image_sheet(images(), row_labels=["a", "b"]) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (images()[0], {}, r"\[R, C, H, W, 1 or 3\]; got uint8 \(3, 4, 4, 3\)"),
        (images() / 255, {}, "got float64"),
        (images(channels=2), {}, "1 or 3"),
        (images(rows=0), {}, "1 or 3"),
        (images(), {"row_labels": ["a"]}, "row_labels .* 2 rows; got 1"),
        (images(), {"column_labels": ["a"]}, "column_labels .* 3 columns; got 1"),
        (images(), {"scale": 0}, "scale 1 or more"),
        (images(), {"gap": -1}, "gap must be 0 or more"),
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


def test_same_pixels_give_the_same_file(tmp_path):
    for name in "ab":
        save_png(tmp_path / name, images()[0, 0])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "image", [images(), images()[0, 0] / 255, np.zeros((2, 2), np.uint8)]
)
def test_png_of_what_is_no_image_is_refused(tmp_path, image):
    with pytest.raises(InputError, match=r"uint8 \[H, W, 1 or 3\]"):
        save_png(tmp_path / "sheet.png", image)
    assert not [*tmp_path.iterdir()]
