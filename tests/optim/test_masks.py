"""Masks and labels chosen by the paths of parameters."""

import jax.numpy as jnp
import numpy as np
import pytest

from lars_jax.optim import (
    BIAS_AND_NORM,
    exclude,
    lars,
    leaf_names,
    path_labels,
    path_mask,
    resolve_mask,
)

PARAMS = {
    "conv1": {"kernel": jnp.ones(2), "bias": jnp.ones(1)},
    "bn1": {"scale": jnp.ones(1), "bias": jnp.ones(1)},
}


def test_names_are_slash_joined_in_leaf_order_through_lists_and_tuples():
    names = ("bn1/bias", "bn1/scale", "conv1/bias", "conv1/kernel")
    assert leaf_names(PARAMS) == names
    nested = {"blocks": [jnp.ones(1), (jnp.ones(1),)]}
    assert leaf_names(nested) == ("blocks/0", "blocks/1/0")


def test_exclude_leaves_kernels_alone():
    mask = exclude(BIAS_AND_NORM)(PARAMS)
    assert mask == {
        "conv1": {"kernel": True, "bias": False},
        "bn1": {"scale": False, "bias": False},
    }


def test_pattern_does_not_match_inside_a_name():
    mask = exclude(BIAS_AND_NORM, "w$")({"unbias": 1.0, "bias": 1.0, "w": 1.0})
    assert mask == {"unbias": True, "bias": False, "w": False}


def test_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match=r"'kernal\$' matches none"):
        path_mask("kernal$")(PARAMS)


def test_first_rule_that_matches_gives_the_label():
    labels = path_labels({"^bn": "norm", "bias$": "bias", ".*": "rest"})(PARAMS)
    assert labels["bn1"]["bias"] == "norm"
    assert labels["conv1"] == {"bias": "bias", "kernel": "rest"}


def test_parameters_without_a_rule_are_listed():
    with pytest.raises(ValueError, match="'conv1/kernel'"):
        path_labels({"bias$": "bias", "scale$": "norm"})(PARAMS)


@pytest.mark.parametrize("mask", ["bias$", {"conv1": "bias", "bn1": True}, 0.5, 1])
def test_mask_of_anything_but_bools_is_refused(mask):
    with pytest.raises(ValueError, match=r"made of bools; got .*path_mask"):
        resolve_mask(mask, PARAMS)


@pytest.mark.parametrize(
    "mask", [True, None, np.True_, {"conv1": True, "bn1": True}, lambda p: True]
)
def test_any_form_of_mask_becomes_a_full_tree(mask):
    full = resolve_mask(mask, PARAMS)
    assert full == {
        "conv1": {"kernel": True, "bias": True},
        "bn1": {"scale": True, "bias": True},
    }


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        ({"zzz": True}, r"a value at \['zzz'\], where no parameter is"),
        ({"conv": {"kernel": True}}, r"no value for \['conv'\]\['bias'\]"),
        ({"conv": True}, r"no value for \['fc'\]\['kernel'\]"),
    ],
)
@pytest.mark.parametrize("name", ["trust_ratio_mask", "weight_decay_mask"])
def test_mask_of_another_form_is_refused_by_its_name(mask, told, name):
    params = {"conv": {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))}}
    params["fc"] = {"kernel": jnp.ones((2, 2))}
    tx = lars(1.0, 1e-4, **{name: mask})
    with pytest.raises(ValueError, match=f"^{name} must be one value.*; got {told}"):
        tx.update(params, tx.init(params), params)
