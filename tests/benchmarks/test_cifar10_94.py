"""The recipe for 94 % of CIFAR-10, part by part, and a small training of it."""

# Optax types every tree as a union of all that a tree may be.
# pyright: reportArgumentType=false

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.common import records
from benchmarks.lars import cifar10_94 as bench
from benchmarks.lars import cifar10_94_network as network
from benchmarks.lars import cifar10_94_recipe as recipe
from lars_jax.data import ArraySource, ImageArrays
from lars_jax.errors import InputError

COUNT = 150
vary = jax.jit(recipe.vary)

TINY = ["--batch", "32", "--width", "0.1", "--epochs", "9.9", "--seeds", "1"]


def generated(seed: int, count: int) -> ArraySource:
    """Return images whose class is a colour and a direction of stripes."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 10, count, np.int32)
    image = rng.integers(0, 40, (count, 16, 16, 3), np.uint8)
    for one, own in zip(image, label, strict=True):
        striped = one[::2] if own % 2 else one[:, ::2]
        striped[..., own // 2 % 3] += np.uint8(100 + 20 * (own // 2))
    return ArraySource("generated", tuple("0123456789"), image, label)


@pytest.fixture
def splits(monkeypatch, tmp_path):
    """Put generated images in the place of CIFAR-10, and records aside."""
    counts = {"train": 256, "test": 60}

    def load(dataset: str, split: str) -> ArraySource:
        assert dataset == "cifar10"
        return generated(len(split), counts[split])

    monkeypatch.setattr(bench, "load_source", load)
    monkeypatch.setattr(records, "RECORDS", tmp_path)


def test_whitened_patches_have_the_identity_as_their_covariance(key):
    noise = np.asarray(jax.random.normal(key, (64, 9, 9, 3)), np.float64)
    # Neighbours and channels that go together, as those of pictures do.
    images = noise[:, 1:, 1:] + noise[:, :-1, :-1] + 3 * noise[:, 1:, 1:, :1]
    kernel = network.whitening(jnp.asarray(images, jnp.float32))
    assert kernel.shape == (2, 2, 3, 24)
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    columns = np.asarray(kernel, np.float64).reshape(12, 24)
    found = patches @ columns[:, :12]
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(12), atol=2e-3)
    np.testing.assert_array_equal(columns[:, 12:], -columns[:, :12])
    sizes = np.square(columns[:, :12]).sum(axis=0)
    assert (np.diff(sizes) > 0).all(), "the largest variance comes first"


@pytest.mark.parametrize("features", [3, 5, 9])
def test_identity_passes_its_input_through(key, features):
    kernel = network.identity(key, (3, 3, 5, features))
    assert kernel.shape == (3, 3, 5, features)
    images = jax.random.normal(jax.random.key(1), (2, 6, 6, 5))
    passed = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    own = min(5, features)
    np.testing.assert_array_equal(passed[..., :own], images[..., :own])
    drawn = np.abs(kernel[..., own:])
    assert (drawn <= 1 / np.sqrt(45)).all()
    assert drawn.size == 0 or drawn.max() > 0.9 / np.sqrt(45)


@pytest.mark.slow
def test_images_are_crops_of_their_reflection_mirrored_in_every_second_epoch(key):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6, 3), np.uint8)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    index = jnp.arange(COUNT, dtype=jnp.int32) + 1000

    def ways(epoch: int) -> np.ndarray:
        """Return rows and columns moved, and whether mirrored, [COUNT, 3]."""
        varied = np.asarray(vary(images, index, jnp.int32(epoch), key))
        cases = list(np.ndindex(5, 5, 2))
        same = np.stack(
            [
                (varied[:, :, :: 1 - 2 * mirror] == padded[:, i : i + 6, j : j + 6])
                .reshape(COUNT, -1)
                .all(axis=1)
                for i, j, mirror in cases
            ]
        )
        assert (same.sum(axis=0) == 1).all()
        return np.array(cases)[same.argmax(axis=0)]

    first, second, third = (ways(epoch) for epoch in range(3))
    for found in (first, second, third):
        assert len({(i, j) for i, j, _ in found}) == 25
    assert (first[:, 2] + second[:, 2] == 1).all()
    np.testing.assert_array_equal(first[:, 2], third[:, 2])
    assert 0.3 < first[:, 2].mean() < 0.7
    assert (first[:, :2] != third[:, :2]).any()


def test_an_example_is_varied_by_its_number_not_by_its_place(key):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6, 3), np.uint8)
    index, epoch = jnp.arange(COUNT, dtype=jnp.int32), jnp.int32(3)
    forward = vary(images, index, epoch, key)
    backward = vary(images[::-1], index[::-1], epoch, key)
    np.testing.assert_array_equal(backward, forward[::-1])


@pytest.mark.parametrize(
    ("step", "share"),
    # Up over 109 steps by 0.8, down over 367 by 0.93.
    [(0, 0.2), (50, 0.566972), (109, 1.0), (300, 0.515995), (475, 0.072534)],
)
def test_triangle_of_the_published_length(step, share):
    found = recipe.triangle(jnp.int32(step), 476)
    np.testing.assert_allclose(found, share, rtol=1e-5)


@pytest.mark.parametrize(
    ("done", "slow", "fast"),
    [
        (4, 1.0, 3.0),
        (5, 2.806555, 2.806555),  # 0.95^5 / 2^3 = 0.096723 of the way back.
        (10, 1.452438, 1.452438),  # 0.95^5 = 0.773781.
    ],
)
def test_lookahead_averages_every_fifth_step(done, slow, fast):
    start = {"w": jnp.array([1.0])}, {"w": jnp.array([3.0])}
    found = recipe.lookahead(*start, jnp.int32(done), 10)
    np.testing.assert_allclose([tree["w"][0] for tree in found], [slow, fast], 1e-6)


def test_lookahead_ends_at_the_average():
    slow, fast = recipe.lookahead(jnp.array(1.0), jnp.array(3.0), jnp.int32(7), 7)
    assert (slow, fast) == (1.0, 1.0)


def test_full_network_has_the_published_layers():
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = network.network(10).init
    params, statistics = jax.eval_shape(init, jax.random.key(0), images)
    convolutions = [(24, 64), (64, 64), (64, 256), *[(256, 256)] * 3]
    kernels = [(2, 2, 3, 24), *((3, 3, *pair) for pair in convolutions), (256, 10)]
    biases = [(24,), *[(64,)] * 2, *[(256,)] * 4]
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(params))
    assert shapes == sorted(kernels + biases)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1_971_640
    sizes = [leaf.shape for leaf in jax.tree.leaves(statistics)]
    assert sorted(sizes) == sorted(2 * biases[1:])


PARAMS = {
    "whitening": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.full(3, 0.5)},
    "group1": {
        "conv1": {"kernel": jnp.array([[3.0, 4.0]])},
        "norm1": {"bias": jnp.array([0.25])},
    },
    "head": {"kernel": jnp.array([[1.0], [-2.0]])},
}


@cache
def stepper(name: recipe.Optimizer) -> Any:
    """Return initial state, and a compiled step under a constant gradient."""

    def make(rate: Any) -> optax.GradientTransformation:
        return recipe.make_optimizer(name, rate, batch=512, steps=8, bias_steps=2)

    @jax.jit
    def step(state: Any, params: Any, rate: Any, gradient: Any) -> Any:
        gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, gradient), params)
        updates, state = make(rate).update(gradients, state, params)
        return state, optax.apply_updates(params, updates)

    return make(0.0).init(PARAMS), step


def trained(name: recipe.Optimizer, rate: float, gradient: float, steps: int) -> list:
    """Return the parameters before the first step and after each."""
    state, step = stepper(name)
    found = [PARAMS]
    for _ in range(steps):
        state, params = step(state, found[-1], rate, gradient)
        found.append(params)
    return found


@pytest.mark.parametrize("name", ["nesterov", "lars"])
def test_whitening_is_frozen_and_its_bias_after_a_while(name):
    found = trained(name, 4.0, 0.1, 4)
    for before, after in zip(found, found[1:], strict=False):
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
        assert not moved["whitening"].pop("kernel")
        early = after is not found[3] and after is not found[4]
        assert moved.pop("whitening") == {"bias": early}
        assert all(jax.tree.leaves(moved))


def test_nesterov_takes_the_steps_of_the_recipe_in_torch():
    found = trained("nesterov", 11.5, 0.1, 4)
    # There the loss is summed, and decay is divided by the rate of its own group.
    scale = 1024 * (1 + 1 / (1 - 0.85))
    rate, decay = 11.5 / scale, 0.0153 * 512 / scale
    # The peak of 8 steps comes after one.
    shares = [0.2, 1.0, 1 - 0.93 / 7, 1 - 0.93 * 2 / 7]
    for factor, path in ((1, ("head", "kernel")), (64, ("group1", "norm1", "bias"))):
        leaves = []
        for params in found:
            for name in path:
                params = params[name]
            leaves.append(np.asarray(params, np.float64))
        w, buffer = leaves[0], 0.0
        for share, leaf in zip(shares, leaves[1:], strict=True):
            g = 512 * 0.1 + decay / (factor * rate) * w
            buffer = 0.85 * buffer + g
            w = w - factor * rate * share * (g + 0.85 * buffer)
            np.testing.assert_allclose(leaf, w, rtol=2e-6)


def test_lars_moves_kernels_by_a_share_of_their_size_and_biases_as_nesterov_does():
    ours, theirs = trained("lars", 10.0, 1e4, 1)[1], trained("nesterov", 11.5, 1e4, 1)
    # With so large a gradient decay is next to nothing.
    for path in ("group1", "conv1"), ("head",):
        before, after = PARAMS, ours
        for name in path:
            before, after = before[name], after[name]
        size = np.linalg.norm(before["kernel"])
        step = np.linalg.norm(after["kernel"] - before["kernel"])
        np.testing.assert_allclose(step / size, 10.0 * 0.001 * 0.2 * 1.85, rtol=1e-4)
    biases = [tree["group1"]["norm1"]["bias"] for tree in (ours, theirs[1])]
    np.testing.assert_array_equal(*biases)


def test_loss_is_that_of_smoothed_labels():
    logits, labels = jnp.array([[2.0, 0.0], [0.0, 0.0]]), jnp.array([0, 1])
    chances = np.log([np.exp(2) / (1 + np.exp(2)), 1 / (1 + np.exp(2))])
    expected = (-(0.9 * chances[0] + 0.1 * chances[1]) + np.log(2)) / 2
    np.testing.assert_allclose(recipe.loss(logits, labels), expected, rtol=1e-6)


def test_six_views_count_as_published():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)))

    def corner(images: jax.Array) -> jax.Array:
        return images[:, 0, 0]

    np.testing.assert_array_equal(
        network.average_views(corner, images, "one"), images[:, 0, 0]
    )
    # Moved by a pixel either way, reflection puts the middle into the corner.
    np.testing.assert_allclose(
        network.average_views(corner, images, "six"),
        (images[:, 0, 0] + images[:, 0, 2] + 2 * images[:, 1, 1]) / 4,
        rtol=1e-6,
    )


@pytest.mark.slow
def test_a_small_training_learns_and_is_recorded(splits, capsys, monkeypatch):
    # The whole network takes three times as long to compile.
    monkeypatch.setattr(network, "WIDTHS", network.WIDTHS[:1])
    words = ["--optimizers", "lars", "--each-epoch", "--record", *TINY]
    assert bench.main(words) == 0
    found = records.read_record("cifar10_94_cpu")
    (run,) = found["runs"]
    assert run["six_views"] > 0.6
    assert (run["steps"], run["evaluated"], len(run["after_epochs"])) == (80, 60, 9)
    (row,) = found["summary"]
    assert row["six_views"] == {"mean": 100 * run["six_views"], "sd": 0.0}
    assert found["command"].endswith(" ".join(words))
    assert found["config"]["batch"] == 32
    printed = capsys.readouterr()
    assert "| lars | " in printed.out
    assert printed.err.count("step ") == 10


@pytest.mark.slow
def test_both_optimizers_learn_at_each_rate_and_a_seed_repeats():
    train, test = (generated(seed, 256) for seed in range(2))
    arrays = [ImageArrays(split.image, split.label) for split in (train, test)]
    settings = bench.Settings(
        seeds=2, rates=(8.0, 16.0), epochs=9.9, batch=32, width=0.1, dtype="bfloat16"
    )
    runs = list(bench.measure(settings, *arrays))
    kinds = [(run["optimizer"], run["rate"], run["seed"]) for run in runs]
    assert kinds == [("nesterov", 11.5, seed) for seed in range(2)] + [
        ("lars", rate, seed) for seed in range(2) for rate in (8.0, 16.0)
    ]
    # Of ten classes; so small a network learns more or less of them by its seed.
    shares = [run["six_views"] for run in runs]
    assert min(shares) > 0.25, shares
    whole = bench.Settings(
        ("nesterov",), seeds=1, batch=32, width=0.1, dtype="bfloat16", each_epoch=True
    )
    (again,) = bench.measure(whole, *arrays)
    assert again["six_views"] == runs[0]["six_views"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "0"], "rates must be above 0"),
        (["--rates", "4", "4"], "rates must be some, each of them once"),
        (["--optimizers"], "optimizers"),
        (["--optimizers", "adam"], "adam"),
        (["--epochs", "0"], "epochs must be"),
        (["--train-examples", "1000"], "train_examples must be at most 256"),
        (["--batch", "512"], "got 512 of 256"),
        (["--batch", "200", "--holdout", "100"], "got 200 of 156"),
    ],
)
def test_wrong_words_end_in_one_line(splits, capsys, words, message):
    assert bench.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_holdout_stands_for_the_test_images():
    source = generated(0, 40)
    arrays = ImageArrays(source.image, source.label)
    settings = bench.Settings(batch=8, train_examples=30, holdout=10)
    train, test = bench.divide(settings, arrays, arrays)
    np.testing.assert_array_equal(train.image, source.image[:20])
    np.testing.assert_array_equal(test.label, source.label[20:30])
    with pytest.raises(InputError, match="got 8 of 0"):
        bench.divide(bench.Settings(batch=8, holdout=100), arrays, arrays)
