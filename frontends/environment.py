"""The Python state that a trace relied on: globals, closures, attributes, lists, dicts, modules and their hooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from adjit.autograd.record import hook_numbers
from adjit.contents import Contents
from adjit.definitions import ClassState, FunctionState, ObjectState
from adjit.dtypes import default_float
from adjit.places import ABSENT, SIMPLE, Place, same
from adjit.reach import MAKING, OF_FUNCTIONS, TABLES, Reach
from adjit.settings import switches
from adjit.state import STATE, epoch_here
from adjit.tensor import Tensor


class Environment:
    """A snapshot of what a function reads beside its arguments, and whether it still holds.

    Names, closures, attributes, lists and dicts are compared at every call; modules only when something announced a
    change (see epoch.py).  `lifted` are places that count as arguments: what stands there is no matter of this.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any], lifted: Sequence[Place] = ()) -> None:
        self.reach = Reach(function, arguments)
        self._lifted = {place.identity for place in lifted}
        self.places = [(p, p.read()) for key, p in self.reach.places.items() if key not in self._lifted]
        self._containers = [(item, self._parts(item)) for item in self.reach.containers]
        self._arrays = [(item, Contents(item)) for item in self.reach.arrays]
        self._states = [(module, self._state(module)) for module in self.reach.modules]
        counted = {*self.reach.places, *self._lifted}
        names = self.reach.names
        of_classes = {*names, *MAKING, *OF_FUNCTIONS}
        self.functions = [FunctionState(function) for function in self.reach.functions]
        self.classes = [ClassState(cls, of_classes, counted) for cls in self.reach.classes]
        self.objects = [ObjectState(item, names) for item in self.reach.objects]
        self._settings = settings()
        self._hooked: list[tuple[Tensor, tuple[int, ...]]] = []

    @property
    def volatile(self) -> bool:
        """Whether names, lists or dicts are compared at every call."""
        return bool(self.places or self._containers)

    @property
    def is_compared(self) -> bool:
        """Whether there is anything to compare at every call."""
        return bool(self.volatile or self._arrays or self.functions or self.classes or self.objects)

    @property
    def containers(self) -> list[Any]:
        """The lists and dicts that were read."""
        return [item for item, _ in self._containers]

    @property
    def modules(self) -> list[Any]:
        """The modules that were read."""
        return self.reach.modules

    def name_tensors(self) -> None:
        """Give parameters and global tensors the names that the IR shows."""
        for module in self.reach.roots:
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                tensor.__dict__.setdefault("_trace_name", name.replace(".", "_"))
        for place, content in self.places:
            if isinstance(content, Tensor) and isinstance(place.key, str):
                content.__dict__.setdefault("_trace_name", place.key)

    def add(self, places: Iterable[Place]) -> None:
        """Compare these as well, among them names that mean nothing yet."""
        known = {place.identity for place, _ in self.places} | self._lifted
        self.places += [(place, place.read()) for place in places if place.identity not in known]

    def ignore(self, items: Iterable[Any]) -> None:
        """Leave lists out of the comparison, which the function only appends to, and arrays that are read when run."""
        left_out = {id(item) for item in items}
        self._arrays = [pair for pair in self._arrays if id(pair[0]) not in left_out]
        self._containers = [pair for pair in self._containers if id(pair[0]) not in left_out]

    @property
    def arrays(self) -> list[Any]:
        """The arrays of numbers that were read, which are no tensors, and lists and dicts of many plain values."""
        return [item for item, _ in self._arrays]

    def arrays_hold(self) -> bool:
        """Whether arrays, and lists and dicts of many plain values, hold what they held."""
        return all(contents.holds() for _, contents in self._arrays)

    def containers_hold(self) -> bool:
        """Whether the lists and dicts that were read hold what they held."""
        return all(_holds_still(self._parts(item), parts) for item, parts in self._containers)

    def holds(self) -> bool:
        """Whether nothing that was read has changed."""
        return self.change() is None

    def change(self) -> str | None:
        """The first thing that was read and has changed since, or None."""
        for place, content in self.places:
            found = place.read()
            if not same(found, content):
                return f"{place}: {_shown(content)} -> {'gone' if found is ABSENT else _shown(found)}"
        for container, parts in self._containers:
            now = self._parts(container)
            if not _holds_still(now, parts):
                return f"what a {type(container).__name__} holds: {_shown(parts)} -> {_shown(now)}"
        if not self.arrays_hold():
            return "the numbers in an array or a long list"
        definitions: list[FunctionState | ClassState | ObjectState] = [*self.functions, *self.classes, *self.objects]
        for known in definitions:
            if not known.holds():
                return known.difference()
        if not self.hooks_hold():
            return "the hooks on a captured tensor"
        if settings() != self._settings:
            return "the default dtype, a switch or the hooks of all modules"
        for module, state in self._states:
            after = self._state(module)
            if after != state:
                return state.difference(after)
        return None

    def conditions(self) -> list[str]:
        """What must still hold, in words: plain values by name, and how many lists and modules are watched."""
        found = [f"{place} is {_shown(content)}" for place, content in self.places if isinstance(content, SIMPLE)]
        if self._containers:
            found.append(f"{len(self._containers)} lists and dicts hold what they held")
        if self.modules:
            found.append(f"{len(self.modules)} modules have the same attributes, parameters and hooks")
        return found

    def changed(self) -> Iterator[tuple[Place, Any, Any]]:
        """The places that hold something else than they did: what they held, and hold."""
        for place, content in self.places:
            yield place, content, place.read()
        for item, parts in self._containers:
            if isinstance(item, dict):
                for key, before in zip(parts[: len(parts) // 2], parts[len(parts) // 2 :], strict=True):
                    yield Place(item, key), before, item.get(key, ABSENT)
            elif isinstance(item, list):
                for index, (before, now) in enumerate(zip(parts, item, strict=False)):
                    yield Place(item, index), before, now
        for module, state in self._states:
            own = module.__dict__
            for name, before in state.simple:
                yield Place(own, name), before, own.get(name, ABSENT)
            for name, before in state.buffers:
                yield Place(own["_buffers"], name), before, own["_buffers"].get(name, ABSENT)

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Take the hooks on the gradients of captured tensors into the snapshot."""
        self._hooked = [(tensor, hook_numbers(tensor)) for tensor in tensors if tensor.requires_grad]

    def lifts(self, container: Any, key: Any) -> bool:
        """Whether what stands in a container under a key counts as an argument."""
        return (id(container), key) in self._lifted

    def lifts_any(self, container: Any) -> bool:
        """Whether anything in a container counts as an argument."""
        return any(own == id(container) for own, _ in self._lifted)

    def hooks_hold(self) -> bool:
        """Whether the hooks on the gradients of captured tensors are what they were."""
        return all(hook_numbers(tensor) == before for tensor, before in self._hooked)

    def announced_hold(self) -> bool:
        """Whether what announces each change is as it was: hooks on tensors, and what counts everywhere."""
        return self.hooks_hold() and settings() == self._settings

    def _parts(self, container: Any) -> tuple[Any, ...]:
        """What a list or dict holds, keys first; ABSENT for what counts as an argument."""
        if not self._lifted:
            return (*container, *container.values()) if isinstance(container, dict) else tuple(container)
        own = id(container)
        if isinstance(container, dict):
            values = (ABSENT if (own, key) in self._lifted else item for key, item in container.items())
            return (*container, *values)
        return tuple(ABSENT if (own, index) in self._lifted else item for index, item in enumerate(container))

    def _state(self, module: Any) -> _ModuleState:
        return _ModuleState(module, self._lifted)


def settings() -> tuple[Any, ...]:
    """What code anywhere may go by: the default dtype, switches, autocast, hooks of all modules."""
    epoch_here()
    hooks = sys.modules.get("adjit.nn.global_hooks")  # nobody has them who did not load it; a thread may be at it
    tables = tuple(tuple(table) for table in getattr(hooks, "OF_CALLS", ()))
    numbers = tables if any(tables) else ()  # to load it changes nothing
    return default_float(), numbers, switches(), STATE.autocast


def _holds_still(found: tuple[Any, ...], parts: tuple[Any, ...]) -> bool:
    """Whether a list or dict holds what it held: the same objects, or equal plain values."""
    return len(found) == len(parts) and all(map(same, found, parts))


def simple_attributes(module: Any) -> list[str]:
    """The names of a module's attributes that are plain values or tensors."""
    return [k for k, v in module.__dict__.items() if isinstance(v, (*SIMPLE, Tensor)) and not k.startswith("__")]


def _shown(content: Any) -> str:
    """A plain value as it is written, cut short; of others, the kind."""
    text = repr(content) if isinstance(content, SIMPLE) else f"a {type(content).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


class _ModuleState:
    """What a module's `forward` can read that is not a tensor's data."""

    __slots__ = ("buffers", "flags", "forward", "held", "name", "simple")

    def __init__(self, module: Any, lifted: set[tuple[int, Any]]) -> None:
        own = module.__dict__
        self.simple = [(k, own[k]) for k in simple_attributes(module) if (id(own), k) not in lifted]
        buffers = own.get("_buffers", {})
        self.buffers = [(name, item) for name, item in buffers.items() if (id(buffers), name) not in lifted]
        self.held = [list(own.get(key, {}).items()) for key in TABLES if key != "_buffers"]
        self.flags = [p.requires_grad for p in own.get("_parameters", {}).values() if p is not None]
        self.forward, self.name = own.get("forward", type(module).forward), type(module).__name__

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, _ModuleState)
        mine = [self.simple, self.buffers, *self.held]
        its = [other.simple, other.buffers, *other.held]
        if [len(table) for table in mine] != [len(table) for table in its]:
            return False
        pairs = ((a, b) for left, right in zip(mine, its, strict=True) for a, b in zip(left, right, strict=True))
        alike = all(a[0] == b[0] and same(a[1], b[1]) for a, b in pairs)
        return alike and self.flags == other.flags and self.forward is other.forward

    __hash__ = None  # type: ignore[assignment]

    def difference(self, after: _ModuleState) -> str:
        """What differs in another state of the module."""
        old, new = dict(self.simple), dict(after.simple)
        for key in old.keys() | new.keys():
            if key not in old or key not in new or not same(new[key], old[key]):
                return f"{key} of {self.name}: {_shown(old.get(key))} -> {_shown(new.get(key))}"
        if self.flags != after.flags:
            return f"requires_grad of parameters of {self.name}"
        return f"parameters, buffers, modules or hooks of {self.name}" if self.forward is after.forward else "forward"
