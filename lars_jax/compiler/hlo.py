"""A compiled program as XLA prints it, read back: instructions, types, who calls whom.

The text is the one account of a compiled step that every back-end gives, whether its
devices are here or not.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

WIDTHS = {
    **{"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2},
    **{"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8},
    **{"c128": 16, "s4": 0.5, "u4": 0.5, "s2": 0.25, "u2": 0.25},
}
"""Bytes of an element; a type of eight bits beside these begins with f8."""

FREE = frozenset(
    {
        *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
        *("after-all", "partition-id", "replica-id", "optimization-barrier"),
        *("opt-barrier", "add-dependency", "domain"),
    }
)
"""Instructions that compute nothing and launch nothing."""

FREE_CALLS = frozenset({"AllocateBuffer", "ConcatBitcast"})
"""Custom calls of the compiler for TPUs that are no more than that."""

STARTS, ENDS = "-start", "-done"
"""An operation in two halves counts by its first."""

ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
NAME = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = ")
COMMENT = re.compile(r"/\*.*?\*/")
CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
BRANCH = re.compile(r"(?:true|false)_computation=%?([\w.-]+)")
DIGITS = re.compile(r"\d+")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclass(frozen=True)
class Array:
    """The type of an array.

    Attributes:
        dtype: as XLA writes it, such as `bf16`.
        shape: sizes, in the order of the program.
        layout: what stands in braces behind it: order of the axes, tiles, memory.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of its elements.

        >>> Array("bf16", (3, 5)).bytes
        30
        """
        width = WIDTHS.get(self.dtype, 1 if self.dtype.startswith("f8") else 0)
        return math.ceil(math.prod(self.shape) * width)

    @property
    def padded_bytes(self) -> int:
        """Bytes with the last axes filled up to whole tiles, as TPUs keep them.

        >>> Array("f32", (9, 3), "1,0:T(8,128)").padded_bytes == 4 * 16 * 128
        True
        """
        order, _, rest = self.layout.partition(":")
        tile = re.match(r"T\(([\d,]+)\)", rest)
        if not tile or not order:
            return self.bytes
        sizes = [self.shape[int(axis)] for axis in reversed(order.split(","))]
        sides = [int(side) for side in tile[1].split(",")]
        if len(sizes) < len(sides):
            return self.bytes
        for place, side in enumerate(reversed(sides), 1):
            sizes[-place] = -(-sizes[-place] // side) * side
        elements = math.prod(self.shape)
        return self.bytes * math.prod(sizes) // elements if elements else 0

    @property
    def in_main_memory(self) -> bool:
        """Whether it lies in the memory of the device, not in one on the chip."""
        space = re.search(r"S\((\d+)\)", self.layout)
        return space is None or space[1] == "0"


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        name: of its result.
        opcode: such as `fusion` or `all-reduce-start`.
        results: types of the arrays that it returns.
        operands: names of what it is given.
        attributes: what stands behind the operands.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str

    @property
    def made(self) -> tuple[Array, ...]:
        """Types of what it makes: a first half names what it is given beside that.

        >>> line = "%s = ((f32[9]), f32[3]{0}, s32[]) slice-start(%x), slice={[0:3]}"
        >>> [array.shape for array in parse_instruction(line).made]
        [(3,), ()]
        """
        if self.opcode == "copy-start":
            return self.results[:1]
        given = len(self.operands)
        halves = self.opcode.endswith(STARTS) and len(self.results) > given
        return self.results[given:] if halves else self.results

    @property
    def op_name(self) -> str:
        """Where in the traced function it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""

    @property
    def target(self) -> str:
        """What a custom call calls."""
        found = re.search(r'custom_call_target="([^"]+)"', self.attributes)
        return found[1] if found else ""

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it names, branches left out."""
        return tuple(CALLED.findall(self.attributes))

    @property
    def branches(self) -> tuple[str, ...]:
        """Computations one of which a conditional runs."""
        several = BRANCHES.search(self.attributes)
        if several:
            return tuple(re.findall(r"[\w.-]+", several[1]))
        return tuple(BRANCH.findall(self.attributes))


@dataclass(frozen=True)
class Launch:
    """An instruction that a device runs, with how often a step runs it.

    Attributes:
        instruction: the line.
        operands: types of the arrays that it is given.
        reads: bytes that it reads of each, of one that it only takes slices of these.
        writes: bytes that it writes of each that it makes, and updates of others.
        times: how often.
        inner: instructions that it is fused from.
        in_branch: whether a conditional may pass it by.
    """

    instruction: Instruction
    operands: tuple[Array, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    times: int
    inner: tuple[Instruction, ...]
    in_branch: bool

    @cached_property
    def opcodes(self) -> frozenset[str]:
        """Opcodes of it and of what it is fused from."""
        return frozenset({self.instruction.opcode, *(one.opcode for one in self.inner)})

    @property
    def op_name(self) -> str:
        """Where it comes from; a fusion without a word, as the last of its parts."""
        parts = (self.instruction, *reversed(self.inner))
        return next((one.op_name for one in parts if one.op_name), "")


@dataclass(frozen=True)
class Module:
    """A compiled program.

    Attributes:
        computations: instructions by the name of their computation.
        entry: name of the one that runs.
        aliases: arguments whose memory results take.
    """

    computations: Mapping[str, Sequence[Instruction]]
    entry: str
    aliases: int

    @property
    def arguments(self) -> frozenset[str]:
        """Names of what the program is given."""
        own = self.computations[self.entry]
        return frozenset(one.name for one in own if one.opcode == "parameter")

    def launches(self) -> Iterator[Launch]:
        """Yield what a device runs in a step, in the order of the schedule.

        A fusion is one; calls, loops and conditionals are what they run. What stands in
        two halves, such as a collective that overlaps, is yielded at its first.
        """
        yield from self._walk(self.entry, 1, in_branch=False)

    def _walk(self, name: str, times: int, *, in_branch: bool) -> Iterator[Launch]:
        types = {one.name: one.results for one in self.computations[name]}
        for one in self.computations[name]:
            if one.opcode in FREE or one.opcode.endswith(ENDS):
                continue
            if one.target in FREE_CALLS:
                continue
            if one.opcode in ("call", "while"):
                often = times * self._trips(one)
                for called in one.called:
                    yield from self._walk(called, often, in_branch=in_branch)
                continue
            if one.opcode == "conditional":
                for branch in one.branches:
                    yield from self._walk(branch, times, in_branch=True)
                continue
            inner = tuple(
                each
                for called in one.called
                for each in self.computations.get(called, ())
            )
            operands = [
                array for operand in one.operands for array in types.get(operand, ())
            ]
            yield Launch(
                one,
                tuple(operands),
                tuple(self._reads(one, operands)),
                tuple(self._writes(one, operands)),
                times,
                inner,
                in_branch,
            )

    def _trips(self, one: Instruction) -> int:
        """Return how often a loop runs; 1 where it cannot be told."""
        known = TRIPS.search(one.attributes)
        if known:
            return int(known[1])
        condition = re.search(r"condition=%?([\w.-]+)", one.attributes)
        lines = self.computations[condition[1]] if condition else ()
        # Loops that JAX makes count from 0 up to a constant.
        bounds = {
            line.name: int(match[0])
            for line in lines
            if line.opcode == "constant" and (match := DIGITS.match(line.attributes))
        }
        for line in lines:
            if line.opcode == "compare" and "direction=LT" in line.attributes:
                return bounds.get(line.operands[-1], 1)
        return 1

    def _reads(self, one: Instruction, operands: Sequence[Array]) -> Iterator[int]:
        called = self.computations.get(one.called[0], ()) if one.called else ()
        parameters = {
            int(match[1]): each.name
            for each in called
            if each.opcode == "parameter"
            and (match := re.match(r"(\d+)", each.attributes))
        }
        for place, array in enumerate(operands):
            if one.opcode.removesuffix(STARTS) in SLICES and place == 0:
                yield one.made[0].padded_bytes
                continue
            if one.opcode == UPDATE and place == 0:
                yield 0
                continue
            own = parameters.get(place)
            parts = [_part(each, own) for each in called if own in each.operands]
            known = [part for part in parts if part is not None]
            yield sum(known) if known and known == parts else array.padded_bytes

    def _writes(self, one: Instruction, operands: Sequence[Array]) -> Iterator[int]:
        if one.opcode == UPDATE:
            yield operands[1].padded_bytes
            return
        fused = one.opcode == "fusion"
        called = self.computations.get(one.called[0], ()) if fused else ()
        if not called:
            yield from (array.padded_bytes for array in one.made)
            return
        lines = {each.name: each for each in called}
        root = called[-1]
        roots = root.operands if root.opcode == "tuple" else (root.name,)
        made = [(name, array) for name in roots for array in lines[name].results]
        for name, array in made:
            updated = _updated(lines, name)
            yield array.padded_bytes if updated is None else updated


SLICES = frozenset({"slice", "dynamic-slice", "gather"})
"""Instructions that read of their first operand what they return."""

UPDATE = "dynamic-update-slice"
"""An instruction that reads nothing of its first operand, whose memory it takes."""


def _part(user: Instruction, name: str | None) -> int | None:
    """Return the bytes that an instruction reads of an array, None for all of them."""
    if name in user.operands[1:]:
        return None
    if user.opcode in SLICES:
        return sum(array.padded_bytes for array in user.results)
    return 0 if user.opcode == UPDATE else None


def _updated(lines: Mapping[str, Instruction], name: str) -> int | None:
    """Return the bytes of an argument of a fusion that it updates, None of another."""
    count, one = 0, lines[name]
    while one.opcode in (UPDATE, "bitcast"):
        if one.opcode == UPDATE:
            count += sum(array.padded_bytes for array in lines[one.operands[1]].results)
        one = lines[one.operands[0]]
    return count if count and one.opcode == "parameter" else None


def parse_module(text: str) -> Module:
    """Return a program from what `jax.stages.Compiled.as_text` says.

    >>> module = parse_module('''HloModule example, input_output_alias={ {}: (0, {}) }
    ... %fused (p: f32[2,3]) -> f32[2,3] {
    ...   %p = f32[2,3]{1,0} parameter(0)
    ...   ROOT %n = f32[2,3]{1,0} negate(%p)
    ... }
    ... ENTRY %main (a: f32[2,3]) -> f32[2,3] {
    ...   %a = f32[2,3]{1,0} parameter(0)
    ...   ROOT %f = f32[2,3]{1,0} fusion(%a), kind=kLoop, calls=%fused
    ... }
    ... ''')
    >>> [(one.instruction.name, one.reads) for one in module.launches()]
    [('f', (24,))]
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if current is None or not line.startswith(" "):
            head = HEAD.match(line)
            if head:
                current = computations.setdefault(head[2], [])
                entry = head[2] if head[1] else entry
            continue
        found = parse_instruction(line)
        if found is not None:
            current.append(found)
    header = text[: text.find("\n")]
    return Module(computations, entry, header.count("-alias)"))


