"""A name finds its preset, or the names that it may have meant."""

import pytest

from lars_jax import InputError
from lars_jax.runs import find_preset

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
