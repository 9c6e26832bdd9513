"""`@frozen` and `@record`: classes with named fields, immutable or not, which cost little to define.

They are `@dataclass(frozen=True, slots=True)` and `@dataclass(slots=True)`, whose meaning they keep, for fields with
plain defaults or a `default_factory`.  A data class writes and compiles six methods when its module is imported:
0.4 ms, which a package of a hundred such classes pays in every process.  Here all classes share their methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, field
from operator import attrgetter
from typing import Any, NoReturn, TypeAlias, TypeVar, cast, dataclass_transform

_T = TypeVar("_T")
_MISSING = object()
_Put: TypeAlias = "Callable[[Any, Any], None]"


@dataclass_transform(field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """The class with its annotations as fields, which may be assigned: slots, an `__init__`, `==`, a text; no hash.

    >>> @record
    ... class Counter:
    ...     name: str
    ...     seen: list[int] = field(default_factory=list)
    >>> counter = Counter("a")
    >>> counter.seen.append(3)
    >>> counter, Counter("a")
    (Counter(name='a', seen=[3]), Counter(name='a', seen=[]))
    """
    return _made(cls, _RECORD)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a value of such a class by name."""
    return {name: getattr(value, name) for name in value.__record_fields__}


def changed(value: _T, **fields: Any) -> _T:
    """A copy of a value of such a class with other values of these fields."""
    return type(value)(**fields_of(value) | fields)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    """The class with its annotations as fields: slots, an `__init__`, `==`, a hash, a text; nothing can be assigned.

    >>> @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1), Point(1) == Point(1, 0), len({Point(1), Point(x=1)})
    (Point(x=1, y=0), True, 1)
    """
    return _made(cls, _FROZEN)


def _made(cls: type[_T], methods: dict[str, Any]) -> type[_T]:
    space = dict(cls.__dict__)
    own = [name for name, kind in space.get("__annotations__", {}).items() if not str(kind).startswith("ClassVar")]
    inherited: dict[str, Any] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= getattr(base, "__record_fields__", {})
    fields = inherited | {name: space.pop(name, _MISSING) for name in own}
    for name in ("__dict__", "__weakref__"):
        space.pop(name, None)
    space["__slots__"] = tuple(name for name in own if name not in inherited)
    space["__record_fields__"], space["__match_args__"] = fields, tuple(fields)
    space["_values"] = staticmethod(attrgetter(*fields)) if fields else staticmethod(_nothing)
    for name, method in methods.items():
        space.setdefault(name, method)
    made: Any = type(cls)(cls.__name__, cls.__bases__, space)  # type: ignore[misc]
    made.__init__ = _init_of(made, fields)
    return made  # type: ignore[no-any-return]


def _nothing(_: object) -> tuple[()]:
    return ()


def _init_of(cls: Any, fields: dict[str, Any]) -> Callable[..., None]:
    count, after = len(fields), hasattr(cls, "__post_init__")
    puts = tuple(getattr(cls, name).__set__ for name in fields)
    if count < len(_SHORT) and not after and _are_plain(tuple(fields.values())):
        return _short_init(cls, fields, puts)
    places = {name: place for place, name in enumerate(fields)}
    defaults = tuple(fields.values())
    factories = [
        (name, place, cast("Callable[[], Any]", default.default_factory))
        for place, (name, default) in enumerate(fields.items())
        if isinstance(default, Field)
    ]

    def __init__(self: Any, *given: Any, **named: Any) -> None:
        if named or len(given) != count:
            values = [*given, *defaults[len(given) :]]
            for name, place, factory in factories:
                if place >= len(given) and name not in named:
                    values[place] = factory()
            for name, value in named.items():
                place = places.get(name, -1)
                if place < len(given):
                    what = "multiple values for" if place >= 0 else "an unexpected keyword"
                    raise TypeError(f"{cls.__qualname__}.__init__() got {what} argument {name!r}")
                values[place] = value
            given = tuple(values)
            if len(given) > count:
                raise TypeError(f"{cls.__qualname__}.__init__() takes {count} arguments, not {len(given)}")
        for put, value in zip(puts, given, strict=True):
            if value is _MISSING:
                raise TypeError(f"{cls.__qualname__}.__init__() needs the argument {_missing(fields, given)!r}")
            put(self, value)
        if after:
            self.__post_init__()

    return __init__


