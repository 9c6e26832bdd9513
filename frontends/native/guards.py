"""What a traced program relied on, as words that native code compares: identities of objects at known places."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import CellType
from typing import Any

import numpy as np

from adjit.compiler.entry import known as k
from adjit.definitions import ClassState, FunctionState, ObjectState
from adjit.entry import Entry
from adjit.environment import Environment, simple_attributes
from adjit.epoch import EPOCH
from adjit.places import ABSENT, Place, same
from adjit.reach import TABLES
from adjit.runtime.layout import (
    CONTENT,
    TYPE,
    TYPE_VERSION,
    USED,
    function_offsets,
    has_slot,
    namespace_place,
    slot_offset,
)
from adjit.tensor import Tensor
from adjit.trace_parts import GradientType, ItemCheck

# Words of names and places that are compared at each call: some hundred microseconds.
_MOST = 100_000


class Guards:
    """Guards under construction: words at addresses, names in namespaces, items of which a function is asked where they
    are other objects, dicts as they stand, functions that must say True.

    `rest` are compared only where something announced a change since.
    """

    def __init__(self) -> None:
        self.words: list[int] = []
        self.names: list[int] = []
        self.items: list[int] = []
        self.dicts: list[int] = []
        self.dict_count = 0
        self.checks: list[Any] = []
        self.kept: list[Any] = []
        self.rest: Guards | None = None
        self.epoch = 0  # the count of changes when they were last compared

    def word(self, address: int, item: Any, *, null: bool = False) -> None:
        """The word at an address is the object `item`'s identity, or 0 for None if `null`."""
        self.words += [address, 0 if null and item is None else id(item)]
        self.kept.append(item)

    def slot(self, owner: Any, name: str) -> None:
        """A slot of an object holds what it holds now."""
        self.word(id(owner) + slot_offset(type(owner), name), getattr(owner, name))
        self.kept.append(owner)

    def name(self, namespace: dict[str, Any], name: str) -> None:
        """A name means the object that it means now, or nothing as now."""
        found = namespace.get(name, self)
        self.names += [id(namespace), id(name), 0 if found is self else id(found)]
        self.kept += [namespace, name, found]

    def count(self, namespace: dict[str, Any]) -> None:
        """A namespace has as many names as now."""
        self.words += [id(namespace) + USED, len(namespace)]
        self.kept.append(namespace)

    def whole(self, mapping: dict[Any, Any], lifted: Callable[[Any, Any], bool]) -> None:
        """A dict holds what it holds now, in its order; under keys that are lifted anything."""
        self.dicts += [id(mapping), len(mapping)]
        for key, item in mapping.items():
            self.dicts += [id(key), 0 if lifted(mapping, key) else id(item)]
            self.kept += [key, item]
        self.dict_count += 1
        self.kept.append(mapping)

    def check(self, check: Callable[[], bool]) -> None:
        """A function says True; of one that compares an item of a dict, only where that is another object."""
        self.kept.append(check)
        if isinstance(check, ItemCheck) and type(check.holder) is dict:
            self.items += [id(check.holder), id(check.key), id(check.value), id(check)]
        else:
            self.checks.append(check)

    def _lists(self) -> list[int]:
        lists = ((self.words, 2), (self.names, 3), (self.items, 4))
        found = [word for words, width in lists for word in (len(words) // width, *words)]
        return [*found, self.dict_count, *self.dicts, len(self.checks), *map(id, self.checks)]

    def block(self) -> np.ndarray:
        """The block that the native entry reads, and writes in the place of the change that it knows."""
        words = self._lists()
        if self.rest is None:
            return np.array([*words, 0], np.uint64)
        self.kept.append(self.rest)
        return np.array([*words, EPOCH.cell.buffer_info()[0], self.epoch, *self.rest._lists()], np.uint64)


def guards_of(entry: Entry) -> Guards | None:
    """The guards of a traced program; None where only Python can check them."""
    found = Guards()
    for check in entry.checks:
        if isinstance(check, GradientType):
            if check.type is None:  # one that is there is an operand
                found.word(id(check.tensor) + slot_offset(Tensor, "_grad"), None)
                found.kept.append(check.tensor)
        else:
            found.check(check)
    environment = entry.environment
    rest, found.epoch = Guards(), entry.epoch
    found.rest = rest
    rest.check(environment.announced_hold)
    rest.kept.append(environment)
    for source in entry.sources:
        if source.kind == "tensor":
            assert source.tensor is not None
            found.slot(source.tensor, "_memory")
            found.slot(source.tensor, "_chain")
            found.slot(source.tensor._memory, "array")
            found.slot(source.tensor, "_requires_grad")
            if source.tensor._base is not None:  # a write to it changes what its views are
                found.slot(source.tensor._base, "_requires_grad")
    # What a program with effects changes in Python nobody announces.
    modules = found if environment.volatile or entry.effects else rest
    if not _add_environment(found, environment, modules):
        return None
    return found if len(found.words) + len(found.names) < _MOST else None


def _add_environment(found: Guards, environment: Environment, modules: Guards) -> bool:
    """Add names, attributes, lists and dicts, and to `modules` those; False where a module's namespace is not a plain
    one."""
    rest: list[tuple[Place, Any]] = []
    for place, content in environment.places:
        container = place.container
        if isinstance(container, type):
            container = _namespace(container)
        if type(container) is dict:
            found.name(container, place.key)
        elif isinstance(container, CellType) and content is not ABSENT:
            found.word(id(container) + CONTENT, container.cell_contents)
            found.kept.append(container)
        elif has_slot(type(container), place.key) and content is not ABSENT:
            found.slot(container, place.key)
        else:
            rest.append((place, content))
    if rest:
        found.check(lambda: all(same(place.read(), content) for place, content in rest))
    _add_definitions(found, environment)
    if environment.arrays:
        found.check(environment.arrays_hold)
        found.kept.append(environment)
    others = False
    for item in environment.containers:
        if type(item) is dict:
            found.whole(item, environment.lifts)
        else:
            others = True
    if others:
        found.check(environment.containers_hold)
        found.kept.append(environment)
    return all(_add_module(modules, module, environment) for module in environment.modules)


def _add_definitions(found: Guards, environment: Environment) -> None:
    """Add functions, classes and objects: words where they say it all, else a question."""
    offsets = function_offsets()
    asked: list[FunctionState | ClassState | ObjectState] = []
    for function in environment.functions:
        if offsets:
            for offset, part in zip(offsets, function.parts, strict=True):
                found.word(id(function.function) + offset, part, null=True)
            found.kept.append(function)
        else:
            asked.append(function)
    for known in environment.classes:
        if known.is_settled and not environment.lifts_any(known.cls):
            found.words += [id(known.cls) + TYPE_VERSION, known.version]
            found.kept.append(known)
        else:
            asked.append(known)
    for state in environment.objects:
        place = 0 if state.own is None else namespace_place(state.item)
        if state.own is not None and (place == 0 or not state.is_settled):
            asked.append(state)
            continue
        found.word(id(state.item) + TYPE, state.cls)
        found.kept.append(state)
        if state.own is not None:
            found.word(place, state.own)
            found.count(state.own)
    if asked:
        found.check(lambda: all(known.holds() for known in asked))


def _add_module(found: Guards, module: Any, environment: Environment) -> bool:
    """Add the state of a module that its `forward` can read."""
    own = module.__dict__
    if type(own) is not dict:
        return False
    found.word(id(module) + TYPE, type(module))
    found.kept.append(module)
    found.count(own)
    for name in simple_attributes(module):
        if not environment.lifts(own, name):
            found.name(own, name)
    for table in TABLES:
        content = own.get(table)
        found.name(own, table)
        if content is None:
            continue
        if not isinstance(content, dict):
            return False
        found.whole(content, environment.lifts)
    for parameter in own.get("_parameters", {}).values():
        if isinstance(parameter, Tensor):
            if parameter._base is not None:
                return False
            found.slot(parameter, "_requires_grad")
    return _add_forward(found, type(module))


def place_words(place: Place) -> tuple[int, int, int] | None:
    """A place as the native entry reads it; None for one that only Python reads."""
    container, key = place.container, place.key
    if type(container) is dict:
        return k.IN_DICT, id(container), id(key)
    if isinstance(container, CellType):
        return k.IN_CELL, id(container), 0
    if type(container) is list:
        return k.IN_LIST, id(container), key
    if not isinstance(container, type) and has_slot(type(container), key):
        return k.IN_SLOT, id(container), slot_offset(type(container), key)
    return None


def _namespace(cls: type) -> dict[str, Any] | None:
    """The dict in which a class keeps its attributes."""
    return next((item for item in gc.get_referents(cls.__dict__) if isinstance(item, dict)), None)


def _add_forward(found: Guards, cls: type) -> bool:
    """Add that the class's `forward` is the one that it is."""
    for base in cls.__mro__:
        names = _namespace(base)
        if names is None:
            return False
        found.name(names, "forward")
        if "forward" in names:
            return True
    return False
