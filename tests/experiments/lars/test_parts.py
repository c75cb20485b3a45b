"""Spans and micro-batches: the same span gives the same run however it is cut."""

from typing import get_args

import jax
import numpy as np
import pytest

from experiments.lars.check import check
from experiments.lars.config import Config, NetworkName, replace
from experiments.lars.parts import divided, has_batch_norm, span_of
from experiments.lars.presets import get_preset
from experiments.lars.program import ImageFacts, make_network
from experiments.lars.trainer import Trainer
from lars_jax import InputError
from lars_jax.train.parallel import Backend
from tests.cases import mostly_slow

SMOKE = get_preset("smoke").config
# SGD, for LARS would hide a gradient that is too large.
BASE = replace(SMOKE, global_batch=64, steps=6, optimizer="sgd", learning_rate=0.02)


def trained(config):
    """Return what a run ends with, and the configuration that it ran by."""
    trainer = Trainer.create(check(config))
    state, _ = trainer.fit(trainer.initial_state())
    return jax.device_get((state.params, state.model_state)), trainer.config


@pytest.fixture(scope="module")
def whole():
    """Return the end of runs on one device, by their span."""
    spans = {4: 4, 8: 8, None: "global"}
    return {
        span: trained(replace(BASE, devices=1, bn_span=asked))[0]
        for span, asked in spans.items()
    }


def error(found, expected):
    """Return the largest difference of a leaf, relative to its largest entry."""

    def of(a, b):
        return np.abs(a - b).max() / (np.abs(b).max() + 1e-3)

    return max(jax.tree.leaves(jax.tree.map(of, found, expected)))


@pytest.mark.parametrize("backend", get_args(Backend))
@pytest.mark.parametrize(
    ("parts", "span"), mostly_slow({"1-8": (1, 8), "2-4": (2, 4)}, ["2-4"])
)
def test_span_per_device_is_a_number_from_there_on(whole, backend, parts, span):
    found, config = trained(
        replace(
            BASE, devices=8, backend=backend, bn_span="per_device", microbatches=parts
        )
    )
    assert config.model.bn_span == span
    assert error(found, whole[span]) < 1e-3
    # The other spans give other runs, or this would not have told them apart.
    others = [whole[other] for other in whole if other != span]
    assert all(error(found, other) > 1e-2 for other in others)


@pytest.mark.parametrize(
    "backend", mostly_slow({name: (name,) for name in get_args(Backend)}, ["jit"])
)
def test_global_span_is_the_whole_batch_on_any_mesh(whole, backend):
    found, _ = trained(replace(BASE, devices=8, backend=backend, bn_span="global"))
    assert error(found, whole[None]) < 1e-3


@pytest.mark.parametrize("network", get_args(NetworkName))
def test_network_has_batch_norm_if_it_keeps_statistics(network):
    config = replace(Config(), network=network)
    facts = ImageFacts(10, 1, (0.0,), (1.0,))
    images = jax.ShapeDtypeStruct((2, 32, 32, 1), "float32")
    _, model_state = jax.eval_shape(
        make_network(config, facts).init, jax.random.key(0), images
    )
    assert has_batch_norm(config) == bool(jax.tree.leaves(model_state))


@pytest.mark.parametrize("span", ["global", "per_device", 3])
def test_network_without_batch_norm_is_cut_anywhere(span):
    config = replace(
        SMOKE, network="alexnet", global_batch=64, microbatches=4, bn_span=span
    )
    assert check(config) is config
    assert span_of(divided(config, 4, 8)) is None


def test_span_per_device_has_to_come_out_even():
    config = replace(Config(), global_batch=96, bn_span="per_device")
    assert divided(config, 3, 8).model.bn_span == 4
    with pytest.raises(InputError, match="got 96 examples in 5 parts on 8 devices"):
        divided(config, 5, 8)


def test_span_of_a_device_is_unknown_before_the_devices_are():
    with pytest.raises(AssertionError, match="resolved"):
        span_of(replace(Config(), bn_span="per_device"))
