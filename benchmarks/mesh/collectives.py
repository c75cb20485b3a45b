"""What a compiled program exchanges between devices."""

from typing import NamedTuple

from lars_jax.compiler.account import COLLECTIVES
from lars_jax.compiler.hlo import STARTS, parse_module


class Collective(NamedTuple):
    """One exchange of a program."""

    opcode: str
    bytes: int
    """Of its results on one device, each time that it runs."""
    times: int
    """How often it runs in one call of the program: more than once inside loops."""


def collectives(text: str) -> list[Collective]:
    """Return every exchange of a compiled program, those of all branches among them.

    Args:
        text: as `compiled.as_text()` returns it.
    """
    found = []
    for launch in parse_module(text).launches():
        one = launch.instruction
        opcode = one.opcode.removesuffix(STARTS)
        if opcode in COLLECTIVES:
            size = sum(array.bytes for array in one.made)
            found.append(Collective(opcode, size, launch.times))
    return found


def exchanged_bytes(text: str) -> int:
    """Return the bytes of all results of exchanges in one call of a program."""
    return sum(one.bytes * one.times for one in collectives(text))
