"""Every transformation under everything that Optax, JAX and their users wrap around it.

A table of optimizers crossed with properties, as Optax tests its own aliases.
"""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportIndexIssue=false

import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

from lars_jax.optim import (
    BIAS_AND_NORM,
    STATIC_ARGUMENTS,
    VARIANTS,
    exclude,
    exclude_vectors,
    group_by_module,
    lamb,
    lars,
    lars_mlperf,
    path_mask,
    record_norms,
    scale_by_lars,
    trace,
)
from lars_jax.train.checkpoint import Checkpoints


def negated(rate: Any) -> Any:
    schedule = rate if callable(rate) else optax.constant_schedule(rate)
    return lambda count: -jnp.asarray(schedule(count))


def chained(rate, **arguments):
    return optax.chain(
        scale_by_lars(learning_rate=rate, **arguments),
        trace(0.9),
        optax.scale_by_schedule(negated(rate)),
    )


def recorded(rate):
    return optax.chain(
        record_norms(rate), trace(0.9), optax.scale_by_schedule(negated(rate))
    )


# Name to a function of the rate. Each keeps its state in a way of its own.
FACTORIES = {
    "inside": lars,
    "local inside": functools.partial(lars, variant="byol"),
    "outside": functools.partial(lars, variant="mlperf_scaled"),
    "of the momentum": functools.partial(lars, variant="simclr_popular"),
    "clipped": functools.partial(lars, variant="larc_clip"),
    "nesterov": functools.partial(lars, nesterov=True),
    "no momentum": functools.partial(lars, momentum=None),
    "no telemetry": functools.partial(lars, telemetry=False),
    "lars_mlperf": lars_mlperf,
    "chained": chained,
    "recorded": recorded,
    "lamb": lamb,
}
every_factory = pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
# The moments of optax.scale_by_adam take the dtype of the gradients.
OURS = {name: factory for name, factory in FACTORIES.items() if name != "lamb"}
every_factory_of_ours = pytest.mark.parametrize("factory", OURS.values(), ids=OURS)
# Each with another place for its buffers, where there is one.
KINDS = ("inside", "outside", "of the momentum", "no momentum", "no telemetry", "lamb")
every_kind = pytest.mark.parametrize(
    "factory", [FACTORIES[name] for name in KINDS], ids=KINDS
)
# Where each costs a compilation.
DIFFERENT = ["paper", "optax", "larc_apex_clip", "mlperf_scaled", "simclr_popular"]
some_factories = pytest.mark.parametrize(
    "factory",
    [lars, FACTORIES["of the momentum"], lamb],
    ids=["lars", "momentum", "lamb"],
)


def some_params():
    random = np.random.default_rng(0)
    return {
        "conv": {
            "kernel": jnp.asarray(random.normal(size=(3, 4)), jnp.float32),
            "bias": jnp.asarray(random.normal(size=4), jnp.float32),
        },
        "scale": jnp.ones(2),
    }


def some_gradients(seed=1):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda p: jnp.asarray(random.normal(size=p.shape), jnp.float32), some_params()
    )


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def avals(tree):
    """Return what a compiled step is keyed by: structure, shapes, dtypes, weakness."""
    return jax.tree.map(lambda x: jax.typeof(x), tree)


def assert_close(found, expected):
    """Compare leaves relative to their largest entry, which is what float32 keeps."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        largest = np.max(np.abs(b), initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * largest)


# Optimisation

# A ratio of this gradient's norm on a buffer of past ones has no bound where the
# gradient vanishes: with the usual momentum it throws the iterate back out.
SCALED = {"momentum": 0.3}
# Only what differs from the oracle of the variants: what holds the rate, and LAMB.
DESCENDING = {
    "paper": (lars, 5.0),
    "clipped": (functools.partial(lars, variant="larc_clip"), 5.0),
    "outside": (functools.partial(lars, variant="mlperf_scaled", **SCALED), 5.0),
    "of the momentum": (functools.partial(lars, variant="simclr_popular"), 5.0),
    "no momentum": (functools.partial(lars, momentum=None), 20.0),
    "lamb": (lamb, 1e-2),
    "chained": (chained, 5.0),
}


def valley(w):
    """Rosenbrock's function."""
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


