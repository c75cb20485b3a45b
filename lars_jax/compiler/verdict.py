"""What an account says of a target: does it fit, what bounds it, what is amiss."""

from collections.abc import Iterator

from lars_jax.compiler.account import Account
from lars_jax.compiler.targets import Target

RING = "collective-permute"
"""What gathers and sums become where each device hands parts on to the next."""

MANY_PERMUTES = 8
"""More of them than shifts of a mesh ask for."""

SMALL = 2**20
"""Bytes below which a copy is no matter."""


def roofline(account: Account, target: Target) -> dict[str, float]:
    """Return seconds that a step takes at least, by what it would be bound by.

    Args:
        account: of the step on each device.
        target: the devices.

    Returns:
        `products`, operations over the rate of bfloat16 products; `memory`, bytes over
        its bandwidth; `links`, bytes that a device sends over half of what all of its
        links carry both ways.
    """
    sent = sum(one.sent for one in account.collectives)
    return {
        "products": account.flops / target.flops,
        "memory": account.bytes / target.bandwidth,
        "links": sent / (target.links / 2),
    }


def warnings(account: Account, target: Target) -> Iterator[str]:
    """Yield what is amiss with a step, a line each, and what to do about it."""
    memory = account.memory.total
    if memory > target.memory:
        yield (
            f"it does not fit: {_gib(memory)} of {_gib(target.memory)}: set "
            "--microbatches to more, or take more devices"
        )
    if not account.donated:
        yield "nothing is donated: old and new state lie side by side"
    permutes = sum(one.count for one in account.collectives if one.kind == RING)
    if permutes > MANY_PERMUTES:
        yield (
            f"{permutes} permutes in rings, in place of gathers and sums that the "
            "compiler could join"
        )
    for one in account.collectives:
        if one.dtype in ("bf16", "f16") and one.kind in (
            "all-reduce",
            "reduce-scatter",
        ):
            yield (
                f"{one.bytes / 1e6:.1f} MB are summed over devices in {one.dtype}: "
                "the order of devices shows in the third digit, and --gradient-sums "
                "float32 costs as much again"
            )
    wide = account.product_types.get("f32", 0)
    if wide and not account.product_types.get("bf16", 0):
        yield (
            f"{wide} convolutions and products are of float32: --dtype bfloat16 halves "
            "what they read and write"
        )
    for name in account.scatters:
        yield f"a scatter in the backward pass: {name}"
    if account.resident_copies > SMALL:
        yield (
            f"arguments of {account.resident_copies / 1e6:.1f} MB are copied whole in "
            "each step"
        )


def describe(account: Account, target: Target) -> Iterator[str]:
    """Yield lines that say what a step costs each device of a target."""
    memory = account.memory
    yield (
        f"memory {_gib(memory.total)} of {_gib(target.memory)}: arguments "
        f"{memory.arguments / 1e6:,.1f} MB, temporaries {memory.temporaries / 1e6:,.1f}"
        f" MB, results {memory.results / 1e6:,.1f} MB, code {memory.code / 1e6:,.1f} MB"
    )
    launches = sum(account.launches.values())
    common = ", ".join(f"{n} {kind}" for kind, n in list(account.launches.items())[:5])
    yield f"launches {launches:,}, {account.nested} in conditionals: {common}"
    yield f"main memory {account.bytes / 1e9:,.3f} GB"
    for purpose, moved in account.traffic.items():
        if moved:
            yield f"  {purpose:50} {moved / 1e9:10,.3f} GB"
    for one in account.collectives:
        yield (
            f"{one.count} {one.kind} of {one.dtype}, {one.bytes / 1e6:,.2f} MB, "
            f"{one.overlapped} overlapped"
        )
    bounds = roofline(account, target)
    times = ", ".join(f"{name} {1e3 * s:.3g} ms" for name, s in bounds.items())
    most = max(bounds, key=lambda name: bounds[name])
    yield f"at least {1e3 * bounds[most]:.3g} ms, bound by {most}: {times}"
    for line in warnings(account, target):
        yield f"warning: {line}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
