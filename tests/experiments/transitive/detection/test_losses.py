"""What a detector learns from: pencil numbers, padding, devices, layers that stay."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.transitive.detection.batches import Shown, pad_batch
from experiments.transitive.detection.config import Config
from experiments.transitive.detection.losses import (
    anchor_loss,
    detector_loss,
    proposals,
    region_loss,
)
from experiments.transitive.detection.network import Detector, frozen_layers
from experiments.transitive.detection.program import drawn_state, train_step
from lars_jax.errors import InputError
from lars_jax.train import DataParallel, data_mesh
from lars_jax.train.config import replace_fields

FAST = replace_fields(
    Config(),
    network="small",
    width=0.125,
    units=64,
    dropout=0.0,
    cells=3,
    regions=8,
    proposals=12,
    test_proposals=12,
    learning_rate=0.01,
)
FASTER = replace_fields(
    FAST,
    detector="faster",
    background=(0.0, 0.5),
    scales=(16.0, 32.0),
    hidden=64,
    before=40,
    anchors=16,
    least_side=4.0,
)
CONFIGS = {"fast": FAST, "faster": FASTER}


def shown(seed):
    """Return a dark picture with two bright objects, and regions around them."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (64, 96, 3), np.uint8)
    corners = np.array([[8, 8], [56, 30]]) + rng.integers(0, 8, (2, 2))
    boxes = np.concatenate([corners, corners + [24, 18]], axis=1).astype(np.float32)
    for x1, y1, x2, y2 in boxes.astype(int):
        pixels[y1:y2, x1:x2] = 220
    near = boxes[rng.integers(0, 2, 6)] + rng.normal(0, 3, (6, 4))
    low = rng.uniform(0, 40, (6, 2))
    anywhere = np.concatenate([low, low + rng.uniform(8, 24, (6, 2))], axis=1)
    regions = np.concatenate([near, anywhere]).astype(np.float32)
    return Shown(
        pixels, (1.0, 1.0), boxes, np.array([0, 1], np.int32), np.ones(2, bool), regions
    )


def batch(count, *, objects=2, regions=12):
    return pad_batch(
        [shown(k) for k in range(count)], (64, 96), objects=objects, regions=regions
    )


@pytest.fixture(scope="module", params=CONFIGS)
def detector(request):
    return Detector(CONFIGS[request.param], 2)


def loss_and_gradient(detector, params, batch):
    @jax.jit
    def run(params, batch):
        loss = functools.partial(detector_loss, detector)
        return jax.value_and_grad(loss, has_aux=True)(params, batch, jax.random.key(1))

    (loss, parts), gradient = run(params, batch)
    return float(loss), parts, gradient


@pytest.mark.slow
def test_more_rows_of_padding_change_no_loss_and_no_gradient(detector):
    params = jax.jit(detector.init)(jax.random.key(0))
    few = loss_and_gradient(detector, params, batch(2))
    many = loss_and_gradient(detector, params, batch(2, objects=5, regions=20))
    assert many[0] == pytest.approx(few[0], rel=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(few[2]))
    for ours, theirs in zip(*map(jax.tree.leaves, (many[2], few[2])), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * largest)


@pytest.mark.slow
def test_loss_is_the_sum_of_its_parts_and_falls(detector):
    # At higher rates the loss of Faster R-CNN rises again after 40 steps.
    config = replace_fields(detector.config, learning_rate=0.002)
    detector = Detector(config, 2)
    state = jax.jit(functools.partial(drawn_state, detector))()
    step = jax.jit(functools.partial(train_step, detector))
    shared, pictures = {"key": jax.random.key(0)}, batch(2)

    @jax.jit
    def mean_loss(params, pictures):
        # Which regions a loss is of is drawn: one draw alone tells little.
        losses, _ = jax.vmap(
            functools.partial(detector_loss, detector, params, pictures)
        )(jax.random.split(jax.random.key(7), 16))
        return losses.mean()

    before = float(mean_loss(state.params, pictures))
    for _ in range(120):
        state, metrics = step(state, pictures, shared)
        parts = [v for k, v in metrics.items() if k.endswith("_loss")]
        assert float(metrics["loss"]) == pytest.approx(float(sum(parts)), rel=1e-5)
    # It falls to 0.2 to 0.4 of what it was, with any of three seeds.
    assert float(mean_loss(state.params, pictures)) < 0.6 * before