@pytest.mark.parametrize(("factory", "peak"), DESCENDING.values(), ids=DESCENDING)
def test_descends_to_the_minimum(factory, peak):
    # One leaf a problem. None starts from zero, where a leaf takes the whole rate.
    target = {
        "parabola": jnp.array([1.0, -1.0, 1.0]),
        "complex": jnp.array([1.0 + 1.0j, -1.0 - 1.0j, 1.0 + 1.0j], jnp.complex64),
        "rosenbrock": jnp.ones(2),
    }
    start = {
        "parabola": jnp.array([-1.0, 10.0, 1.0]),
        "complex": jnp.array([-1.0, 10.0, 1.0], jnp.complex64),
        "rosenbrock": jnp.array([0.5, 0.5]),
    }

    def objective(w):
        parabolas = ("parabola", "complex")
        away = [jnp.sum(jnp.abs(w[name] - target[name]) ** 2) for name in parabolas]
        return sum(away) + valley(w["rosenbrock"])

    # Steps of a length that is relative to the weights end where the rate does.
    steps = 4000
    tx = factory(optax.polynomial_schedule(peak, 0.0, 2, steps))

    def step(_, carry):
        w, state = carry
        gradients = jax.tree.map(jnp.conj, jax.grad(objective)(w))
        updates, state = tx.update(gradients, state, w)
        return optax.apply_updates(w, updates), state

    run = jax.jit(lambda w: jax.lax.fori_loop(0, steps, step, (w, tx.init(w)))[0])
    found = run(start)
    for name in target:
        # As near as Optax asks of its own.
        np.testing.assert_allclose(found[name], target[name], atol=3e-2, err_msg=name)


# Types


@every_factory
def test_updates_have_the_dtype_of_the_gradients(factory):
    tx = factory(0.1)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64):
        params = cast(some_params(), dtype)
        updates, _ = jax.eval_shape(tx.update, params, tx.init(params), params)
        assert avals(updates) == avals(params), dtype


PAIRS = [
    (jnp.float32, jnp.float32),
    (jnp.bfloat16, jnp.bfloat16),
    (jnp.bfloat16, jnp.float32),
    (jnp.float32, jnp.bfloat16),
]
"""Parameters and gradients."""


RATES = {
    "number": lambda: 0.1,
    "array": lambda: jnp.float32(0.1),
    "schedule": lambda: optax.constant_schedule(0.1),
}


@every_factory_of_ours
def test_state_keeps_its_type_through_scan_and_cond(factory):
    # Tracing finds every change of type; nothing needs to be compiled.
    tx = factory(RATES["schedule"]())
    for pair in PAIRS:
        params, gradients = (cast(some_params(), dtype) for dtype in pair)
        state = tx.init(params)

        def step(state, _, params=params, gradients=gradients):
            def move(state):
                return tx.update(gradients, state, params)[1]

            return jax.lax.cond(jnp.array(True), move, lambda state: state, state), None

        after, _ = jax.eval_shape(lambda s: jax.lax.scan(step, s, length=3), state)
        assert avals(after) == avals(state), pair


@every_factory
def test_type_of_a_state_follows_from_shapes_whatever_the_rate(factory):
    params = some_params()
    states = [avals(factory(rate()).init(params)) for rate in RATES.values()]
    assert states[0] == states[1] == states[2]
    tx = factory(0.1)
    assert avals(jax.eval_shape(tx.init, params)) == states[0]
    assert avals(tx.init(jax.eval_shape(lambda: params))) == states[0]


@every_kind
def test_a_state_has_one_count(factory):
    params, gradients = some_params(), some_gradients()
    tx = factory(optax.linear_schedule(0.1, 0.2, 4))
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(gradients, state, params)
    assert optax.tree.get(state, "count") == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_buffer_keeps_the_dtype_asked_for(variant):
    for dtype, other in ((jnp.bfloat16, jnp.float32), (jnp.float32, jnp.bfloat16)):
        params = cast(some_params(), other)
        tx = lars(0.1, variant=variant, accumulator_dtype=dtype)
        _, state = jax.eval_shape(tx.update, params, tx.init(params), params)
        assert [x.dtype for x in buffers_of(state)] == [dtype]


