"""The benchmark of optimizer steps: its shapes, its facts and PyTorch's arithmetic."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.common import networks
from benchmarks.common.compiled import compile_afresh, kernels
from benchmarks.optimizer.programs import OPTAX, OURS, SGD
from benchmarks.optimizer.step import Settings, describe, measure
from lars_jax import lars
from lars_jax.errors import InputError

SHAPES = {
    "kernel": jax.ShapeDtypeStruct((8, 4), jnp.float32),
    "bias": jax.ShapeDtypeStruct((4,), jnp.float32),
}


def test_vgg16_has_its_published_size():
    shapes = networks.shapes("vgg16")
    assert networks.count(shapes) == 138_357_544
    assert len(jax.tree.leaves(shapes)) == 32


def test_facts_count_kernels_and_donated_memory():
    square = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    compiled, facts = compile_afresh(lambda x: x * 2, (square,), donate=(0,), times=2)
    assert facts["compile_seconds"]["n"] == 2
    assert facts["kernels"] == 1
    assert facts["argument_bytes"] == 64 * 64 * 4
    np.testing.assert_array_equal(compiled(jnp.ones((64, 64))), 2.0)


@pytest.mark.slow
def test_all_programs_are_timed_against_sgd_and_optax():
    settings = Settings(rounds=2, steps=1, compiles=1, stream_megabytes=1, torch=False)
    # Optax's own LAMB raises a float to an integer power.
    with jax.numpy_dtype_promotion("standard"):
        found = measure(settings, SHAPES, {})
    assert found["parameters"] == 36
    assert found["programs"][SGD]["over_sgd"]["values"] == [1.0, 1.0]
    assert found["programs"][OPTAX]["over_optax_lars"]["values"] == [1.0, 1.0]
    assert found["programs"][OURS]["seconds"]["n"] == 2
    assert found["floors"]["7N"]["bytes"] == 7 * 4 * 36
    assert "floor 5N" in describe("fake", found)


@pytest.mark.parametrize("name", ["LarsByTensor", "LarsByList"])
def test_lars_in_torch_takes_our_steps(name):
    pytest.importorskip("torch", exc_type=ImportError)
    from benchmarks.optimizer import torch_optimizers

    rng = np.random.default_rng(0)
    params = [rng.normal(size=s).astype(np.float32) for s in ((5, 4), (4,))]
    gradients = [rng.normal(size=p.shape).astype(np.float32) for p in params]
    torch = torch_optimizers.torch
    tensors = [torch.tensor(param) for param in params]
    theirs = getattr(torch_optimizers, name)(tensors, rate=10.0, decay=0.1)
    tx = lars(10.0, 0.1, variant="larc_apex_scale")
    ours = [jnp.asarray(param) for param in params]
    state, step = tx.init(ours), jax.jit(tx.update)
    for _ in range(5):
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        updates, state = step([jnp.asarray(g) for g in gradients], state, ours)
        ours = optax.apply_updates(ours, updates)
    for a, b, start in zip(ours, tensors, params, strict=True):
        moved = np.abs(np.asarray(a) - start).max()
        assert np.abs(np.asarray(a) - b.numpy()).max() <= 1e-5 * moved


def test_kernels_of_many_results_are_counted():
    # Every fifth part of a type in parentheses comes after its number.
    results = "f32[], f32[], f32[], f32[], f32[], /*index=5*/f32[]"
    text = (
        "ENTRY %main (p: f32[4]) -> f32[] {\n"
        "  %p = f32[4] parameter(0)\n"
        f"  %f = ({results}) fusion(%p), kind=kLoop, calls=%body\n"
        "  ROOT %g = f32[] get-tuple-element(%f), index=5\n"
        "}\n"
    )
    assert kernels(text) == 1


def test_rounds_are_whole_calls_of_known_programs():
    with pytest.raises(InputError, match="5 steps of 2 a call"):
        measure(Settings(steps=5, inside=2), SHAPES, {})
    with pytest.raises(InputError, match="no program is called sdg"):
        measure(Settings(only=("sdg",)), SHAPES, {})
