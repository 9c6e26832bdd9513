"""A base class whose instances may have a native function that serves their calls, in the place of `__call__`.

CPython calls an object of a class with the vectorcall flag through a pointer that stands in the object (PEP 590).  A
class made by a `class` statement has no room for such a pointer: this base has.  An instance whose pointer is not set
is called as ever.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

from adjit.runtime.layout import TYPE_FLAGS, WORD, is_known

# Where the pointer stands, after the head of the object.
_POINTER = 2 * WORD
# Py_TPFLAGS_DEFAULT, BASETYPE, HAVE_VECTORCALL, METHOD_DESCRIPTOR; Py_tp_members; T_PYSSIZET, READONLY.
_DEFAULT, _BASE, VECTORCALL, _METHOD, _MEMBERS, _SIZE, _READ_ONLY = 1 << 18, 1 << 10, 1 << 11, 1 << 17, 72, 19, 1
# In the count of arguments: the word before them may be overwritten.
SPARE_WORD = 1 << 63


class _Member(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("type", ctypes.c_int), ("offset", ctypes.c_ssize_t),
                ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))  # fmt: skip


class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("pointer", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("size", ctypes.c_int), ("item", ctypes.c_int), ("flags", ctypes.c_uint),
                ("slots", ctypes.c_void_p))  # fmt: skip


def _made() -> Any:
    """The class; plain `object` for another interpreter."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != WORD:
        return object
    members = (_Member * 2)(_Member(b"__vectorcalloffset__", _SIZE, _POINTER, _READ_ONLY, None))
    slots = (_Slot * 2)(_Slot(_MEMBERS, ctypes.addressof(members)))
    flags = _DEFAULT | _BASE | VECTORCALL
    spec = _Spec(b"adjit.runtime.callable.NativeCallable", _POINTER + WORD, 0, flags, ctypes.addressof(slots))
    make = ctypes.pythonapi.PyType_FromSpec
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p]
    made = make(ctypes.addressof(spec))
    _KEPT.append((members, slots, spec))
    return made


_KEPT: list[Any] = []
NativeCallable: Any = _made()


def serve(instance: Any, function: int) -> None:
    """Let a native function at this address serve the calls of an instance."""
    ctypes.c_uint64.from_address(id(instance) + _POINTER).value = function


def enable(cls: type) -> None:
    """Let CPython look for the pointers of a class's instances, and call them as methods without making bound ones."""
    flags = ctypes.c_ulong.from_address(id(cls) + TYPE_FLAGS)
    flags.value |= VECTORCALL | _METHOD


@functools.cache
def is_served() -> bool:
    """Whether pointers in instances are found by this interpreter, and instances without them are called as ever."""
    if NativeCallable is object or not is_known():
        return False

    class Sample(NativeCallable):  # type: ignore[misc]
        __slots__ = ("__dict__",)

        def __call__(self, *given: Any, **named: Any) -> Any:
            return "as ever", given, named

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            from types import MethodType

            return self if instance is None else MethodType(self, instance)

    enable(Sample)
    sample = Sample()
    before = sample(1, x=2)
    answer = _FUNCTION(_answer)
    serve(sample, ctypes.cast(answer, ctypes.c_void_p).value or 0)
    holder = type("Holder", (), {"method": sample})()
    found = [sample(1, 2), holder.method(1), sample(*(1, 2, 3)), getattr(holder, "method")(1)]  # noqa: B009
    serve(sample, 0)
    return before == ("as ever", (1,), {"x": 2}) and found == [2, 2, 3, 2]


_FUNCTION: Callable[..., Any] = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
)


def _answer(_: int, __: int, count: int, ___: int) -> int:
    """How many arguments stand in a call."""
    return count & ~SPARE_WORD