def buffers_of(state):
    return [x for x in jax.tree.leaves(state) if x.shape == (3, 4)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_is_no_buffer_without_momentum_and_one_at_zero(variant):
    params = some_params()
    without, at_zero, injected = (
        lars(0.1, momentum=None, variant=variant),
        lars(0.1, momentum=0.0, variant=variant),
        optax.inject_hyperparams(lars, static_args=STATIC_ARGUMENTS)(
            0.1, momentum=0.0, variant=variant
        ),
    )
    assert not buffers_of(without.init(params))
    assert len(buffers_of(at_zero.init(params))) == 1
    inner = injected.init(params).inner_state
    assert avals(inner) == avals(at_zero.init(params))
    gradients = some_gradients()
    found, _ = at_zero.update(gradients, at_zero.init(params), params)
    expected, _ = without.update(gradients, without.init(params), params)
    assert_close(found, expected)


@pytest.mark.parametrize("variant", DIFFERENT)
def test_gradients_through_an_update_of_zeros_are_finite(variant):
    tx = lars(0.1, 0.01, variant=variant)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def sensitivity(w, g):
        updates, _ = tx.update(g, tx.init(w), w)
        return sum(jnp.sum(u) for u in updates.values())

    zero, one = jnp.zeros(3), jnp.ones(3)
    w = {"neither": zero, "no weights": zero, "no gradient": one}
    g = {"neither": zero, "no weights": one, "no gradient": zero}
    for leaf in jax.tree.leaves(sensitivity(w, g)):
        assert jnp.all(jnp.isfinite(leaf))


# Hyperparameters


@pytest.mark.parametrize("variant", DIFFERENT)
def test_injected_schedules_equal_the_numbers_of_each_step_and_compile_once(variant):
    numbers = {
        "learning_rate": [0.5, 0.25],
        "weight_decay": [0.1, 0.2],
        "trust_coefficient": [0.01, 0.02],
        "momentum": [0.8, 0.9],
    }
    tx = optax.inject_hyperparams(lars, static_args=STATIC_ARGUMENTS)(
        **{k: optax.linear_schedule(*v, 1) for k, v in numbers.items()},
        variant=variant,
    )
    traces = []

    @jax.jit
    def step(gradients, state, params):
        traces.append(None)
        return tx.update(gradients, state, params)

    params, gradients = some_params(), some_gradients()
    state = tx.init(params)
    inner = state.inner_state
    for t in (0, 1):
        at_hand = lars(**{k: v[t] for k, v in numbers.items()}, variant=variant)
        found, state = step(gradients, state, params)
        expected, inner = at_hand.update(gradients, inner, params)
        assert_close(found, expected)
        assert state.hyperparams["learning_rate"] == numbers["learning_rate"][t]
    assert len(traces) == 1


MASKS = {
    "path_mask": path_mask("kernel$"),
    "exclude": exclude(BIAS_AND_NORM),
    "exclude_vectors": exclude_vectors(),
    "lambda": lambda params: jax.tree.map(lambda p: p.ndim > 1, params),
    "constant": lambda params: True,
}
both_arguments = pytest.mark.parametrize(
    "argument", ["weight_decay_mask", "trust_ratio_mask"]
)


@both_arguments
def test_injected_mask_function_is_right_when_declared_static(argument):
    params, gradients = some_params(), some_gradients()
    injected = optax.inject_hyperparams(lars, static_args=STATIC_ARGUMENTS)
    for mask in MASKS.values():
        tx, plain = (make(0.1, 0.5, **{argument: mask}) for make in (injected, lars))
        found, _ = tx.update(gradients, tx.init(params), params)
        expected, _ = plain.update(gradients, plain.init(params), params)
        assert_close(found, expected)


# Integers become arrays and functions are called with the step.
NOT_STATIC = {
    "weight_decay_mask": path_mask("kernel$"),
    "trust_ratio_mask": exclude_vectors(),
    "stacked_axes": 0,
    "axis_names": lambda params: jnp.zeros(2),
    "layer_groups": group_by_module,
    "accumulator_dtype": jnp.bfloat16,
}


@pytest.mark.parametrize("factory", [lars, lars_mlperf, lamb, scale_by_lars])
def test_injected_argument_that_should_be_static_is_refused_at_once(factory):
    for argument in NOT_STATIC.keys() & inspect.signature(factory).parameters:
        tx = optax.inject_hyperparams(factory)(0.1, **{argument: NOT_STATIC[argument]})
        with pytest.raises(ValueError, match="static_args=lars_jax.STATIC_ARGUMENTS"):
            jax.jit(tx.init)(some_params())


@both_arguments
@pytest.mark.parametrize("factory", [lars, lamb, scale_by_lars])
def test_mask_functions_see_the_parameters_and_nothing_else(factory, argument):
    seen = []

    def mask(params):
        seen.append(params)
        return jax.tree.map(lambda p: p.ndim > 1, params)

    params = jax.tree.map(lambda p: jnp.full_like(p, 7.0), some_params())
    tx = factory(0.1, weight_decay=0.5, **{argument: mask})
    tx.update(some_gradients(), tx.init(params), params)
    assert seen
    for tree in seen:
        assert_close(tree, params)


OPTAX_LARS_CALLS = {
    "rate": ((0.1,), {}),
    "all positional": ((0.1, 0.2, True, 0.01, 1e-6, True, 0.8, True), {}),
    "schedules": (
        (optax.linear_schedule(0.1, 0.2, 4), optax.linear_schedule(0.1, 0.5, 4)),
        {},
    ),
    "masks": (
        (0.1, 0.2),
        {"weight_decay_mask": exclude_vectors(), "trust_ratio_mask": exclude("bias$")},
    ),
    "trees": ((0.1, 0.2, {"conv": {"kernel": True, "bias": False}, "scale": True}), {}),
    "no mask": ((0.1, 0.2, None), {}),
}


@pytest.mark.parametrize("call", OPTAX_LARS_CALLS.values(), ids=OPTAX_LARS_CALLS)
def test_every_call_of_optax_lars_is_a_call_of_ours(call):
    arguments, keywords = call
    params, gradients = some_params(), some_gradients()
    steps = []
    for tx in (
        optax.lars(*arguments, **keywords),
        lars(*arguments, **keywords, variant="optax"),
    ):
        state, moved = tx.init(params), []
        for _ in range(3):
            updates, state = tx.update(gradients, state, params, value=1.0)
            moved.append(updates)
        steps.append(moved)
    assert_close(steps[1], steps[0])


# Wrappers


@every_kind
def test_buffers_are_found_by_map_params(factory):
    # How Optax users shard a state: whatever is like the parameters takes their tree.
    params = some_params()
    state = factory(0.1).init(params)
    names = jax.tree.map_with_path(lambda path, _: jax.tree_util.keystr(path), params)
    mapped = optax.tree.map_params(
        factory(0.1),
        lambda _, name: name,
        state,
        names,
        transform_non_params=lambda x: None,
    )
    wanted = [x for x in jax.tree.leaves(state) if x.shape == (3, 4)]
    found = [x for x in jax.tree.leaves(mapped) if x == "['conv']['kernel']"]
    assert len(found) == len(wanted)


@pytest.mark.parametrize(
    "arguments",
    [
        {"stacked_axes": {"conv": 0, "scale": None}},
        {"stacked_axes": lambda params: {"conv": 0, "scale": None}},
        {"weight_decay_mask": {"conv": True, "scale": False}},
        {"trust_ratio_mask": exclude(BIAS_AND_NORM)},
        {"layer_groups": group_by_module},
        {"axis_names": {"conv": "x", "scale": None}},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_buffers_are_found_where_arguments_name_the_leaves(arguments):
    params, tx = some_params(), lars(0.1, 0.1, **arguments)
    ones = optax.tree.map_params(tx, jnp.ones_like, tx.init(params))
    assert [float(x.sum()) for x in buffers_of(ones)] == [12.0]


@every_kind
def test_masked_leaves_and_those_of_other_partitions_are_as_if_absent(factory):
    params, gradients = some_params(), some_gradients()
    tx = factory(0.1)
    masked = optax.masked(tx, {"conv": True, "scale": False})
    found, _ = masked.update(gradients, masked.init(params), params)
    alone, _ = tx.update(gradients["conv"], tx.init(params["conv"]), params["conv"])
    assert_close(found, {"conv": alone, "scale": gradients["scale"]})
    parted = optax.partition(
        {"ours": tx, "theirs": optax.sgd(1.0)}, {"conv": "ours", "scale": "theirs"}
    )
    found, _ = parted.update(gradients, parted.init(params), params)
    assert_close(found, {"conv": alone, "scale": -gradients["scale"]})


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"stacked_axes": {"conv": {"kernel": -1, "bias": 0}, "scale": None}},
        {"weight_decay_mask": {"conv": False, "scale": True}},
        {"trust_ratio_mask": exclude("bias$")},
        {"layer_groups": group_by_module},
        {"layer_groups": {"conv": "one", "scale": "two"}},
    ],
)
def test_arguments_for_the_whole_tree_fit_a_masked_part_of_it(arguments):
    params, gradients = some_params(), some_gradients()
    tx = lars(0.1, 0.1, **arguments)
    masked = optax.masked(tx, {"conv": True, "scale": False})
    found, _ = masked.update(gradients, masked.init(params), params)
    whole, _ = tx.update(gradients, tx.init(params), params)
    assert_close(found["conv"], whole["conv"])