# -- of few fields -----------------------------------------------------------------------------------------------------
# `__init__` by the number of fields: several times faster than what serves all, and Python checks what it is given.
def _init_0() -> Callable[..., None]:
    def __init__(self: Any) -> None:
        pass

    return __init__


def _init_1(put_a: _Put) -> Callable[..., None]:
    def __init__(self: Any, a: Any) -> None:
        put_a(self, a)

    return __init__


def _init_2(put_a: _Put, put_b: _Put) -> Callable[..., None]:
    def __init__(self: Any, a: Any, b: Any) -> None:
        put_a(self, a)
        put_b(self, b)

    return __init__


def _init_3(put_a: _Put, put_b: _Put, put_c: _Put) -> Callable[..., None]:
    def __init__(self: Any, a: Any, b: Any, c: Any) -> None:
        put_a(self, a)
        put_b(self, b)
        put_c(self, c)

    return __init__


def _init_4(put_a: _Put, put_b: _Put, put_c: _Put, put_d: _Put) -> Callable[..., None]:
    def __init__(self: Any, a: Any, b: Any, c: Any, d: Any) -> None:
        put_a(self, a)
        put_b(self, b)
        put_c(self, c)
        put_d(self, d)

    return __init__


def _init_5(put_a: _Put, put_b: _Put, put_c: _Put, put_d: _Put, put_e: _Put) -> Callable[..., None]:
    def __init__(self: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> None:
        put_a(self, a)
        put_b(self, b)
        put_c(self, c)
        put_d(self, d)
        put_e(self, e)

    return __init__


_SHORT: tuple[Callable[..., Callable[..., None]], ...] = (_init_0, _init_1, _init_2, _init_3, _init_4, _init_5)


def _are_plain(defaults: tuple[Any, ...]) -> bool:
    """Whether defaults are values, and only the last fields have them."""
    first = next((place for place, default in enumerate(defaults) if default is not _MISSING), len(defaults))
    return all(default is not _MISSING and not isinstance(default, Field) for default in defaults[first:])


def _short_init(cls: Any, fields: dict[str, Any], puts: tuple[_Put, ...]) -> Callable[..., None]:
    """That of few fields, whose parameters have the names and the defaults of the fields."""
    found: Any = _SHORT[len(fields)](*puts)
    found.__code__ = found.__code__.replace(co_varnames=("self", *fields))
    found.__defaults__ = tuple(default for default in fields.values() if default is not _MISSING)
    found.__qualname__ = f"{cls.__qualname__}.__init__"
    return found  # type: ignore[no-any-return]


def _missing(fields: dict[str, Any], given: tuple[Any, ...]) -> str:
    return next(name for name, value in zip(fields, given, strict=True) if value is _MISSING)


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._values(self) == self._values(other)


def _hash(self: Any) -> int:
    return hash(self._values(self))


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record_fields__)
    return f"{type(self).__qualname__}({fields})"


def _refuse(self: Any, name: str, *_: Any) -> NoReturn:
    raise AttributeError(f"{name} of {type(self).__name__} cannot be changed: it is frozen")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__record_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__record_fields__, state, strict=True):
        object.__setattr__(self, name, value)


_RECORD: dict[str, Any] = {"__eq__": _eq, "__hash__": None, "__repr__": _repr}
_FROZEN: dict[str, Any] = {
    **_RECORD, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse,
    "__getstate__": _get_state, "__setstate__": _set_state,
}  # fmt: skip