def parse_instruction(line: str) -> Instruction | None:
    """Return the instruction of a line, None where it has none.

    >>> line = "  %r = (f32[2]{0}, /*index=1*/u8[3]{0}) sort(%a, %b), dimensions={0}"
    >>> found = parse_instruction(line)
    >>> found.opcode, found.operands, [array.bytes for array in found.results]
    ('sort', ('a', 'b'), [8, 3])
    """
    line = COMMENT.sub("", line)
    name = NAME.match(line)
    if not name:
        return None
    rest = line[name.end() :]
    end = _closing(rest) + 1 if rest.startswith("(") else rest.find(" ")
    types, rest = rest[:end], rest[end:].lstrip()
    opcode, opened, _ = rest.partition("(")
    if not opened:
        return None
    rest = rest[len(opcode) :]
    end = _closing(rest)
    inside = rest[1:end]
    attributes = rest[end + 1 :].lstrip(", ")
    if opcode in ("parameter", "constant"):
        # A number stands where operands would.
        attributes = f"{inside}, {attributes}"
    return Instruction(
        name[1],
        opcode,
        arrays(types),
        tuple(re.findall(r"%([\w.-]+)", inside)),
        attributes,
    )


def arrays(text: str) -> tuple[Array, ...]:
    """Return the types of the arrays in a text.

    >>> arrays("(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, s32[])")[0].in_main_memory
    False
    """
    return tuple(
        Array(
            dtype,
            tuple(int(size.lstrip("<=")) for size in sizes.split(",") if size),
            layout,
        )
        for dtype, sizes, layout in ARRAY.findall(text)
    )


def _closing(text: str) -> int:
    """Return where the first parenthesis of a text is closed."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == ")" and not depth:
            return place
    return len(text)
