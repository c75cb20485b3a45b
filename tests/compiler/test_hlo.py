import jax
import jax.numpy as jnp
import pytest

from lars_jax.compiler.hlo import Array, parse_instruction, parse_module

# The forms that back-ends print: tiles and memories of a TPU, custom calls of a GPU,
# types in parentheses with comments, halves of a collective, loops and conditionals.
PROGRAM = """\
HloModule jit_step, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias), \
{1}: (1, {}, must-alias) }, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

FileNames
1 "a(b).py"

%fused.1 (param_0: u8[100,32], param_1: s32[4]) -> u8[4,32] {
  %param_0 = u8[100,32]{1,0:T(8,128)(4,1)} parameter(0)
  %param_1 = s32[4]{0} parameter(1)
  ROOT %g = u8[4,32]{1,0} gather(%param_0, %param_1), offset_dims={1}
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %i = s32[] get-tuple-element(%p), index=0
  %y = f32[8]{0} exponential(%x)
  ROOT %t = (s32[], f32[8]{0}) tuple(%i, %y)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0}) parameter(0)
  ROOT %c = pred[] constant(false)
}

%yes (a: f32[8]) -> f32[8] {
  ROOT %a = f32[8]{0} parameter(0)
}

%no (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%b)
}

ENTRY %main.9 (data: u8[100,32], index: s32[4]) -> f32[8] {
  %data = u8[100,32]{1,0:T(8,128)(4,1)} parameter(0)
  %index = s32[4]{0} parameter(1)
  %rows = u8[4,32]{1,0} fusion(%data, %index), kind=kCustom, calls=%fused.1, \
metadata={op_name="jit(step)/gather"}
  %s = (f32[8]{0:S(1)}, /*index=1*/f32[8]{0}, u32[]{:S(2)}) copy-start(%index)
  %d = f32[8]{0:S(1)} copy-done(%s)
  %start = (s32[], f32[8]{0}) tuple(%index, %d)
  %loop = (s32[], f32[8]{0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"7"}}
  %z = f32[8]{0} get-tuple-element(%loop), index=1
  %r = f32[8]{0} all-reduce-start(%z), replica_groups={{0,1},{2,3}}, to_apply=%sum
  %rd = f32[8]{0} all-reduce-done(%r)
  ROOT %o = f32[8]{0} conditional(%index, %rd, %rd), \
branch_computations={%yes, %no}
}
"""


def test_launches_are_what_a_device_runs():
    module = parse_module(PROGRAM)
    found = [
        (one.instruction.opcode, one.times, one.in_branch) for one in module.launches()
    ]
    assert module.entry == "main.9"
    assert module.aliases == 2
    assert found == [
        ("fusion", 1, False),
        ("copy-start", 1, False),
        ("exponential", 7, False),
        ("all-reduce-start", 1, False),
        ("negate", 1, True),
    ]


def test_loops_count_up_to_the_constant_of_their_condition():
    bound = """  %x.1 = s32[] get-tuple-element(%p), index=0
  %limit = s32[] constant(250)
  ROOT %c = pred[] compare(%x.1, %limit), direction=LT
"""
    told = PROGRAM.replace("  ROOT %c = pred[] constant(false)\n", bound)
    hidden = told.replace('"known_trip_count":{"n":"7"}', '"other":{}')
    for text, expected in ((told, 7), (hidden, 250)):
        found = {
            one.instruction.opcode: one.times for one in parse_module(text).launches()
        }
        assert found["exponential"] == expected
        assert found["fusion"] == 1


def test_data_of_which_rows_are_gathered_are_not_read_whole():
    rows = next(parse_module(PROGRAM).launches())
    assert rows.opcodes == {"fusion", "parameter", "gather"}
    assert rows.reads == (4 * 32, 4 * 4)
    assert rows.instruction.op_name == "jit(step)/gather"


def test_parts_that_are_fetched_are_read_once_and_joined_for_nothing():
    text = """HloModule jit_step

ENTRY %main (data: f32[2,8]) -> f32[2,8] {
  %data = f32[2,8]{1,0} parameter(0)
  %s0 = ((f32[2,8]{1,0}), f32[1,8]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%data)
  %s1 = ((f32[2,8]{1,0}), f32[1,8]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%data)
  %d0 = f32[1,8]{1,0:S(1)} slice-done(%s0)
  %d1 = f32[1,8]{1,0:S(1)} slice-done(%s1)
  ROOT %j = f32[2,8]{1,0:S(1)} custom-call(%d0, %d1), \
custom_call_target="ConcatBitcast"
}
"""
    found = [(one.instruction.name, one.reads) for one in parse_module(text).launches()]
    assert found == [("s0", (32,)), ("s1", (32,))]