@pytest.mark.slow
def test_eight_devices_take_the_step_of_one(detector):
    def stepped(count):
        parallel = DataParallel(data_mesh(count))
        state = parallel.replicate(drawn_state(detector))
        step = parallel.compile(functools.partial(train_step, detector))
        shared = parallel.replicate({"key": jax.random.key(0)})
        state, metrics = step(state, parallel.shard_batch(batch(8)), shared)
        return jax.device_get((state.params, metrics["loss"]))

    (one, loss), (eight, others) = stepped(1), stepped(8)
    assert others == pytest.approx(loss, rel=1e-5)
    for ours, theirs in zip(*map(jax.tree.leaves, (eight, one)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_layers_that_are_frozen_stay_and_the_others_move():
    detector = Detector(replace_fields(FAST, frozen="conv2_1"), 2)
    before = jax.jit(functools.partial(drawn_state, detector))()
    step = jax.jit(functools.partial(train_step, detector))
    after, _ = step(before, batch(2), {"key": jax.random.key(0)})
    after.params["trunk"]
    moved = {
        layer: float(
            jnp.abs(arrays["kernel"] - after.params["trunk"][layer]["kernel"]).max()
        )
        for layer, arrays in before.params["trunk"].items()
    }
    assert moved["conv1_1"] == moved["conv2_1"] == 0
    assert min(moved["conv3_1"], moved["conv4_1"]) > 0


def test_layer_to_freeze_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="frozen must be one of conv1_1.*got conv9"):
        frozen_layers(replace_fields(FAST, frozen="conv9"))


def test_region_loss_by_hand():
    # Of three regions: class 1 with half the probability, background, and none.
    logits = jnp.array([[0.0, 0.0], [2.0, 0.0], [5.0, -5.0]])
    targets = jnp.array([[0.5, 0.0, -2.0, 0.0], [9.0] * 4, [9.0] * 4])
    found = region_loss(logits, jnp.zeros((3, 2, 4)), jnp.array([1, 0, -1]), targets)
    entropy = np.log(2) + np.log1p(np.exp(-2))
    assert float(found["class_loss"]) == pytest.approx(entropy / 2, rel=1e-6)
    # smooth_l1(0.5) + smooth_l1(2) = 0.125 + 1.5, over two regions.
    assert float(found["box_loss"]) == pytest.approx(1.625 / 2, rel=1e-6)


def test_anchor_loss_by_hand():
    logits, targets = jnp.array([0.0, 3.0, 8.0]), jnp.ones((3, 4))
    found = anchor_loss(logits, jnp.zeros((3, 4)), jnp.array([1, 0, -1]), targets)
    entropy = np.log(2) + np.log1p(np.exp(3))
    assert float(found["proposal_loss"]) == pytest.approx(entropy / 2, rel=1e-6)
    # Beyond 1 / 9 the value is |x| - 1 / 18.
    assert float(found["proposal_box_loss"]) == pytest.approx(
        4 * (17 / 18) / 2, rel=1e-6
    )


@pytest.mark.slow
def test_proposals_lie_in_the_picture_and_the_best_come_first():
    detector = Detector(FASTER, 2)
    features = jnp.zeros((1, 8, 12, 4))
    anchors = 8 * 12 * detector.anchors
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(1, anchors)), jnp.float32)
    deltas = jnp.asarray(0.3 * rng.normal(size=(1, anchors, 4)), jnp.float32)
    boxes, valid = proposals(
        detector, features, logits, deltas, jnp.array([[50.0, 80.0]]), train=True
    )
    assert boxes.shape == (1, 12, 4)
    found = np.asarray(boxes[0])[np.asarray(valid[0])]
    assert len(found) > 3
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2] <= 80).all()
    assert (found[:, 3] <= 50).all()
    assert (found[:, 2:] - found[:, :2] >= 4).all()
