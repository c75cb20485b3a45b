"""What steps cost an H100 and a v5e by their own compilers must not grow."""

import pytest

from benchmarks.compilers import steps
from lars_jax.compiler.verdict import RING

pytestmark = pytest.mark.aot

PACKAGES = {"h100": "jax_cuda13_plugin", "v5e": "libtpu"}

METRICS = 2**14
"""Bytes that a step may return beside its state, which takes the memory of the old."""


@pytest.fixture(autouse=True)
def _as_users_compile(monkeypatch):
    """Leave out what makes other tests compile fast."""
    for name in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


def compiled(program, topology):
    """Return the row of a step."""
    package = PACKAGES[topology.partition(":")[0]]
    pytest.importorskip(package, reason=f"{package} is not installed, an extra `aot-`")
    row = steps.row(program, topology)
    assert "error" not in row, row
    return row


def launches(row):
    return sum(row["launches"].values())


def moved(row):
    """Return the bytes of main memory."""
    return sum(row["traffic"].values())


@pytest.mark.parametrize(
    ("topology", "most", "passes"), [("h100", 140, 7.05), ("v5e:1x1", 450, 5.95)]
)
def test_lars_has_few_launches_and_passes_and_no_conditional(topology, most, passes):
    ours, theirs = (compiled(name, topology) for name in ("lars", "optax.lars"))
    assert ours["nested"] == 0
    assert launches(ours) <= most < launches(theirs)
    bound = passes * ours["parameter_bytes"]
    assert moved(ours) <= bound < moved(theirs)


def test_resnet50_on_an_h100():
    found = compiled("ResNet-50, batch 256", "h100")
    assert launches(found) <= 1400
    assert moved(found) <= 97.5e9
    assert found["scatters"] == []
    assert found["memory"]["results"] <= METRICS


def test_resnet20_with_a_split_state_on_a_v5e():
    found = compiled("ResNet-20, batch 512, zero1", "v5e:2x2")
    assert launches(found) <= 900
    # Activations stay on the chip: what is read is the state, the images and the code.
    assert moved(found) <= 12e6
    assert found["scatters"] == []
    assert found["memory"]["results"] <= METRICS
    # Gathers and no rings; of arguments small ones alone are copied, not the data set.
    assert not any(one["kind"] == RING for one in found["collectives"])
    # Gradients are summed in the type that they are kept in.
    assert not any(one["dtype"] == "bf16" for one in found["collectives"])
    assert found["resident_copies"] <= 2.5e6
