"""A name finds its preset, or the names that it may have meant."""

import pytest

from lars_jax import InputError
from lars_jax.runs.presets import Preset, find_preset, heading, overview

PRESETS = {"digits": 1, "digits_sgd": 2, "alexnet_bn_8k_lars": 3, "cifar_resnet20": 4}


def test_known_name_is_found():
    assert find_preset("digits_sgd", PRESETS) == 2


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("digit", "did you mean digits or digits_sgd?"),
        ("alexnet_bn_8k_lar", "did you mean alexnet_bn_8k_lars?"),
        # Too short to be near, and part of one.
        ("bn_8k", "did you mean alexnet_bn_8k_lars?"),
        ("", "choose digits, or another that `list` shows"),
        ("zzz", "choose digits, or another that `list` shows"),
    ],
)
def test_unknown_name_gets_advice_in_one_line(wrong, advice):
    with pytest.raises(InputError) as caught:
        find_preset(wrong, PRESETS)
    assert str(caught.value) == (
        f"preset must be one of the 4 known names; got {wrong!r}: {advice}"
    )


def made(name, note=""):
    return Preset(name, None, "Table 1", "90 %", "https://arxiv.org", note=note)


def test_names_are_listed_in_a_column():
    lines = overview({"a": made("a"), "longer": made("longer")})
    assert [line.index("Table 1") for line in lines] == [8, 8]


def test_note_stands_above_a_description():
    assert heading(made("a", "with warm-up"))[2:] == ["note: with warm-up", ""]
    assert heading(made("a"))[2:] == [""]
