"""What a compiled step costs a device, told without one: an account of its launches."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lars_jax.compiler.hlo import STARTS, Array, Instruction, Launch, parse_module
from lars_jax.compiler.products import is_product, operations

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
"""Instructions that move arrays between devices."""

COPIES = frozenset({"copy", "copy-start", "transpose", "slice-start"})
"""Instructions that only move arrays within a device."""


@dataclass(frozen=True)
class Collective:
    """Sums or exchanges between devices of one kind and type.

    Attributes:
        kind: of `COLLECTIVES`.
        dtype: of the arrays that move.
        count: how many a step has.
        bytes: that a device gives to all of them.
        sent: bytes that a device sends at least, along a ring of those it deals with.
        overlapped: how many of them other work runs beside.
    """

    kind: str
    dtype: str
    count: int
    bytes: int
    sent: int
    overlapped: int


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by the compiler's own account.

    Attributes:
        arguments: what a step is given.
        results: what it returns in memory of its own.
        temporaries: what it holds in between.
        code: the program itself.
    """

    arguments: int
    results: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        """Bytes that a step needs while it runs.

        >>> Memory(100, 4, 50, 6).total
        160
        """
        return self.arguments + self.results + self.temporaries + self.code


@dataclass(frozen=True)
class Account:
    """One compiled step, on each of its devices.

    Attributes:
        memory: what it takes.
        flops: operations, as the compiler counts them, of products alone where it
            counts none; a fused multiply-add is two.
        launches: how many instructions a device is given, by kind.
        traffic: bytes of main memory that they read and write, by what they do.
        collectives: what devices exchange.
        nested: launches within conditionals, which may be passed by.
        donated: arguments whose memory results take.
        product_types: convolutions and matrix products, by the type of their result.
        scatters: names of scatters in the backward pass.
        resident_copies: bytes of whole arguments that a step only copies.
    """

    memory: Memory
    flops: float
    launches: Mapping[str, int]
    traffic: Mapping[str, int]
    collectives: tuple[Collective, ...]
    nested: int
    donated: int
    product_types: Mapping[str, int]
    scatters: tuple[str, ...]
    resident_copies: int

    @property
    def bytes(self) -> int:
        """Bytes of main memory that a step moves on each device."""
        return sum(self.traffic.values())


def account(compiled: Any, devices: int = 1) -> Account:
    """Return the account of a compiled step.

    Args:
        compiled: a `jax.stages.Compiled`, of this machine's devices or of others.
        devices: that run it together.

    >>> import jax, jax.numpy as jnp
    >>> x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    >>> found = account(jax.jit(lambda x: jnp.tanh(x @ x)).lower(x).compile())
    >>> found.memory.arguments, round(found.flops / 2 / 256**3)
    (262144, 1)
    """
    module = parse_module(compiled.as_text())
    launches = list(module.launches())
    sizes = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    kinds: Counter[str] = Counter()
    traffic: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for launch in launches:
        kinds[_kind(launch)] += launch.times
        traffic[purpose(launch)] += launch.times * _moved(launch)
        for one in (launch.instruction, *launch.inner):
            if is_product(one):
                types.update(array.dtype for array in one.results[:1])
    scatters = [
        launch.op_name or launch.instruction.name
        for launch in launches
        if "scatter" in launch.opcodes and _is_backward(launch)
    ]
    return Account(
        memory=Memory(
            sizes.argument_size_in_bytes,
            sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
            sizes.temp_size_in_bytes,
            sizes.generated_code_size_in_bytes,
        ),
        flops=_flops(launches, costs.get("flops", 0.0)),
        launches=dict(kinds.most_common()),
        traffic=dict(traffic.most_common()),
        collectives=tuple(collectives(launches, devices)),
        nested=sum(launch.in_branch for launch in launches),
        donated=module.aliases,
        product_types=dict(types.most_common()),
        scatters=tuple(scatters),
        resident_copies=_resident_copies(launches, module.arguments),
    )


