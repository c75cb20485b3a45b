import io
import math
import re
import warnings

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lars_jax.data.decode import (
    _central_box,
    crop_box,
    decode_image,
    resize_image,
)
from lars_jax.errors import InputError
from tests.data.support import encoded

# As `decode` sets it for users; pytest begins each test with filters of its own.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

RGB = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


def decode(data, channels=3):
    return decode_image(data, channels=channels, where="the test image")


def test_lossless_image_is_returned_exactly():
    np.testing.assert_array_equal(decode(encoded(RGB)), RGB)


def test_grey_file_read_as_rgb_has_three_equal_channels():
    grey = RGB[..., 0]
    np.testing.assert_array_equal(decode(encoded(grey)), np.stack([grey] * 3, -1))


def test_grey_file_read_as_grey_has_one_channel():
    grey = RGB[..., 0]
    np.testing.assert_array_equal(decode(encoded(grey), 1), grey[..., None])


def test_cmyk_jpeg_becomes_rgb():
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, "JPEG", quality=100)
    red, green, blue = decode(file.getvalue())[8, 8].tolist()
    assert red > 250
    assert max(green, blue) < 5


def picture(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_transparent_palette_is_laid_on_white():
    image = Image.fromarray(RGB).quantize(8)
    alpha = np.array([0, 128] + [255] * 6)[np.asarray(image)][..., None] / 255
    shown = alpha * np.asarray(image.convert("RGB")) + (1 - alpha) * 255
    found = decode(picture(image, transparency=bytes([0, 128] + [255] * 6)))
    np.testing.assert_allclose(found, shown, atol=1)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (0, 51), (204, 204, 204)),
    ],
)
def test_colour_under_alpha_does_not_show(mode, colour, seen):
    data = picture(Image.new(mode, (3, 2), colour))
    assert decode(data)[1, 2].tolist() == list(seen)
    assert decode(data, 1).shape == (2, 3, 1)


@pytest.mark.parametrize("transparent", [(10, 20, 30), (1, 2, 3)])
def test_a_transparent_colour_is_laid_on_white(transparent):
    data = picture(Image.new("RGB", (2, 2), (10, 20, 30)), transparency=transparent)
    shown = [255] * 3 if transparent == (10, 20, 30) else [10, 20, 30]
    assert decode(data)[0, 0].tolist() == shown


ORIENTED = {1: RGB, 3: RGB[::-1, ::-1], 6: np.rot90(RGB, -1), 8: np.rot90(RGB)}
ORIENTED |= {2: RGB[:, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1)}
ORIENTED |= {7: RGB.swapaxes(0, 1)[::-1, ::-1]}


@pytest.mark.parametrize("tag", sorted(ORIENTED))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_picture_is_turned_as_its_camera_says(tag, format):
    exif = Image.Exif()
    exif[0x0112] = tag
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = picture(Image.fromarray(RGB), format, exif=exif, **lossless)
    np.testing.assert_array_equal(decode(data), ORIENTED[tag])


