"""Norms of gradients in the paper's Table 2: parts add up to the batch they are of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from benchmarks.lars import layer_norms, layer_norms_networks
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_loss, make_state
from lars_jax.data import known_statistics
from lars_jax.errors import InputError
from lars_jax.models.norm import BatchNorm
from lars_jax.train.config import replace_fields
from lars_jax.train.record import append_row

CONFIG = get_preset(layer_norms.PRESET).config
SIDE = 256


@pytest.fixture
def photographs():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, size=(3, SIDE, SIDE, 3), dtype=np.uint8)
    return image, np.arange(3, dtype=np.int32)


@pytest.mark.slow
def test_gradients_of_parts_are_that_of_their_batch(monkeypatch, photographs):
    monkeypatch.setattr(layer_norms, "PART", 2)
    monkeypatch.setattr(layer_norms, "BATCHES", (2, 4))
    image, label = photographs
    # Neither batch normalisation nor dropout, which see a part at a time.
    found = dict(layer_norms.norms(CONFIG, "AlexNet", image, label, 5, dropout=0.0))
    assert list(found) == [2, 4]

    statistics = known_statistics("imagenet2012")
    assert statistics is not None
    mean = tuple(statistics[0])
    facts = ImageFacts(layer_norms.CLASSES, 3, mean, (1 / 255,) * 3)
    network = layer_norms.network("AlexNet", layer_norms.CLASSES, 4, dropout=0.0)
    weights, key = jax.random.split(jax.random.key(5))
    state = make_state(CONFIG, facts, network, weights)
    drawn = np.random.default_rng(5).integers(3, size=4)
    index = np.arange(4, dtype=np.int32)
    batch = {"image": image[drawn], "label": label[drawn]}
    batch |= {"index": index, "epoch": np.zeros_like(index)}
    loss = make_loss(CONFIG, facts, network, {"key": key}, key)
    gradient, _ = jax.grad(loss, has_aux=True)(
        state.params, state.model_state, batch, key
    )
    for name in layer_norms.PAPER:
        for kind in ("kernel", "bias"):
            own = found[4][f"{name}/{kind}"]
            expected = np.linalg.norm(np.float64(gradient[name][kind]))
            np.testing.assert_allclose(own["gradient_norm"], expected, rtol=2e-3)
            weight = np.linalg.norm(np.float64(state.params[name][kind]))
            np.testing.assert_allclose(own["weight_norm"], weight, rtol=1e-5)


@pytest.fixture
def images():
    return jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))


def outputs(name, images, scale=1.0):
    """Return logits in training, by weights of which fc6's may be scaled."""
    own = layer_norms.network(name, 10, 4, dropout=0.0)
    params, state = own.init(jax.random.key(1), images)
    params["fc6"]["kernel"] *= scale
    return own.apply(params, state, images, train=True, key=None)[0]


def test_statistics_without_gradients_change_no_output(images):
    expected, found = (
        outputs(name, images) for name in ("AlexNet-BN", "statistics fixed")
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_what_conv5_hands_on_is_scaled(images):
    found = outputs("conv5 scaled", images)
    expected = outputs("AlexNet-BN", images, layer_norms_networks.SCALE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(found, outputs("AlexNet-BN", images), rtol=1e-2)


def test_averages_follow_conv5_alone():
    rows = jnp.arange(5.0).reshape(1, 5, 1, 1)
    x = jnp.broadcast_to(rows, (1, 5, 5, 1))
    module = layer_norms_networks.DEPARTURES["conv5 averaged"](
        10, dtype=jnp.float32, bn_span=4, axis_name=None, norm="lrn"
    )
    pooled = [
        np.asarray(module.apply({}, name, x, False, method="_after"))[0, :, 0, 0]
        for name in ("conv1", "conv5")
    ]
    np.testing.assert_allclose(pooled[1], [1.0, 3.0])
    # Local response normalisation leaves 2 and 4 nearly as they are.
    np.testing.assert_allclose(pooled[0], [2.0, 4.0], rtol=1e-2)


def test_normalisation_sees_what_relu_has_left(images):
    lowest = []

    def note(call, args, kwargs, context):
        # What is traced has no values.
        if isinstance(context.module, BatchNorm) and kwargs["train"]:
            lowest.append(float(args[0].min()))
        return call(*args, **kwargs)

    for name, negative in ("AlexNet-BN", True), ("ReLU first", False):
        lowest.clear()
        with nn.intercept_methods(note):
            outputs(name, images)
        assert [value < 0 for value in lowest] == [negative] * len(lowest), name
        assert len(lowest) == 5


def test_rows_of_other_photographs_or_of_another_configuration_are_not_kept(tmp_path):
    run = tmp_path / "run"
    assert layer_norms.begin(run, CONFIG, "own") == []
    append_row(run / "rows.jsonl", {"seed": 0})
    assert layer_norms.begin(run, CONFIG, "own") == [{"seed": 0}]
    other = replace_fields(CONFIG, flip=False)
    for config, digest in (CONFIG, "other"), (other, "own"):
        with pytest.raises(InputError, match="of others: name another --run-dir"):
            layer_norms.begin(run, config, digest)
    (run / "config.json").unlink()
    with pytest.raises(InputError, match="of others"):
        layer_norms.begin(run, CONFIG, "own")