def collectives(launches: Iterable[Launch], devices: int) -> Iterator[Collective]:
    """Yield what devices exchange, by kind and type, the most bytes first.

    Args:
        launches: of a step.
        devices: that run it.
    """
    pieces: dict[object, list[tuple[Launch, Instruction]]] = {}
    for launch in launches:
        # Some back-ends wrap one in an operation of two halves.
        for one in (launch.instruction, *launch.inner):
            if one.opcode.removesuffix(STARTS) in COLLECTIVES:
                pieces.setdefault(_chain(one) or object(), []).append((launch, one))
    found: dict[tuple[str, str], list[int]] = {}
    for several in pieces.values():
        launch, one = several[0]
        kind = one.opcode.removesuffix(STARTS)
        arrays = _given(launch, one) or one.results
        given = sum(array.bytes for array in arrays)
        types = Counter(array.dtype for array in arrays)
        row = found.setdefault((kind, types.most_common(1)[0][0]), [0, 0, 0, 0])
        overlapped = len(several) > 1 or launch.instruction.opcode.endswith(STARTS)
        row[0] += launch.times
        row[1] += launch.times * given
        row[2] += launch.times * _sent(kind, given, group_size(one, devices))
        row[3] += launch.times * overlapped
    for (kind, dtype), row in sorted(found.items(), key=lambda item: -item[1][1]):
        yield Collective(kind, dtype, *row)


def _chain(one: Instruction) -> str | None:
    """Return what the pieces of one collective share, None where it is whole."""
    # A TPU sends in pieces, fused into launches that run beside.
    found = re.search(r"chain_id=\"\d+\"", one.attributes)
    return found[0] if found else None


def _given(launch: Launch, one: Instruction) -> list[Array]:
    """Return the types of what an instruction of a launch is given."""
    inner = {each.name: each.results for each in launch.inner}
    own = [array for name in one.operands for array in inner.get(name, ())]
    return own or list(launch.operands)


def group_size(one: Instruction, devices: int) -> int:
    """Return how many of the devices a collective joins.

    >>> from lars_jax.compiler.hlo import parse_instruction
    >>> line = "  %r = f32[4]{0} all-gather(%x), replica_groups=[8,2]<=[16]"
    >>> group_size(parse_instruction(line), 16)
    2
    """
    found = re.search(r"replica_groups=(\S*)", one.attributes)
    groups = found[1] if found else ""
    if listed := re.match(r"\{\{([\d,]+)\}", groups):
        return listed[1].count(",") + 1
    if sides := re.match(r"\[([\d,]+)\]<=", groups):
        return int(sides[1].split(",")[-1])
    return devices


def _sent(kind: str, given: int, group: int) -> int:
    if kind == "all-reduce":
        return 2 * given * (group - 1) // group
    if kind in ("reduce-scatter", "all-to-all", "ragged-all-to-all"):
        return given * (group - 1) // group
    # What is gathered passes by every other device; a permute is one hop.
    return given * (group - 1) if kind == "all-gather" else given


def purpose(launch: Launch) -> str:
    """Return what a launch is for, and in which pass of the step."""
    opcodes, one = launch.opcodes, launch.instruction
    if one.opcode in COPIES:
        return "copies"
    if opcodes & {"reduce-window", "select-and-scatter"}:
        kind = "pooling"
    elif any(map(is_product, (one, *launch.inner))):
        kind = "convolutions and products"
    elif any(opcode.removesuffix(STARTS) in COLLECTIVES for opcode in opcodes):
        return "between devices"
    elif opcodes & {"scatter", "gather", "sort"}:
        kind = "gathers and scatters"
    else:
        kind = "sums and what is done by element"
    return f"{kind}, {_pass(launch)}"


def _flops(launches: Iterable[Launch], counted: float) -> float:
    """Return the operations of a step.

    XLA counts what a loop does once, and on GPUs it counts nothing; then products stand
    for all.

    Args:
        launches: of the step.
        counted: by XLA.
    """
    once = often = 0
    for launch in launches:
        for one in filter(is_product, (launch.instruction, *launch.inner)):
            found = operations(one, _given(launch, one))
            once += found
            often += found * launch.times
    return counted * often / once if counted and once else counted or often


def _pass(launch: Launch) -> str:
    if _is_backward(launch):
        return "backward"
    return "forward" if "jvp(" in launch.op_name else "beside"


def _is_backward(launch: Launch) -> bool:
    return "transpose(" in launch.op_name


def _kind(launch: Launch) -> str:
    one = launch.instruction
    return f"{one.opcode} {one.target}".strip().removesuffix(STARTS)


def _moved(launch: Launch) -> int:
    read = sum(
        count
        for array, count in zip(launch.operands, launch.reads, strict=True)
        if array.in_main_memory
    )
    written = sum(
        count
        for array, count in zip(launch.instruction.made, launch.writes, strict=True)
        if array.in_main_memory
    )
    return read + written


def _resident_copies(launches: Iterable[Launch], arguments: frozenset[str]) -> int:
    return sum(
        launch.times * sum(array.padded_bytes for array in launch.instruction.results)
        for launch in launches
        if launch.instruction.opcode == "copy"
        and arguments.issuperset(launch.instruction.operands)
    )
