"""Frozen classes mean what frozen data classes with slots mean."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from adjit.ir.frozen import changed, fields_of, frozen, record


@frozen
class Point:
    """A place."""

    x: int
    y: int = 0
    dims: ClassVar[int] = 2

    @property
    def sum(self) -> int:
        return self.x + self.y


@frozen
class Named(Point):
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a name is needed")


@frozen
class Empty:
    pass


@dataclass(frozen=True, slots=True)
class Model:
    x: int
    y: int = 0


def test_fields_defaults_and_text() -> None:
    assert (Point(1).x, Point(1).y, Point(x=3, y=4).sum) == (1, 0, 7)
    assert (Point.dims, Point.__doc__) == (2, "A place.")
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
    assert repr(Named(1, name="a")) == "Named(x=1, y=0, name='a')"
    assert repr(Empty()) == "Empty()"


def test_equality_and_hash_are_those_of_the_fields_and_the_class() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert Point(1) != Model(1)
    assert Named(1, 2, "a") != Point(1, 2)
    assert Empty() == Empty()
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point([]))  # type: ignore[arg-type]


def test_nothing_can_be_assigned() -> None:
    point: Any = Point(1)
    for change in (lambda: setattr(point, "x", 2), lambda: setattr(point, "z", 2), lambda: delattr(point, "x")):
        with pytest.raises(AttributeError):
            change()
    assert not hasattr(point, "__dict__")
    assert point == Point(1)


@pytest.mark.parametrize("given", [(), (1, 2, 3)])
def test_wrong_arguments_are_type_errors(given: Any) -> None:
    for _ in range(2):  # before and after its __init__ is written
        with pytest.raises(TypeError, match="__init__"):
            Point(*given)
    with pytest.raises(ValueError, match="a name is needed"):
        Named(1)


def test_copies_pickles_and_patterns() -> None:
    point = Named(1, 2, "a")
    assert pickle.loads(pickle.dumps(point)) == copy.deepcopy(point) == copy.copy(point) == point
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


@record
class Tally:
    name: str
    seen: list[int] = field(default_factory=list)
    most: int = 9


def test_a_record_can_be_assigned_and_has_defaults_of_its_own() -> None:
    one, other = Tally("a"), Tally("a", most=9)
    one.seen.append(3)
    one.most = 4
    assert (repr(one), other) == ("Tally(name='a', seen=[3], most=4)", Tally("a", []))
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    with pytest.raises(AttributeError):
        one.unknown = 1  # type: ignore[attr-defined]


def test_changed_is_a_copy_with_other_fields() -> None:
    assert (changed(Point(1, 2), y=3), fields_of(Point(1, 2))) == (Point(1, 3), {"x": 1, "y": 2})
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        changed(Point(1, 2), z=3)


@frozen
class Wide:
    a: int
    b: int
    c: int
    d: int
    e: int
    f: int = 6


@frozen
class Listed:
    seen: list[int] = field(default_factory=list)
    last: Any = None


@pytest.mark.parametrize("kind", [Point, Wide, Model])
def test_fields_are_given_by_place_or_by_name(kind: Any) -> None:
    names = list(kind.__match_args__)
    for known in range(len(names) + 1):
        given, named = range(known), {name: number for number, name in enumerate(names) if number >= known}
        assert [getattr(kind(*given, **named), name) for name in names] == list(range(len(names)))
    for named in ({"unknown": 1}, {names[0]: 1}):
        with pytest.raises(TypeError, match="__init__"):
            kind(*range(len(names)), **named)
    with pytest.raises(TypeError, match=f"__init__.*'{names[0]}'"):
        kind(**{name: 1 for name in names[1:]})


def test_a_default_factory_is_asked_for_each_value() -> None:
    one, other = Listed(), Listed(last=2)
    one.seen.append(1)
    assert (one.seen, other.seen, other.last, Listed([3], 4)) == ([1], [], 2, Listed(seen=[3], last=4))


@frozen
class Quotient:
    """Its fields are letters that any function may use for itself."""

    p: int
    q: int
    r: int = 3


def test_a_debugger_that_reads_the_arguments_does_not_change_them() -> None:
    def trace(frame: Any, *_: Any) -> Any:
        return trace if dict(frame.f_locals) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        made = Quotient(1, q=2)
    finally:
        sys.settrace(before)
    assert (made.p, made.q, made.r) == (1, 2, 3)
