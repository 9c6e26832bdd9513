"""Where objects keep their slots, and what only looks like one."""

from __future__ import annotations

import types

import pytest

from adjit.runtime.layout import has_slot, slot_offset, word_at


class Slotted:
    __slots__ = ("first", "second")


class Heir(Slotted):
    pass


class Hiding(Slotted):
    @property
    def first(self) -> int:  # type: ignore[override]
        return 1


@pytest.mark.parametrize("cls", [Slotted, Heir, Hiding])
def test_a_slot_stands_where_its_offset_says(cls: type) -> None:
    item = cls()
    item.second = object()
    assert has_slot(cls, "second")
    assert word_at(id(item) + slot_offset(cls, "second")) == id(item.second)


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Hiding, "first"), (Slotted, "third"), (complex, "real"), (types.CodeType, "co_argcount"), (Heir, "__dict__")],
)
def test_other_attributes_are_no_slots(cls: type, name: str) -> None:
    assert not has_slot(cls, name)
    with pytest.raises(AttributeError, match=f"has no slot {name}"):
        slot_offset(cls, name)