def test_a_part_that_is_updated_in_place_is_all_that_moves():
    text = """HloModule jit_step

%fused.1 (p0: f32[9,8], p1: f32[2,8], p2: f32[1,8]) -> (f32[9,8], f32[2,8]) {
  %p0 = f32[9,8]{1,0} parameter(0)
  %p1 = f32[2,8]{1,0} parameter(1)
  %n = f32[2,8]{1,0} negate(%p1), metadata={op_name="jit(step)/jvp(vmap())/stack"}
  %zero = s32[] constant(0)
  %u = f32[9,8]{1,0} dynamic-update-slice(%p0, %n, %zero, %zero)
  %p2 = f32[1,8]{1,0} parameter(2)
  %b = f32[9,8]{1,0} bitcast(%u)
  %v = f32[9,8]{1,0} dynamic-update-slice(%b, %p2, %zero, %zero)
  ROOT %t = (f32[9,8]{1,0}, f32[2,8]{1,0}) tuple(%v, %n)
}

%fused.2 (p0.1: f32[], p1.1: f32[1,8]) -> f32[9,8] {
  %p0.1 = f32[] parameter(0)
  %w = f32[9,8]{1,0} broadcast(%p0.1), dimensions={}
  %p1.1 = f32[1,8]{1,0} parameter(1)
  %zero.1 = s32[] constant(0)
  ROOT %u.1 = f32[9,8]{1,0} dynamic-update-slice(%w, %p1.1, %zero.1, %zero.1)
}

ENTRY %main (a: f32[9,8], c: f32[2,8], d: f32[1,8], e: f32[]) -> f32[9,8] {
  %a = f32[9,8]{1,0} parameter(0)
  %c = f32[2,8]{1,0} parameter(1)
  %d = f32[1,8]{1,0} parameter(2)
  %e = f32[] parameter(3)
  %f = (f32[9,8]{1,0}, f32[2,8]{1,0}) fusion(%a, %c, %d), kind=kLoop, calls=%fused.1
  %g = f32[9,8]{1,0} fusion(%e, %d), kind=kLoop, calls=%fused.2
  %s = s32[] constant(0)
  ROOT %h = f32[9,8]{1,0} dynamic-update-slice(%g, %d, %s, %s)
}
"""
    fused, filled, plain = parse_module(text).launches()
    assert fused.reads == (0, 64, 32)
    assert fused.writes == (64 + 32, 64)
    assert fused.op_name == "jit(step)/jvp(vmap())/stack"
    # What is updated there is made there as well.
    assert (filled.reads, filled.writes) == ((4, 32), (9 * 32,))
    assert (plain.reads[:2], plain.writes) == ((0, 32), (32,))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (Array("f32", (), ":T(128)"), 4),
        (Array("bf16", (16, 100), "1,0:T(8,128)(2,1)"), 2 * 16 * 128),
        # The first axis of the layout is the last in memory.
        (Array("bf16", (100, 16), "0,1:T(8,128)(2,1)"), 2 * 16 * 128),
        (Array("f32", (3,), "0"), 12),
        (Array("f8e4m3fn", (5,), ""), 5),
        (Array("u4", (3,), ""), 2),
        (Array("f32", (0, 3), "1,0:T(8,128)"), 0),
    ],
)
def test_tiles_pad_what_tpus_keep(array, expected):
    assert array.padded_bytes == expected


@pytest.mark.parametrize(
    "line", ["", "}", "FileNames", '1 "a.py"', "  %a = broken", "ENTRY %m (a: f32[]) {"]
)
def test_other_lines_are_no_instructions(line):
    assert parse_instruction(line) is None


def test_custom_calls_name_their_targets():
    line = (
        '  %c = (bf16[2,3]{1,0}, u8[0]{0}) custom-call(%a, %b), custom_call_target="'
        '__cudnn$convForward", window={size=3x3}'
    )
    found = parse_instruction(line)
    assert found is not None
    assert (found.target, found.operands) == ("__cudnn$convForward", ("a", "b"))
    assert [array.bytes for array in found.results] == [12, 0]


def test_what_this_machine_compiles_is_read():
    def step(x, w):
        def more(x, _):
            return jnp.tanh(x @ w), None

        return jax.lax.scan(more, x, length=5)[0]

    x, w = jnp.ones((8, 16)), jnp.ones((16, 16))
    text = jax.jit(step).lower(x, w).compile().as_text() or ""
    module = parse_module(text)
    products = [
        one.times
        for one in module.launches()
        if {"dot", "convolution"} & one.opcodes or "matmul" in one.instruction.target
    ]
    assert products == [5]
