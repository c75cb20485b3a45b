import numpy as np
import pytest

from lars_jax.report.markup import (
    measured,
    measurement_table,
    plain,
    section,
    settings_table,
    text,
)
from tests.report.support import Page

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
