"""What is in a compiled step: no conditional, and few sums."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import pytest

from lars_jax.optim import group_by_module, lamb, lars
from tests.optim.forms import accelerated

PARAMS = {
    "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
    "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)},
    "fc": {"kernel": jnp.ones((4, 5)), "bias": jnp.ones(5)},
}
STACKED = {"conv": None, "norm": None, "fc": 0}
OPTIMIZERS = {
    "lars": lars(0.1, 0.1),
    "clip": lars(0.1, 0.1, variant="larc_apex_clip"),
    "momentum": lars(0.1, 0.1, variant="simclr_popular"),
    "stacked": lars(0.1, 0.1, stacked_axes=STACKED),
    "groups": lars(0.1, 0.1, layer_groups=group_by_module),
    "lamb": lamb(0.1, weight_decay=0.1),
}


def lowered(*optimizers):
    states = [jax.eval_shape(tx.init, PARAMS) for tx in optimizers]

    def step(params, states):
        both = zip(optimizers, states, strict=True)
        return [tx.update(params, state, params) for tx, state in both]

    return jax.jit(step).lower(PARAMS, states)


@pytest.mark.parametrize("form", [nullcontext, accelerated])
def test_compiled_step_has_no_conditional(form):
    with form():
        text = lowered(*OPTIMIZERS.values()).compile().as_text() or ""
    assert "multiply(" in text
    assert "conditional(" not in text
    assert "while(" not in text


def test_an_accelerator_reduces_each_matrix_and_each_length_of_vectors_once():
    with accelerated():
        text = lowered(OPTIMIZERS["lars"]).as_text()
    # Two kernels, four vectors of four entries, and one of five; of each the weights
    # and the gradient together, at three scales.
    sums = [line for line in text.splitlines() if "stablehlo.reduce(" in line]
    assert len(sums) == 4
    assert all(line.count("init:") == 6 for line in sums)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_step_is_lowered_for_a_platform_that_is_not_there(platform):
    state = jax.eval_shape(OPTIMIZERS["lars"].init, PARAMS)
    traced = jax.jit(OPTIMIZERS["lars"].update).trace(PARAMS, state, PARAMS)
    assert "init:" in traced.lower(lowering_platforms=(platform,)).as_text()
