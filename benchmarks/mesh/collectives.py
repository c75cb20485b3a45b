"""What a compiled program exchanges between devices, read from its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.common.compiled import BRANCHES, COMPUTATION, INLINED

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
BYTES |= {"f64": 8, "s64": 8, "u64": 8}
"""Bytes of an element, by the compiler's name of its type."""

EXCHANGE = re.compile(
    r" = (?P<result>.*?) (?P<opcode>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute)\("
)
SHAPE = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
LOOP = re.compile(r" while\(.*?body=%?([\w.-]+)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
    """One exchange of a program."""

    opcode: str
    bytes: int
    """Of its result on one device, each time that it runs."""
    times: int
    """How often it runs in one call of the program: more than once inside loops."""


def collectives(text: str) -> list[Collective]:
    """Return every exchange of a compiled program, those of all branches among them.

    Args:
        text: as `compiled.as_text()` returns it; loops must have a known length.

    Raises:
        ValueError: an exchange in a loop of unknown length.

    >>> collectives('''HloModule example
    ... %body (p: f32[2]) -> f32[2] {
    ...   %p = f32[2]{0} parameter(0)
    ...   ROOT %r = f32[2]{0} all-reduce(%p), to_apply=%add
    ... }
    ... ENTRY %main (a: f32[2]) -> f32[2] {
    ...   %a = f32[2]{0} parameter(0)
    ...   ROOT %w = while(%a), body=%body, backend_config={"known_trip_count":{"n":"4"}}
    ... }
    ... ''')
    [Collective(opcode='all-reduce', bytes=8, times=4)]
    """
    times = _times(text)
    found = []
    for match in COMPUTATION.finditer(text):
        for exchange in EXCHANGE.finditer(match["body"]):
            if match["name"] not in times:
                raise ValueError(
                    f"loops with exchanges must be of known length; got one in "
                    f"{match['name']}: compile for steps of a fixed length"
                )
            size = sum(_sizes(exchange["result"]))
            found.append(Collective(exchange["opcode"], size, times[match["name"]]))
    return found


def exchanged_bytes(text: str) -> int:
    """Return the bytes of all results of exchanges in one call of a program."""
    return sum(one.bytes * one.times for one in collectives(text))


def _times(text: str) -> dict[str, int]:
    """Return how often each computation runs that is reached by calls and loops."""
    times: dict[str, int] = {}
    # A callee is printed before its caller, so each is met after all that call it.
    for match in reversed(list(COMPUTATION.finditer(text))):
        if match[0].startswith("ENTRY"):
            times[match["name"]] = 1
        own = times.get(match["name"], 0)
        for callee, trips in _calls(match["body"]) if own else ():
            times[callee] = times.get(callee, 0) + own * trips
    return times


def _calls(body: str) -> Iterator[tuple[str, int]]:
    for line in body.splitlines():
        loop, trips = LOOP.search(line), TRIPS.search(line)
        if loop and trips:
            yield loop[1], int(trips[1])
        for callee in INLINED.findall(line):
            yield callee, 1
        for several, single in BRANCHES.findall(line):
            for callee in re.findall(r"[\w.-]+", several or single):
                yield callee, 1


def _sizes(result: str) -> Iterator[int]:
    for dtype, shape in SHAPE.findall(result):
        yield BYTES[dtype] * math.prod(int(n) for n in shape.split(",") if n)
