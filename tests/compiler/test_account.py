import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lars_jax.compiler.account import (
    Account,
    Collective,
    Memory,
    account,
    collectives,
    purpose,
)
from lars_jax.compiler.hlo import Launch, parse_instruction, parse_module
from lars_jax.compiler.targets import CHIPS, Target, find_target
from lars_jax.compiler.verdict import describe, roofline, warnings
from lars_jax.errors import InputError
from lars_jax.train import data_mesh


def summed(dtype=jnp.float32, donate=True):
    """Return the account of a step of gradient descent over eight devices."""
    mesh = data_mesh(8)

    def step(w, x):
        return w - jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(w)

    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("data"))
    function = jax.jit(
        step,
        in_shardings=(whole, split),
        out_shardings=whole,
        donate_argnums=0 if donate else (),
    )
    shapes = (
        jax.ShapeDtypeStruct((64, 32), dtype),
        jax.ShapeDtypeStruct((128, 64), dtype),
    )
    return account(function.lower(*shapes).compile(), 8)


def test_a_step_over_eight_devices_sums_its_gradient_once():
    found = summed()
    gradient = 64 * 32 * 4
    assert found.collectives == (
        Collective("all-reduce", "f32", 1, gradient, 2 * gradient * 7 // 8, 0),
    )
    assert found.donated == 1
    assert found.memory.arguments == gradient + 128 // 8 * 64 * 4
    # Forward and by the kernel, of an eighth of the batch each.
    products = 2 * (2 * 16 * 64 * 32)
    assert products <= found.flops <= 1.2 * products
    assert found.product_types == {"f32": 2}
    assert found.scatters == ()
    assert found.bytes >= 3 * gradient


@pytest.mark.parametrize("length", [1, 5])
def test_what_a_loop_does_counts_as_often_as_it_runs(length):
    def repeated(x, w):
        def more(x, _):
            return jnp.tanh(x @ w), None

        # And a product outside, a quarter of one within.
        return jax.lax.scan(more, x, length=length)[0] @ w[:, :16]

    x, w = jnp.ones((32, 64)), jnp.ones((64, 64))
    found = account(jax.jit(repeated).lower(x, w).compile())
    assert found.flops == pytest.approx(2 * 32 * 64 * (64 * length + 16), rel=0.3)


def test_a_scatter_of_the_backward_pass_is_named():
    def loss(table, index):
        return jnp.sum(jnp.square(table[index]))

    shapes = (jax.ShapeDtypeStruct((50, 4), "float32"), jnp.arange(3))
    # The emitters that tests compile by take a scatter apart.
    kept: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": True}
    found = account(jax.jit(jax.grad(loss)).lower(*shapes).compile(kept))
    assert len(found.scatters) == 1
    assert "transpose" in found.scatters[0]


def test_an_argument_that_is_copied_whole_is_told():
    shape = jax.ShapeDtypeStruct((64, 32), "float32")
    for function, size in ((jax.lax.optimization_barrier, 64 * 32 * 4), (jnp.tanh, 0)):
        found = account(
            jax.jit(lambda data, f=function: f(data)).lower(shape).compile()
        )
        assert found.resident_copies == size


IN_PIECES = """HloModule step
%start (p: bf16[16,64]) -> (bf16[16,64], bf16[64,64], u32[]) {
  %p = bf16[16,64]{1,0} parameter(0)
  %g.1 = bf16[64,64]{1,0} all-gather(%p), GROUPS
  ROOT %s = (bf16[16,64], bf16[64,64], u32[]) custom-call(%g.1), START
}
%beside (x: bf16[128,64], p: bf16[16,64], w: bf16[64,64]) -> (bf16[128,64], u32[]) {
  %x = bf16[128,64]{1,0} parameter(0)
  %p = bf16[16,64]{1,0} parameter(1)
  %w = bf16[64,64]{1,0} parameter(2)
  %d = bf16[128,64]{1,0} dot(%x, %w), lhs_contracting_dims={1}
  %g.2 = bf16[64,64]{1,0} all-gather(%p), GROUPS
  ROOT %t = (bf16[128,64], u32[]) tuple(%d, %g.2)
}
%end (p: bf16[16,64], n: u32[]) -> bf16[64,64] {
  %p = bf16[16,64]{1,0} parameter(0)
  %n = u32[] parameter(1)
  %g.3 = bf16[64,64]{1,0} all-gather(%p), GROUPS
  ROOT %e = bf16[64,64]{1,0} custom-call(%p, %g.3, %n), END
}
ENTRY %main (x: bf16[128,64], p: bf16[16,64], w: bf16[64,64]) -> bf16[64,64] {
  %x = bf16[128,64]{1,0} parameter(0)
  %p = bf16[16,64]{1,0} parameter(1)
  %w = bf16[64,64]{1,0} parameter(2)
  %n = u32[] constant(0)
  %a = (bf16[16,64], bf16[64,64], u32[]) fusion(%p), kind=kCustom, calls=%start
  %b = (bf16[128,64], u32[]) fusion(%x, %p, %w), kind=kOutput, calls=%beside
  ROOT %c = bf16[64,64]{1,0} fusion(%p, %n, %n, %n), kind=kCustom, calls=%end
}
""".replace("GROUPS", 'replica_groups={{0,1,2,3}}, frontend_attributes={chain_id="0"}')
"""An all-gather as a TPU makes it beside a product, which is a piece of each launch."""


def test_a_collective_in_pieces_is_one():
    launches = list(parse_module(IN_PIECES).launches())
    shard = 16 * 64 * 2
    assert list(collectives(launches, 4)) == [
        Collective("all-gather", "bf16", 1, shard, 3 * shard, 1)
    ]
    assert [purpose(launch) for launch in launches] == [
        "between devices",
        "convolutions and products, beside",
        "between devices",
    ]


def test_collectives_of_one_channel_that_are_no_pieces_count_each():
    # As one sum of many arrays is taken apart.
    line = "%r.{} = f32[{}] all-reduce(%x.{}), channel_id=1, to_apply=%add"
    parsed = [parse_instruction(line.format(n, n, n)) for n in (8, 16)]
    launches = [
        Launch(one, one.results, (0,), (0,), 1, (), False) for one in parsed if one
    ]
    assert list(collectives(launches, 4)) == [
        Collective("all-reduce", "f32", 2, 96, 144, 0)
    ]


def target(devices=4, kind="v5e"):
    return Target("fake", tuple(jax.devices()[:devices]), CHIPS[kind], 1)


def made(**changes):
    plain = {
        "memory": Memory(10, 0, 20, 0),
        "flops": 197e9,
        "launches": {"fusion": 3},
        "traffic": {"copies": 1638_000_000},
        "collectives": (),
        "nested": 0,
        "donated": 2,
        "product_types": {"bf16": 4},
        "scatters": (),
        "resident_copies": 0,
    }
    return Account(**plain | changes)


def test_what_bounds_a_step_takes_longest():
    summed = Collective("all-reduce", "f32", 1, 100, 600_000_000, 0)
    found = roofline(made(collectives=(summed,)), target())
    assert found == pytest.approx({"products": 1e-3, "memory": 2e-3, "links": 3e-3})
    lines = list(describe(made(collectives=(summed,)), target()))
    assert any("at least 3 ms, bound by links" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memory": Memory(0, 0, 17 * 2**30, 0)}, "does not fit: 17.00 GiB of 16.00"),
        ({"donated": 0}, "nothing is donated"),
        (
            {"collectives": (Collective("collective-permute", "f32", 191, 1, 1, 0),)},
            "191 permutes in rings",
        ),
        (
            {"collectives": (Collective("all-reduce", "bf16", 1, 51_000_000, 1, 0),)},
            "51.0 MB are summed over devices in bf16",
        ),
        (
            {"product_types": {"f32": 161}},
            "161 convolutions and products are of float32",
        ),
        ({"scatters": ("pool",)}, "a scatter in the backward pass: pool"),
        ({"resident_copies": 154_000_000}, "154.0 MB are copied whole"),
    ],
)
def test_what_is_amiss_is_said(changes, words):
    assert not list(warnings(made(), target()))
    found = list(warnings(made(**changes), target()))
    assert len(found) == 1
    assert words in found[0]
    assert f"warning: {found[0]}" in list(describe(made(**changes), target()))


@pytest.mark.parametrize(
    "topology",
    [
        *("v5e", "v5e:4", "v9:2x2", "v5e:2x", "v5e:2x2x2x2", "v5e:0x2", ""),
        *("h100:1x1", "h100:0", "h100:"),
    ],
)
def test_a_topology_that_there_is_not_is_refused(topology):
    with pytest.raises(
        InputError, match=r"a topology is KIND:SIDES.*write one such as"
    ):
        find_target(topology)
    with pytest.raises(InputError, match=re.escape("got v5e:2x2 x 0")):
        find_target("v5e:2x2", 0)


def test_a_compiler_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"libtpu must be installed.*aot-tpu"):
        find_target("v5e:2x2")
    with pytest.raises(InputError, match=r"cuda13_plugin must be inst.*aot-cuda"):
        find_target("h100")


def test_devices_of_a_chip_share_it():
    two = Target("fake", tuple(jax.devices()[:2]), CHIPS["v3"], 2)
    assert two.memory == 16 * 2**30
    assert (two.bandwidth, two.flops) == (450e9, 61.5e12)
    assert np.isclose(two.links, 164e9)
