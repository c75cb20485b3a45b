"""Norms of gradients in the paper's Table 2: parts add up to the batch they are of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.lars import layer_norms
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_loss, make_state
from lars_jax.data import known_statistics
from lars_jax.errors import InputError
from lars_jax.models.alexnet import AlexNet
from lars_jax.models.network import from_linen
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
    # Neither batch normalisation nor dropout, which see a part at a time.
    monkeypatch.setitem(
        layer_norms.NETWORKS, "AlexNet", {"norm": "lrn", "dropout": 0.0}
    )
    image, label = photographs
    found = dict(layer_norms.norms(CONFIG, "AlexNet", image, label, 5))
    assert list(found) == [2, 4]

    statistics = known_statistics("imagenet2012")
    assert statistics is not None
    mean = tuple(statistics[0])
    facts = ImageFacts(layer_norms.CLASSES, 3, mean, (1 / 255,) * 3)
    module = AlexNet(
        layer_norms.CLASSES,
        dtype=jnp.float32,
        bn_span=4,
        axis_name=None,
        norm="lrn",
        dropout=0.0,
    )
    network = from_linen(module)
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
