"""The benchmark of split states: what it counts, and that splitting is measured."""

import pytest

from benchmarks.common.errors import largest_error
from benchmarks.mesh import errors as mesh_errors
from benchmarks.mesh.collectives import collectives
from benchmarks.mesh.state_sharding import SPAN, by_opcode

TEXT = """HloModule example

%body (p: f32[2]) -> f32[2] {
  ROOT %rs = f32[64]{0} reduce-scatter(%p), dimensions={0}, to_apply=%sum
}

%inner (q: f64[2]) -> f64[2] {
  ROOT %all-reduce.9 = f64[2]{0} all-reduce(%q), to_apply=%all-reduce.body
}

%branch (r: f64[2]) -> f64[2] {
  ROOT %called = f64[2]{0} call(%r), to_apply=%inner
}

%other (s: f64[2]) -> f64[2] {
  ROOT %s = f64[2]{0} parameter(0)
}

%more (t: f32[2]) -> pred[] {
  ROOT %true = pred[] constant(true)
}

ENTRY %main (a: f32[64,8], b: f32[]) -> f32[2] {
  %all-gather.6 = f32[512,8]{1,0} all-gather(%a), channel_id=1, dimensions={0}
  %all-reduce.4 = (f32[], pred[3]{0}, /*index=2*/bf16[4,2]{1,0}) all-reduce(%b, %c, %d)
  %gather = f32[9]{0} gather(%e, %f), offset_dims={0}
  %either = f64[2]{0} conditional(%p, %g, %h), branch_computations={%branch, %other}
  ROOT %w = f32[2]{0} while(%i), condition=%more, body=%body, \
backend_config={"known_trip_count":{"n":"3"}}
}
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    assert by_opcode(collectives(TEXT)) == {
        "all-gather": {"count": 1, "bytes": 512 * 8 * 4},
        "all-reduce": {"count": 2, "bytes": 4 + 3 + 16 + 16},
        "reduce-scatter": {"count": 1, "bytes": 3 * 256},
    }


@pytest.mark.slow
def test_small_network_with_a_split_state_ends_where_it_should():
    start, expected = mesh_errors.trained(mesh_errors.Case("sgd", SPAN))
    case = mesh_errors.Case("sgd", SPAN, "jit", 8, 4, "fsdp")
    _, found = mesh_errors.trained(case)
    assert 0 < largest_error(found, expected, start) < 1e-4