@pytest.mark.parametrize("exif", [b"Exif\0\0damaged", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_tags_do_not_cost_the_picture(exif):
    data = picture(Image.fromarray(np.tile(RGB, (8, 8, 1))), "JPEG", exif=exif)
    assert decode(data).shape == (16, 32, 3)


def test_enormous_picture_is_refused_by_name():
    wide = Image.new("1", (20_000, 10_000))
    with pytest.raises(InputError, match=r"the test image is not \(.*exceeds limit"):
        decode(picture(wide))


def test_large_picture_is_decoded_without_a_warning():
    # Above half of that limit Pillow only warns.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=r"PIL\.")
        assert decode(picture(Image.new("1", (10_000, 9_000))), 1).shape[0] == 9_000


def test_bitmap_with_a_damaged_header_is_refused_by_name():
    data = bytearray(picture(Image.fromarray(np.tile(RGB, (8, 8, 1))), "BMP"))
    data[20] = data[24] = 255
    with pytest.raises(InputError, match="the test image is not"):
        decode(bytes(data))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_a_picture_or_one_line(drawn):
    """Whatever happens to a file, it is a picture or an error of ours."""
    format = drawn.draw(st.sampled_from(sorted(WHOLE_FILES)))
    data = bytearray(WHOLE_FILES[format])
    for place in drawn.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] = drawn.draw(st.integers(0, 255))
    data = bytes(data[: drawn.draw(st.integers(0, len(data)))])
    try:
        found = decode(data).shape[-1]
    except InputError as error:
        found = str(error)
    assert found == 3 or re.fullmatch("An image must .*; the test image .*", str(found))


FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM")
FORMATS += ("QOI", "TGA", "TIFF", "WEBP")
WHOLE_FILES = {
    format: picture(Image.fromarray(np.tile(RGB, (8, 4, 1))), format)
    for format in FORMATS
}


def test_truncated_jpeg_is_refused_by_name():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(noise, "JPEG")
    with pytest.raises(InputError, match="the test image is not .*truncated"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(RGB)[:40]])
def test_what_is_no_image_is_refused_by_name(data):
    with pytest.raises(InputError, match=r"the test image is not \([^<]*\): replace"):
        decode(data)


def test_sixteen_bit_image_is_refused_rather_than_clipped():
    deep = np.full((4, 4), 40000, np.uint16)
    with pytest.raises(InputError, match="8 bits a channel; the test image has mode I"):
        decode(encoded(deep))


def test_resize_averages_rather_than_samples():
    checks = np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 255
    small = resize_image(checks[..., None], 8)
    assert small.shape == (8, 8, 1)
    assert np.abs(small.astype(int) - 127).max() <= 16


def test_resize_to_its_own_size_changes_nothing():
    image = np.zeros((5, 5, 3), np.uint8)
    assert resize_image(image, 5) is image


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(37, 50, 16), (50, 37, 16), (34, 50, 33), (20, 21, 40), (16, 100, 16), (9, 9, 4)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_middle_is_cut_as_from_an_image_whose_short_side_is_resized(
    height, width, size, channels
):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, channels)).astype(np.uint8)
    short = min(height, width)
    lengths = [size * length // short for length in (width, height)]
    squeezed = image[..., 0] if channels == 1 else image
    whole = Image.fromarray(squeezed).resize(lengths, Image.Resampling.BILINEAR)
    left, top = (round((length - size) / 2) for length in lengths)
    expected = np.asarray(whole)[top : top + size, left : left + size]
    found = resize_image(image, size, fit="short_side").reshape(expected.shape)
    # Both are rounded, between passes and at the end.
    np.testing.assert_allclose(found, expected.astype(int), atol=1)


def test_a_square_is_the_same_either_way():
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    short_side = resize_image(image, 5, fit="short_side")
    np.testing.assert_array_equal(short_side, resize_image(image, 5))


@pytest.mark.parametrize(("channels", "size"), [(2, 4), (3, 0)])
def test_impossible_resize_is_refused(channels, size):
    with pytest.raises(InputError, match="Resizing takes 1 or 3 channels"):
        resize_image(np.zeros((5, 5, channels), np.uint8), size)


def boxes(height, width, count):
    found = [
        crop_box(height, width, seed=0, epoch=0, example=example)
        for example in range(count)
    ]
    return np.array(found)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (375, 500), (500, 100)])
def test_random_boxes_lie_inside_the_image_within_area_and_aspect(height, width):
    left, top, right, bottom = boxes(height, width, 500).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= width
    assert bottom.max() <= height
    area = (right - left) * (bottom - top) / (height * width)
    aspect = (right - left) / (bottom - top)
    # Whole pixels move a side by half a pixel at most: 1 % of the smallest sides here.
    assert area.min() > 0.08 * 0.97
    assert aspect.min() > 3 / 4 * 0.98
    assert aspect.max() < 4 / 3 * 1.02


