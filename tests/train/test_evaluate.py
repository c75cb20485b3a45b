"""Every example is counted once, or the evaluation fails."""

import jax.numpy as jnp
import pytest

from lars_jax.train import Interrupted, evaluate


def sums(batch):
    values, mask = batch
    return {"loss": jnp.sum(jnp.where(mask, values, 0.0)), "count": jnp.sum(mask)}


def test_padding_adds_nothing():
    batches = [
        (jnp.array([1.0, 2.0]), jnp.array([True, True])),
        (jnp.array([6.0, 99.0]), jnp.array([True, False])),
    ]
    assert evaluate(sums, batches, expected=3) == {"loss": 3.0, "count": 3.0}


@pytest.mark.parametrize("expected", [1, 3])
def test_count_that_is_not_the_data_sets_fails(expected):
    batches = [(jnp.array([1.0, 2.0]), jnp.array([True, True]))]
    with pytest.raises(RuntimeError, match=f"counted 2 of {expected}"):
        evaluate(sums, batches, expected=expected)


def test_many_batches_are_summed_in_float64():
    batches = [
        (jnp.array([1e8 if i == 0 else 1.0]), jnp.array([True])) for i in range(65)
    ]
    assert evaluate(sums, batches, expected=65)["loss"] == (1e8 + 64) / 65


def test_evaluation_that_is_asked_to_stop_does():
    asked = iter([False, True])
    counted = []

    def step(batch):
        counted.append(batch)
        return {"count": jnp.array(1)}

    with pytest.raises(Interrupted):
        evaluate(step, [1, 2, 3], expected=3, should_stop=lambda: next(asked))
    assert counted == [1]
