"""Every preset of normals at its full size, typed by what it computes."""

from functools import partial

import jax
import pytest

from experiments.transitive.normals.ahead import batch_shapes
from experiments.transitive.normals.presets import PRESETS
from experiments.transitive.normals.program import drawn_state, train_step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PRESETS)
def test_full_size_step_keeps_every_shape_of_the_state(name):
    config = PRESETS[name].config
    state = jax.eval_shape(partial(drawn_state, config))
    shared = {"key": jax.eval_shape(lambda: jax.random.key(0))}
    step = partial(train_step, config)
    after, metrics = jax.eval_shape(step, state, batch_shapes(config), shared)
    assert after == state
    assert metrics["accuracy"].shape == ()
