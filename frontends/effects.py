"""What a traced function changed in Python: attributes, globals, closures, lists and dicts.

A trace is taken back when it ends, so that it leaves no trace of its own; every call of the program then makes the
changes again, with its own results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import CellType
from typing import Any

from adjit import trees
from adjit.epoch import EPOCH
from adjit.ir.frozen import record
from adjit.places import ABSENT, Place, same
from adjit.reach import LONGEST


@record
class Effect:
    """A change: what a place gets.

    `owner` is the number of the argument's container that the place is in, -1 for a place that is always the same.
    `structure` is None where the place is emptied.
    """

    owner: int
    place: Place
    outputs: Sequence[Any] = ()
    structure: Any = None
    lifted: bool = False


@record
class Refill:
    """A change of a list, deque or set as a whole: `items` are indices of what it held, or outputs and structure.

    `keeps` says that all that it held stays, in front.
    """

    owner: int
    container: Any
    items: list[int | tuple[Sequence[Any], Any]]
    keeps: bool


def containers_in(tree: Any) -> list[Any]:
    """The lists, dicts, deques and dataclasses' instances of a tree, in an order that depends on its structure only."""
    found: list[Any] = []
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            found.append(item)
            pending += item.values()
        elif isinstance(item, (list, deque)):
            found.append(item)
            pending += item
        elif isinstance(item, tuple):
            pending += item
        elif trees.is_dataclass_tree(item):
            found.append(item)
            pending += [getattr(item, name) for name in trees.names_of(item)]
    return found


class Changes:
    """Watches what may be written while a function is traced, finds what was, and takes it back."""

    def __init__(self, spaces: Sequence[tuple[Any, set[str] | None]]) -> None:
        self._spaces = [(container, names) for container, names in spaces if not _is_long(container)]
        self._before = [_contents(container, names) for container, names in self._spaces]
        self._owned: list[Any] = []
        self._owned_start: list[Any] = []
        self._start: list[Any] = []

    def begin(self, arguments: Any = ()) -> None:
        """From here on the function runs, on these arguments."""
        self._start = [_contents(container, names) for container, names in self._spaces]
        self._owned = containers_in(arguments)
        self._owned_start = [_contents(_space_of(container), None) for container in self._owned]

    def found(self, outputs: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Effect | Refill]:
        """What the function changed; `outputs` says of leaves how a call gets them."""
        effects: list[Effect | Refill] = []
        known = {id(container) for container, _ in self._spaces} | {id(container) for container in self._owned}

        def described(value: Any) -> tuple[Sequence[Any], Any]:
            leaves, structure = trees.flatten(value, none_is_leaf=True, is_leaf=lambda item: id(item) in known)
            return outputs(leaves), structure

        spaces = [(-1, container, names) for container, names in self._spaces]
        spaces += [(owner, _space_of(container), None) for owner, container in enumerate(self._owned)]
        for (owner, container, names), before in zip(spaces, [*self._start, *self._owned_start], strict=True):
            after = _contents(container, names)
            if isinstance(before, dict):
                for key in dict.fromkeys((*before, *after)):
                    old, new = before.get(key, ABSENT), after.get(key, ABSENT)
                    if not same(new, old):
                        parts = ((), None) if new is ABSENT else described(new)
                        effects.append(Effect(owner, Place(container, key), *parts))
            elif len(before) == len(after) and not isinstance(container, set):
                for index, (old, new) in enumerate(zip(before, after, strict=True)):
                    if not same(new, old):
                        effects.append(Effect(owner, Place(container, index), *described(new)))
            elif len(before) != len(after) or not all(map(same, after, before)):
                effects.append(_refill(owner, container, before, after, described))
        return effects

    def has_set(self, container: dict[str, Any], key: str) -> bool:
        """Whether the function has put something else under a key by now."""
        for (space, _), before in zip(self._spaces, self._start, strict=True):
            if space is container:
                return before.get(key, ABSENT) is not container.get(key, ABSENT)
        return False

    def places(self) -> list[Place] | None:
        """The places that hold something else by now; None where a list or set has another length."""
        found: list[Place] = []
        for (container, names), before in zip(self._spaces, self._start, strict=True):
            after = _contents(container, names)
            if isinstance(before, dict):
                keys = dict.fromkeys((*before, *after))
                found += [Place(container, k) for k in keys if not same(after.get(k, ABSENT), before.get(k, ABSENT))]
            elif len(before) != len(after) or isinstance(container, set):
                if len(before) != len(after) or not all(map(same, after, before)):
                    return None
            else:
                found += [Place(container, i) for i, old in enumerate(before) if not same(after[i], old)]
        return found

    def undo(self) -> None:
        """Put everything back as it was before the trace."""
        for (container, names), before in zip(self._spaces, self._before, strict=True):
            after = _contents(container, names)
            if isinstance(before, dict):
                for key in before.keys() | after.keys():
                    old = before.get(key, ABSENT)
                    if after.get(key, ABSENT) is not old:
                        Place(container, key).write(old)
            elif len(before) != len(after) or any(a is not b for a, b in zip(after, before, strict=True)):
                _fill(container, before)


def _is_long(container: Any) -> bool:
    return isinstance(container, (list, deque, set)) and len(container) >= LONGEST


def _space_of(container: Any) -> Any:
    """Where an argument's container keeps what may change: for an instance its attributes."""
    return container if isinstance(container, (dict, list, deque)) else getattr(container, "__dict__", container)


def _contents(container: Any, names: set[str] | None) -> Any:
    """A copy of what a container holds: a dict by key, or a list."""
    if isinstance(container, CellType):
        return {None: Place(container).read()}
    if isinstance(container, dict):
        return dict(container) if names is None else {name: container[name] for name in names & container.keys()}
    if isinstance(container, (list, deque, set)):
        return list(container)
    return {name: getattr(container, name) for name in trees.names_of(container)}


def _refill(owner: int, container: Any, before: list[Any], after: list[Any], described: Any) -> Refill:
    places = {id(item): index for index, item in reversed(list(enumerate(before)))}
    keeps = len(after) >= len(before) and all(a is b for a, b in zip(before, after, strict=False))
    rest = after[len(before) :] if keeps else after
    items = [described(item) if keeps or id(item) not in places else places[id(item)] for item in rest]
    return Refill(owner, container, items, keeps and not isinstance(container, set))


def _fill(container: Any, items: Sequence[Any]) -> None:
    """Let a list, deque or set hold these items."""
    container.clear()
    if isinstance(container, set):
        container.update(items)
    else:
        container.extend(items)


def apply(
    effects: Sequence[Effect | Refill], arguments: Any, leaves_of: Callable[[Sequence[Any]], Sequence[Any]]
) -> None:
    """Make a call's changes; `leaves_of` gives the leaves for outputs."""
    owned = [_space_of(item) for item in containers_in(arguments)] if any(e.owner >= 0 for e in effects) else []

    def value_of(outputs: Sequence[Any], structure: Any) -> Any:
        return trees.unflatten(structure, leaves_of(outputs))

    for effect in effects:
        if isinstance(effect, Refill):
            container = owned[effect.owner] if effect.owner >= 0 else effect.container
            before = list(container)
            items = [before[item] if isinstance(item, int) else value_of(*item) for item in effect.items]
            if effect.keeps:
                container.extend(items)
            else:
                _fill(container, items)
            continue
        place = Place(owned[effect.owner], effect.place.key) if effect.owner >= 0 else effect.place
        place.write(ABSENT if effect.structure is None else value_of(effect.outputs, effect.structure))
    if not all(isinstance(effect, Effect) and effect.lifted for effect in effects):
        EPOCH.advance()