@pytest.mark.slow
@pytest.mark.parametrize("factory", [lars, lamb])
def test_four_mini_steps_are_one_of_their_mean(factory):
    params, each = some_params(), [some_gradients(seed) for seed in range(8)]
    tx = factory(0.1)
    accumulated = optax.MultiSteps(tx, 4)
    state, expected_state = accumulated.init(params), tx.init(params)
    with jax.numpy_dtype_promotion("standard"):  # MultiSteps needs it.
        step = jax.jit(accumulated.update)
        for t, gradients in enumerate(each):
            found, state = step(gradients, state, params)
            if t % 4 == 3:
                mean = jax.tree.map(lambda *g: sum(g) / 4, *each[t - 3 : t + 1])
                expected, expected_state = tx.update(mean, expected_state, params)
                assert_close(found, expected)
            else:
                assert_close(found, optax.tree.zeros_like(params))
    assert_close(state.inner_opt_state, expected_state)


# Transformations of JAX


WRAPPERS = {
    "alone": lambda tx: tx,
    # These two return the old state as well, so that all of it reaches the step.
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_parameters_and_state_may_be_donated(wrap):
    tx, params = wrap(lars(0.1)), some_params()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, gradients):
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    first, state = params, tx.init(params)
    with jax.numpy_dtype_promotion("standard"):  # MultiSteps needs it.
        for _ in range(2):
            params, state = step(params, state, some_gradients())
    jax.block_until_ready(params)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))


