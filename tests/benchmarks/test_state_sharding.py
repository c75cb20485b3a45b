"""The benchmark of split states: what it counts, and that splitting is measured."""

from benchmarks.mesh import errors as mesh_errors
from benchmarks.mesh.state_sharding import SPAN, collectives

TEXT = """
  %all-gather.6 = f32[512,8]{1,0} all-gather(%param.31), channel_id=1, dimensions={0}
  %all-reduce.4 = (f32[], pred[3]{0}, /*index=2*/bf16[4,2]{1,0}) all-reduce(%a, %b, %c)
  %rs = f32[64]{0} reduce-scatter(%d), dimensions={0}, to_apply=%sum
  %gather = f32[9]{0} gather(%e, %f), offset_dims={0}
  ROOT %all-reduce.9 = f64[2]{0} all-reduce(%g), to_apply=%all-reduce.body
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    assert collectives(TEXT) == {
        "all-gather": {"count": 1, "bytes": 512 * 8 * 4},
        "all-reduce": {"count": 2, "bytes": 4 + 3 + 16 + 16},
        "reduce-scatter": {"count": 1, "bytes": 256},
    }


def test_small_network_with_a_split_state_ends_where_it_should():
    start, expected = mesh_errors.trained(mesh_errors.Case("sgd", SPAN))
    case = mesh_errors.Case("sgd", SPAN, "jit", 8, 4, "fsdp")
    _, found = mesh_errors.trained(case)
    assert 0 < mesh_errors.largest_error(found, expected, start) < 1e-4
