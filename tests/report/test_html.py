import re

import numpy as np
import pytest

from lars_jax.report import CURVES, curve_figure
from lars_jax.report.html import (
    inline_svg,
    measured,
    measurement_table,
    plain,
    section,
    settings_table,
    text,
)
from lars_jax.report.style import PALETTE
from tests.report.support import Page, evaluation, training

HOSTILE = "<script>alert('x')</script> & \"quoted\""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (0.0, "0"),
        (-0.5, "-0.500"),
        (1.867, "1.87"),
        (507.4, "507"),
        (999.4, "999"),
        (999.9, "1,000"),
        (1345.0, "1,345"),
        (2e7, "2.00e+07"),
    ],
)
def test_measurements_have_three_digits(value, shown):
    assert measured(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (False, "no"),
        (np.bool_(True), "yes"),
        (np.int64(60965224), "60,965,224"),
        (np.float32(0.5), "0.5"),
        ([], ""),
        (("a", None), "a, none"),
    ],
)
def test_settings_read_like_words(value, shown):
    assert plain(value) == shown


def test_text_of_any_origin_is_escaped():
    page = Page(
        section(HOSTILE, text("p", HOSTILE, title=HOSTILE))
        + settings_table({HOSTILE: HOSTILE, "part": {HOSTILE: [HOSTILE]}})
        + measurement_table([(HOSTILE, 1)], [HOSTILE], [(HOSTILE, [1.0])])
    )
    assert page.tags["script"] == 0
    assert page.texts.count(HOSTILE) == 9
    assert ("p", "title", HOSTILE) in page.attributes


def test_nested_settings_stand_under_the_path_of_their_section():
    page = Page(settings_table({"a": {"b": {"c": 1}, "d": 2}, "e": 3}))
    assert page.texts == ["e", "3", "a", "d", "2", "a.b", "c", "1"]


def test_empty_section_is_a_setting_without_a_value():
    assert Page(settings_table({"a": {}})).texts == ["a", "{}"]


def test_table_of_measurements_heads_every_column():
    page = Page(
        measurement_table(
            [("", 1), ("step 1", 2)], ["p", "w", "g"], [("x", [1.0, 2.0])]
        )
    )
    assert page.texts == ["step 1", "p", "w", "g", "x", "1.00", "2.00"]
    assert ("th", "colspan", "2") in page.attributes


def loss(name: str, about: str) -> str:
    rows = [*training(9), evaluation(9, 0.9)]
    return inline_svg(curve_figure(rows, CURVES[0]), name, about)


@pytest.fixture(scope="module")
def svg() -> str:
    return loss("loss", "a < b")


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
    identifiers = [set(re.findall(r'\bid="([^"]*)"', loss(n, ""))) for n in "ab"]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]


def test_same_figure_gives_the_same_element(svg):
    assert loss("loss", "a < b") == svg