# Trees


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["kernel", "bias"],
    meta_fields=["name"],
)
@dataclasses.dataclass(frozen=True)
class Module:
    """A layer as Equinox makes them: arrays beside what is no array."""

    kernel: jax.Array
    bias: jax.Array | None
    name: str = "module"

    def __call__(self, *_: Any) -> Any:
        raise AssertionError("what can be called and has leaves is a tree")


def kernel_and_bias():
    params, gradients = some_params()["conv"], some_gradients()["conv"]
    return (params["kernel"], params["bias"]), (gradients["kernel"], gradients["bias"])


TREES = {
    "tuple": lambda kernel, bias: (kernel, bias),
    "list": lambda kernel, bias: [kernel, [bias]],
    "named tuple": Layer,
    "dataclass": Module,
    "nested": lambda kernel, bias: {"a": [Layer(kernel, bias)], "b": {}, "c": None},
}


@some_factories
def test_any_tree_is_updated_as_a_dictionary_is(factory):
    tx = factory(0.1)
    params, gradients = kernel_and_bias()
    expected, _ = tx.update(gradients, tx.init(params), params)
    for make in TREES.values():
        found, _ = tx.update(make(*gradients), tx.init(make(*params)), make(*params))
        assert_close(found, make(*expected))


@pytest.mark.parametrize("make", [Layer, Module])
def test_masks_read_paths_of_attributes(make):
    params, gradients = kernel_and_bias()
    mask = exclude(BIAS_AND_NORM)
    tx = lars(1.0, trust_ratio_mask=mask, momentum=None)
    found, _ = tx.update(make(*gradients), tx.init(make(*params)), make(*params))
    np.testing.assert_allclose(found.bias, -gradients[1])
    assert jnp.abs(found.kernel).max() < 0.01


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("weight_decay_mask", (True, False)),
        ("trust_ratio_mask", (True, False)),
        ("stacked_axes", (0, None)),
        ("axis_names", (None, ())),
        ("layer_groups", ("one", "one")),
    ],
)
@pytest.mark.parametrize("factory", [lars, lamb, scale_by_lars])
def test_module_is_a_tree_for_an_argument_and_a_function_is_called(
    factory, argument, values
):
    def step(make, given):
        tx = factory(0.1, weight_decay=0.5, **{argument: given})
        params, gradients = (make(*leaves) for leaves in kernel_and_bias())
        return jax.tree.leaves(tx.update(gradients, tx.init(params), params)[0])

    expected = step(Layer, Layer(*values))
    assert_close(step(Module, Module(*values)), expected)
    assert_close(step(Module, lambda _: Module(*values)), expected)