def test_random_boxes_have_the_published_distribution():
    left, top, right, bottom = boxes(4000, 4000, 3000).T
    area = (right - left) * (bottom - top) / 4000**2
    log_aspect = np.log((right - left) / (bottom - top))
    # A box of more than 3/4 of a square may not fit; below, nothing is drawn again.
    small = area[area < 0.7]
    assert small.mean() == pytest.approx((0.08 + 0.7) / 2, abs=0.01)
    bound = math.log(4 / 3)
    spread = log_aspect[area < 0.7].std()
    assert spread == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert log_aspect[area < 0.7].mean() == pytest.approx(0, abs=0.015)


def test_box_depends_on_each_of_seed_epoch_and_example():
    def box(**changes):
        words = {"seed": 0, "epoch": 0, "example": 0} | changes
        return crop_box(300, 300, **words)

    assert box() == box()
    assert len({box(), box(seed=1), box(epoch=1), box(example=1)}) == 4


def test_image_that_no_draw_fits_is_cropped_to_the_nearest_aspect():
    assert _central_box(10, 100) == (43, 0, 56, 10)
    assert _central_box(100, 9) == (0, 44, 9, 56)
    assert _central_box(1, 1) == (0, 0, 1, 1)


def test_one_pixel_can_be_cropped():
    assert crop_box(1, 1, seed=0, epoch=0, example=0) == (0, 0, 1, 1)


def soft(height, width, seed=0):
    """Return a picture without hard edges, which no scale changes much."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_whole_jpeg_is_that_of_pillow_to_the_bit(mode, options):
    data = picture(soft(61, 83).convert(mode), "JPEG", quality=80, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(data), expected)


@pytest.fixture
def scales(monkeypatch):
    """Return a list that gets height and width of all that simplejpeg decodes."""
    seen, original = [], simplejpeg.decode_jpeg

    def decode_jpeg(*arguments, **options):
        found = original(*arguments, **options)
        seen.append(found.shape[:2])
        return found

    monkeypatch.setattr(simplejpeg, "decode_jpeg", decode_jpeg)
    return seen


# Eighths of 80 x 120; seven are not used.
@pytest.mark.parametrize(
    ("size", "eighths"),
    [(1, 1), (10, 1), (11, 2), (50, 5), (60, 6), (61, 8), (80, 8), (200, 8)],
)
def test_jpeg_is_decoded_at_the_next_eighth(scales, size, eighths):
    data = picture(soft(80, 120), "JPEG", quality=95)
    found = decode_image(data, channels=3, where="the test image", size=size)
    assert found.shape == (size, size, 3)
    assert scales == [(10 * eighths, 15 * eighths)]


@pytest.mark.parametrize("fit", ["warp", "short_side"])
@pytest.mark.parametrize("tag", sorted(ORIENTED))
@pytest.mark.parametrize(
    ("sides", "stored"),
    # Of 71 and 109 rows and columns five eighths are 44.4 and 68.1.
    [((80, 120), (50, 75)), ((71, 109), (45, 69))],
)
def test_smaller_jpeg_is_turned_and_looks_the_same(scales, sides, stored, tag, fit):
    tags = Image.Exif()
    tags[0x0112] = tag
    data = picture(soft(*sides), "JPEG", quality=95, exif=tags)
    whole = resize_image(decode(data), 42, fit=fit).astype(float)
    file = io.BytesIO(data)
    small = decode_image(file, channels=3, where="the test image", size=42, fit=fit)
    assert scales == [sides, stored]
    assert 10 * np.log10(255**2 / np.mean((whole - small) ** 2)) > 44


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_other_files_are_decoded_whole(format):
    data = picture(
        soft(80, 120), format, **({"lossless": True} if format == "WEBP" else {})
    )
    found = decode_image(data, channels=3, where="the test image", size=30)
    np.testing.assert_array_equal(found, resize_image(decode(data), 30))
