"""Cases of one test of which only some run wherever tests run."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest


def mostly_slow(cases: Mapping[str, Sequence[Any]], quick: Collection[str]) -> list:
    """Return the cases of a test, marked as slow but for those named.

    Args:
        cases: the values of each, by its name.
        quick: names of the others.

    >>> [case.id for case in mostly_slow({"a": (1,), "b": (2,)}, ["b"]) if case.marks]
    ['a']
    """
    assert set(quick) <= cases.keys()
    return [
        pytest.param(*values, id=name, marks=() if name in quick else pytest.mark.slow)
        for name, values in cases.items()
    ]