@every_factory
def test_empty_tree_has_an_empty_update(factory):
    tx = factory(0.1)
    updates, state = tx.update({}, tx.init({}), {})
    assert updates == {}
    assert avals(state) == avals(tx.init({}))


@every_kind
def test_leaf_without_elements_is_updated_by_none(factory):
    tx, params = factory(0.1), {"empty": jnp.zeros((0, 3)), "full": jnp.ones(3)}
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["empty"].shape == (0, 3)
    assert jnp.all(jnp.isfinite(updates["full"]))


@every_kind
def test_parameter_without_gradient_is_left_alone(factory):
    params, gradients = some_params(), some_gradients()
    tx = factory(0.1)
    rest = {"conv": gradients["conv"], "scale": None}
    found, wanted = tx.init(params), tx.init(params)
    for _ in range(2):
        updates, found = tx.update(rest, found, params)
        expected, wanted = tx.update(gradients, wanted, params)
        assert updates["scale"] is None
        assert avals(found) == avals(wanted)
        assert_close(updates["conv"], expected["conv"])
    if found.trust_ratio is not None:
        assert found.trust_ratio["scale"] == 0


@every_factory_of_ours
def test_numbers_of_python_are_leaves(factory):
    tx = factory(0.1)
    found, _ = tx.update({"w": 0.5}, tx.init({"w": 2.0}), {"w": 2.0})
    w, g = {"w": jnp.float32(2.0)}, {"w": jnp.float32(0.5)}
    expected, _ = tx.update(g, tx.init(w), w)
    assert_close(found, expected)


@pytest.mark.parametrize("factory", [lars, lars_mlperf, scale_by_lars])
def test_leaf_of_integers_is_refused_by_name(factory):
    with pytest.raises(ValueError, match="counter/steps"):
        factory(0.1).init({"w": jnp.ones(2), "counter": {"steps": jnp.array(3)}})


# Frameworks


def plainly(tx, params, gradients, steps=2):
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_train_state_of_flax():
    tx, params, gradients = lars(0.1), some_params(), some_gradients()
    state = TrainState.create(apply_fn=lambda x: x, params=params, tx=tx)
    for _ in range(2):
        state = state.apply_gradients(grads=gradients)
    assert_close(state.params, plainly(tx, params, gradients))


class Dense(nnx.Module):
    def __init__(self, kernel, bias):
        self.kernel, self.bias = nnx.Param(kernel), nnx.Param(bias)


def rows_of_matrices(params):
    return jax.tree.map(lambda p: 0 if p.ndim > 1 else None, params)


@pytest.mark.parametrize(
    "tx",
    [
        lamb(0.1),
        lars(
            0.1,
            trust_ratio_mask=exclude(BIAS_AND_NORM),
            layer_groups=group_by_module,
            stacked_axes=rows_of_matrices,
        ),
    ],
)
def test_optimizer_of_nnx(tx):
    (kernel, bias), (kernel_gradient, bias_gradient) = kernel_and_bias()
    model = Dense(kernel, bias)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    def loss(model):
        return jnp.sum(model.kernel * kernel_gradient) + jnp.sum(
            model.bias * bias_gradient
        )

    for _ in range(2):
        optimizer.update(model, nnx.grad(loss)(model))
    found = {"kernel": model.kernel[...], "bias": model.bias[...]}
    expected = plainly(
        tx,
        {"kernel": kernel, "bias": bias},
        {"kernel": kernel_gradient, "bias": bias_gradient},
    )
    assert_close(found, expected)


# Checkpoints


@pytest.mark.parametrize("factory", [lars, lamb])
def test_state_is_restored_from_a_checkpoint_bit_by_bit(factory, tmp_path):
    tx, params = factory(0.1), some_params()
    _, state = tx.update(some_gradients(), tx.init(params), params)
    checkpoints = Checkpoints(tmp_path, best="top1")
    checkpoints.save(1, state, {"top1": 0.5})
    checkpoints.wait()
    restored = checkpoints.restore(1, like=tx.init(params))
    checkpoints.close()
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
