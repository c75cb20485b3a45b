"""Configurations to JSON and back, and refusals."""

import json
from dataclasses import dataclass
from typing import Literal

import pytest

from lars_jax import InputError
from lars_jax.train.config import (
    difference,
    digest,
    flatten,
    from_json,
    replace_fields,
    to_json,
)


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    name: str | None = None
    flag: bool = False
    count: int = 1
    span: int | Literal["all", "none"] = "all"


def test_round_trip_through_text_is_the_same_object():
    config = Outer(Inner(2.0, "b"), "x", True, 7)
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": "one"}, "count must be a whole number; got 'one'"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"count": True}, "count must be a whole number"),
        ({"flag": 1}, "flag must be true or false"),
        ({"inner": {"rate": 0.5, "kind": "c"}}, "kind must be one of a, b"),
        ({"inner": {"rate": None, "kind": "a"}}, "rate must be a finite number"),
        ({"inner": 3}, "inner must be Inner"),
        ({"span": None}, "span must be a whole number or one of all, none; got None"),
        ({"span": "some"}, "or one of all, none; got 'some'"),
        ({"name": 3}, "name must be a text or left out; got 3"),
        ({"extra": 1}, r"unknown: \['extra'\]"),
    ],
)
def test_value_of_another_type_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        from_json(Outer, to_json(Outer()) | change)


@pytest.mark.parametrize("span", [4, "none"])
def test_number_or_a_word_is_read_as_written(span):
    config = Outer(span=span)
    assert from_json(Outer, json.loads(json.dumps(to_json(config)))) == config


def test_field_that_a_run_of_before_has_not_takes_its_default():
    data = to_json(Outer(name="other"))
    del data["name"]
    assert from_json(Outer, data) == Outer()


@dataclass(frozen=True)
class Needing:
    """A field that has no default."""

    name: str


def test_missing_field_is_named():
    with pytest.raises(InputError, match=r"missing: \['name'\]"):
        from_json(Needing, {})


def test_fields_are_replaced_wherever_they_are():
    found = replace_fields(Outer(), rate=0.25, name="other")
    assert found == Outer(Inner(0.25), "other")
    with pytest.raises(TypeError, match="speed"):
        replace_fields(Outer(), speed=1)


def test_whole_number_is_taken_for_a_float_field():
    assert from_json(Inner, {"rate": 2, "kind": "a"}) == Inner(2.0)


@dataclass(frozen=True)
class Tuples:
    scales: tuple[float, ...] = (8.0, 16.0)
    ends: tuple[int, float] = (0, 0.5)


def test_tuples_come_back_from_lists_with_their_types():
    config = Tuples((1.0,), (3, 2.0))
    assert from_json(Tuples, json.loads(json.dumps(to_json(config)))) == config
    found = from_json(Tuples, {"scales": [1, 2], "ends": [1, 2]})
    assert repr(found) == "Tuples(scales=(1.0, 2.0), ends=(1, 2.0))"


@pytest.mark.parametrize("data", [{"ends": [1]}, {"scales": ["a"]}, {"ends": 3}])
def test_other_than_the_tuple_of_a_field_is_refused(data):
    with pytest.raises(InputError, match="must be"):
        from_json(Tuples, data)


def test_difference_names_what_changed_and_how():
    old, new = to_json(Outer()), to_json(Outer(Inner(0.25)))
    assert difference(old, new) == ["inner.rate: 0.5 -> 0.25"]
    assert difference(old, old) == []


def test_digest_depends_on_every_value():
    digests = {digest(Outer(count=count)) for count in range(5)}
    assert len(digests) == 5
    assert digest(Outer()) == digest(Outer())


def test_flatten_joins_names():
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}
