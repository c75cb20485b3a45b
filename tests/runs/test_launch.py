"""What a `train` is asked about its directory."""

import pytest

from lars_jax.runs import Launch


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, "no"),
        ({"resume": True}, "yes"),
        ({"resume_if_any": True}, "if_any"),
        ({"resume": True, "resume_if_any": True}, "if_any"),
    ],
)
def test_words_say_whether_a_run_goes_on(words, expected):
    assert Launch(**words).going_on == expected
