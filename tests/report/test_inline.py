import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from lars_jax.report import loss_figure
from lars_jax.report.inline import image_uri, inline_svg
from lars_jax.report.style import PALETTE
from tests.report.support import Page, evaluation, training


@pytest.fixture
def svg() -> str:
    return inline_svg(loss_figure([*training(9), evaluation(9, 0.9)]), "loss", "a < b")


def test_svg_is_one_well_formed_element(svg):
    page = Page(svg)
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert page.tags["svg"] == 1


def test_svg_names_nothing_outside_itself(svg):
    assert "://" not in svg
    references = re.findall(r'(?:href="|url\()([^")]*)', svg)
    identifiers = set(re.findall(r'\bid="([^"]*)"', svg))
    assert references
    for reference in references:
        assert reference.startswith("#")
        assert reference[1:] in identifiers


def test_svg_has_no_colour_but_variables_of_the_page(svg):
    assert not [colour for colour in PALETTE.values() if colour.light in svg]
    used = set(re.findall(r"var\(--(\w+)\)", svg))
    assert {"blue", "orange", "muted"} <= used <= set(PALETTE)


def test_svg_text_is_text(svg):
    assert {"Loss", "training", "evaluation", "step"} <= set(Page(svg).texts)


def test_svg_has_a_description_for_those_who_cannot_see_it(svg):
    assert ("svg", "aria-label", "a < b") in Page(svg).attributes


def test_identifiers_of_two_figures_do_not_meet():
    one, other = (inline_svg(loss_figure(training(9)), name, "") for name in "ab")
    identifiers = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (one, other)]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]


def test_same_figure_gives_the_same_element(svg):
    again = inline_svg(loss_figure([*training(9), evaluation(9, 0.9)]), "loss", "a < b")
    assert again == svg


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3), (1, 1, 1)])
def test_image_survives_the_way_into_the_page(shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    head, data = image_uri(image).split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as decoded:
        pixels = np.asarray(decoded.convert("RGB"))
    np.testing.assert_array_equal(pixels, np.broadcast_to(image, (*shape[:2], 3)))
