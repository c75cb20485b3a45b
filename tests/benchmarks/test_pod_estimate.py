"""Estimates of pods: their formulas, and bytes against a compiled step."""

import pytest

from benchmarks.common.steps import MeshStep
from benchmarks.mesh import pod_estimate
from benchmarks.mesh.collectives import collectives, exchanged_bytes
from benchmarks.mesh.pod_estimate import (
    H100_64,
    MACHINES,
    V5E_256,
    Case,
    Counts,
    count,
    estimate,
    expected_bytes,
)
from experiments.lars.presets import get_preset
from lars_jax.train.config import replace_fields

TINY = Counts(
    parameters=250_000_000,
    leaves=10,
    normalised_channels=1000,
    normalisations=10,
    products=1_000_000_000,
    cost_analysis_products=1e9,
)


@pytest.mark.parametrize(
    "case",
    [
        Case("", "jit", microbatches=2),
        Case("", "jit", span=16),
        Case("", "jit", span=None),
        Case("", "shard_map", microbatches=2),
    ],
    ids=str,
)
@pytest.mark.slow
def test_bytes_by_shapes_are_those_of_the_compiled_step(case: Case):
    config = replace_fields(
        get_preset("digits").config,
        network="resnet8",
        global_batch=pod_estimate.EXAMPLES * case.devices * case.microbatches,
        microbatches=case.microbatches,
        bn_span=case.span,
        backend=case.backend,
        devices=case.devices,
    )
    text = MeshStep.create(config, pod_estimate.FACTS).compiled_text()
    assert {one.opcode for one in collectives(text)} == {"all-reduce"}
    assert exchanged_bytes(text) == expected_bytes(count(config), case)


def test_products_are_the_published_ones():
    counts = count(get_preset("mlperf_32768").config)
    published = pod_estimate.MODEL["published_products"].value
    assert counts.parameters == 25_557_032
    assert counts.normalisations == 53
    assert counts.products == pytest.approx(published, rel=1e-3)
    # The compiler leaves out products with padding and adds what is no product.
    assert counts.cost_analysis_products == pytest.approx(published, rel=0.05)


def test_torus_takes_hops_and_two_passes_over_all_links():
    # 16 + 16 hops of a microsecond, then 2 * 255 / 256 of a gigabyte at 200 GB/s.
    expected = 32e-6 + 2 * 255 / 256 * 1e9 / 200e9
    assert V5E_256.all_reduce_seconds(1e9) == pytest.approx(expected)


def test_nodes_send_an_eighth_of_the_bytes_between_them():
    # 7/8 of a gigabyte twice at 450 GB/s, and 7/8 of an eighth twice at 50 GB/s.
    expected = 30e-6 + 1.75e9 / 450e9 + 1.75e9 / 8 / 50e9
    assert H100_64.all_reduce_seconds(1e9) == pytest.approx(expected)


def test_step_is_the_sum_of_its_parts():
    found = estimate(TINY, V5E_256, 0.5, 256 * 100, spread=False)
    # 100 images, 3 passes, 2 operations a product, at half of 197e12.
    assert found["compute"] == pytest.approx(6e11 / 98.5e12)
    # Seven gigabytes at 819 GB/s.
    assert found["optimizer"] == pytest.approx(7e9 / 819e9)
    exchange = V5E_256.all_reduce_seconds(1e9 + 8000)
    assert found["exchange"] == pytest.approx(exchange)
    alone = found["compute"] + found["optimizer"]
    assert found["efficiency"] == pytest.approx(alone / (alone + exchange))
    hidden = found["compute"] * 2 / 3
    assert found["step_with_overlap"] == pytest.approx(alone + exchange - hidden)


def test_only_gradients_hide_behind_the_backward_pass():
    small = TINY._replace(parameters=1000)
    for machine in MACHINES:
        hidden = estimate(small, machine, 0.3, 256 * 100, spread=False)
        assert hidden["efficiency"] < hidden["efficiency_with_overlap"] == 1.0
        found = estimate(TINY, machine, 0.3, 256 * 100, spread=True)
        assert found["norm"] == pytest.approx(20 * machine.all_reduce_seconds(800))
        assert found["step_with_overlap"] >= found["compute"] + found["norm"]


def test_sharded_parameters_send_half_as_much_again():
    found = pod_estimate.strategies(TINY, V5E_256)
    sent = {name: way["bytes_sent"] for name, way in found.items()}
    assert sent["zero1"] == sent["replicated"] == pytest.approx(2 * 255 / 256 * 1e9)
    assert sent["fsdp"] == pytest.approx(1.5 * sent["replicated"])
    assert found["zero1"]["seconds"] > found["replicated"]["seconds"]


def test_every_assumption_has_a_unit_and_a_source():
    for group in (pod_estimate.MODEL, *(machine.numbers for machine in MACHINES)):
        assert all(one.unit and one.source for one in group.values())
