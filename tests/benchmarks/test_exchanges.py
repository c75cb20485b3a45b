"""Bytes by shapes against a compiled step, and products against published ones."""

import pytest

from benchmarks.common.steps import MeshStep
from benchmarks.mesh import exchanges
from benchmarks.mesh.collectives import collectives, exchanged_bytes
from benchmarks.mesh.exchanges import (
    PUBLISHED_PRODUCTS,
    Case,
    count,
    expected_bytes,
)
from experiments.lars.presets import get_preset
from lars_jax.train.config import replace_fields


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
        global_batch=exchanges.EXAMPLES * case.devices * case.microbatches,
        microbatches=case.microbatches,
        bn_span=case.span,
        backend=case.backend,
        devices=case.devices,
    )
    text = MeshStep.create(config, exchanges.FACTS).compiled_text()
    assert {one.opcode for one in collectives(text)} == {"all-reduce"}
    assert exchanged_bytes(text) == expected_bytes(count(config), case)


def test_products_are_the_published_ones():
    counts = count(get_preset("mlperf_32768").config)
    published = PUBLISHED_PRODUCTS
    assert counts.parameters == 25_557_032
    assert counts.normalisations == 53
    assert counts.products == pytest.approx(published, rel=1e-3)
    # The compiler leaves out products with padding and adds what is no product.
    assert counts.cost_analysis_products == pytest.approx(published, rel=0.05)
