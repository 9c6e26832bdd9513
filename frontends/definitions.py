"""Functions, classes and objects as a trace found them: their code and defaults, attributes, classes and names."""

from __future__ import annotations

from collections.abc import Collection
from types import FunctionType
from typing import Any

from adjit.places import Place, same
from adjit.runtime.layout import class_version

# What changes more often than this without a program having to know is compared by itself at every call.
_CHANGES = 2


class FunctionState:
    """What a function runs: its code, and the values of parameters that are not given."""

    __slots__ = ("function", "parts")

    def __init__(self, function: FunctionType) -> None:
        self.function, self.parts = function, _parts_of(function)

    def holds(self) -> bool:
        """Whether it runs the same."""
        return all(now is before for now, before in zip(_parts_of(self.function), self.parts, strict=True))

    def difference(self) -> str:
        """What changed, for people."""
        return f"the code or the defaults of {self.function.__name__}"


def _parts_of(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


class ClassState:
    """What a class has under the names that a program may use, and its bases.  What counts by itself is left out."""

    __slots__ = ("changes", "cls", "content", "mro", "names", "others", "version")

    def __init__(self, cls: type, names: Collection[str], others: Collection[tuple[int, Any]]) -> None:
        self.cls, self.names, self.others = cls, names, others
        self.content, self.mro = self._found(), cls.__mro__
        self.version, self.changes = class_version(cls), 0

    def _found(self) -> dict[str, Any]:
        own, others = id(self.cls), self.others
        pairs = vars(self.cls).items()
        if "*" in self.names:  # looked up by names that are computed
            return {name: item for name, item in pairs if not name.startswith("__") and (own, name) not in others}
        return {name: item for name, item in pairs if name in self.names and (own, name) not in others}

    def holds(self) -> bool:
        """Whether the class is as it was in all that counts."""
        version = class_version(self.cls)
        if version == self.version != 0:
            return True
        found = self._found()
        if self.cls.__mro__ is not self.mro or found.keys() != self.content.keys():
            return False
        if not all(same(item, self.content[name]) for name, item in found.items()):
            return False
        self.changes += self.version != 0
        self.version = version
        return True

    @property
    def is_settled(self) -> bool:
        """Whether the version of the class says it all: what does not count seldom changes."""
        return self.version != 0 and self.changes <= _CHANGES

    def difference(self) -> str:
        """What changed, for people."""
        found = self._found()
        names = [n for n in (found | self.content) if n not in found or not same(found[n], self.content.get(n))]
        return f"{names[0] if names else 'the bases'} of class {self.cls.__name__}"


class ObjectState:
    """The class of an object, its namespace, and which names are there: others may hide attributes of the class."""

    __slots__ = ("changes", "cls", "item", "keys", "names", "own")

    def __init__(self, item: Any, names: Collection[str]) -> None:
        self.item, self.cls, self.names = item, type(item), names
        self.own = getattr(item, "__dict__", None)
        self.keys = frozenset(self.own or ())
        self.changes = 0

    def holds(self) -> bool:
        """Whether the object has its class, and no further attribute that a program may use."""
        if type(self.item) is not self.cls:
            return False
        if self.own is None:
            return True
        own = self.item.__dict__
        if own is not self.own:
            return False
        if own.keys() != self.keys:
            if any(name in self.names for name in own.keys() - self.keys):
                return False
            self.keys = frozenset(own)
            self.changes += 1
        return True

    @property
    def is_settled(self) -> bool:
        """Whether attributes that do not count seldom come and go."""
        return self.changes <= _CHANGES

    def difference(self) -> str:
        """What changed, for people."""
        if type(self.item) is not self.cls:
            return f"the class of an object: {self.cls.__name__} -> {type(self.item).__name__}"
        return f"the attributes of a {self.cls.__name__}"


def namespaces_of(item: Any, names: Collection[str]) -> list[Place]:
    """The places of an object's attributes that a program may use, without private ones."""
    own = getattr(item, "__dict__", {})
    return [Place(own, name) for name in own if name in names and not name.startswith("_")]
