"""What counts as an argument because it differs from call to call: tensors and numbers in attributes, dicts, globals,
lists, and numbers among the arguments.

A hidden state in an attribute, a running sum in a dict, a counter, a learning rate: they are read at every call,
instead of being part of the program.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from adjit.call import Call
from adjit.effects import Effect
from adjit.entry import Entry
from adjit.places import Place, same
from adjit.tensor import Tensor

# So many values may a number have in programs of their own: an int often decides about shapes and loops.
_VALUES = {float: 1, int: 2}


class Lifting:
    """The lifted places and numbers of one compiled function, by the arguments' signature."""

    def __init__(self) -> None:
        self._places: dict[Any, list[Place]] = {}
        self._latest: dict[Any, Entry] = {}
        self._written: set[tuple[int, Any]] = set()  # the places that the function itself changes
        self._changes: Counter[tuple[int, Any]] = Counter()  # of numbers that others change
        self._values: defaultdict[Any, defaultdict[int, set[Any]]] = defaultdict(lambda: defaultdict(set))
        self._numbers: dict[Any, tuple[int, ...]] = {}
        self._fixed: set[Any] = set()  # numbers that the program must know

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """A call with what stands at the lifted places."""
        call = Call(args, kwargs)
        if self._numbers:
            numbers = self._numbers.get(_kinds(call))
            if numbers:
                call = Call(args, kwargs, numbers)
        places = self._places.get(call.own_key) if self._places else None
        return call if places is None else call.lift(places)

    def lift_numbers(self, call: Call) -> bool:
        """Lift the arguments that are numbers and have had other values; whether that was any."""
        kinds = _kinds(call)
        found = []
        for index, leaf in enumerate(call.leaves):
            if type(leaf) in _VALUES and index not in call.numbers and (kinds, index) not in self._fixed:
                values = self._values[kinds][index]
                values.add(leaf)
                if len(values) > _VALUES[type(leaf)]:
                    found.append(index)
        if found:
            self._numbers[kinds] = tuple(sorted({*call.numbers, *found}))
        return bool(found)

    def lift_changed(self, call: Call) -> bool:
        """Lift what no longer holds what it held when the latest program was traced; whether that was anything."""
        latest = self._latest.pop(call.own_key, None)
        if latest is None:
            return False
        changed = (
            place
            for place, before, now in latest.environment.changed()
            if not same(now, before) and self._may_differ(place, before, now)
        )
        return self._add(call, changed)

    def _may_differ(self, place: Place, before: Any, now: Any) -> bool:
        if isinstance(now, Tensor):
            return isinstance(before, Tensor)
        if not {type(before), type(now)} <= {int, float}:
            return False
        if place.identity in self._written:
            return True
        self._changes[place.identity] += 1
        return self._changes[place.identity] > _VALUES[type(now)]

    def lift_written(self, call: Call, entry: Entry) -> bool:
        """Lift what the traced function computes anew from what it finds there; whether that was anything."""
        self._latest[call.own_key] = entry
        computed: list[Place] = []
        for effect in entry.effects:
            if not isinstance(effect, Effect) or effect.owner >= 0 or effect.lifted:
                continue
            self._written.add(effect.place.identity)
            found = effect.place.read()
            anew = any(output.kind in ("graph", "number", "view") for output in effect.outputs)
            if anew and (type(found) in (int, float) or isinstance(found, Tensor)):
                computed.append(effect.place)
        return self._add(call, computed)

    def fix_numbers(self, call: Call) -> bool:
        """After a trace that failed: take the numbers out of what is lifted; whether there were any."""
        found = (place for place, item in call.lifted if isinstance(item, Tensor) and place.read() is not item)
        numbers = {place.identity for place in found}
        self._fixed |= numbers
        places = self._places.get(call.own_key, [])
        self._places[call.own_key] = [place for place in places if place.identity not in self._fixed]
        if call.numbers and not numbers:
            kinds = _kinds(call)
            self._fixed |= {(kinds, index) for index in call.numbers}
            del self._numbers[kinds]
        return bool(numbers or call.numbers)

    def _add(self, call: Call, places: Iterable[Place]) -> bool:
        own = self._places.get(call.own_key, [])
        known = {place.identity for place in own} | self._fixed
        fresh = {place.identity: place for place in places if place.identity not in known}
        if fresh:
            self._places[call.own_key] = [*own, *fresh.values()]
        return bool(fresh)


def _kinds(call: Call) -> Any:
    """What does not change where only a number's value does."""
    numbers = set(call.numbers)
    own = call.own_key.arguments
    kinds = (
        _kind_of(call.leaves[i]) if i in numbers else item[0] if isinstance(item[0], type) else item
        for i, item in enumerate(own)
    )
    return call.structure, tuple(kinds)


def _kind_of(number: Any) -> type:
    """The Python type of a number that counts as a tensor, or is beyond what one holds."""
    return _PYTHON[number._dtype.name] if isinstance(number, Tensor) else type(number)


_PYTHON = {"f64": float, "i64": int}
