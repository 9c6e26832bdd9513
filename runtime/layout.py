"""Where CPython and NumPy keep the parts of their objects, and whether this interpreter is one whose layout we know.

Native entries read arguments where they stand.  `is_known` compares every offset used with what Python itself says of
sample objects; where anything differs, or threads run without the GIL, the Python paths serve all calls.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import sysconfig
import weakref
from collections.abc import Callable
from types import MemberDescriptorType

import numpy as np

WORD = 8
# PyObject: the reference count, then the type.
TYPE = 8
# PyFloatObject, NumPy's scalars, PyCellObject, PyWeakReference, PySliceObject: what they hold comes after the head;
# PyDictObject: how many entries it has.
CONTENT = USED = 16
# PyTupleObject: the items; PyListObject: the address of the items.
ITEMS = 24
# PyArrayObject_fields: data, int nd, dimensions, strides, base, descr, int flags.
DATA, NDIM, DIMENSIONS, STRIDES, DESCRIPTION, FLAGS = 16, 24, 32, 40, 56, 64
# NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED, and each of the two, NPY_ARRAY_WRITEABLE.
IN_ORDER, CONTIGUOUS, ALIGNED, WRITEABLE = 0x0101, 0x0001, 0x0100, 0x0400
# The places of PyArray_New and PyArray_SetBaseObject in NumPy's table of C functions, fixed by its ABI.
_NEW_COPY, _NEW_ARRAY, _SET_BASE = 85, 93, 282
# PyTypeObject: the flags, and Py_TPFLAGS_TUPLE_SUBCLASS among them.
TYPE_FLAGS, TUPLE_KIND = 168, 1 << 26
# The number of a class's attributes as they are: 0, or one that no other state of a class has.
TYPE_VERSION = 384
# Py_TPFLAGS_MANAGED_DICT: a word that stands before the object holds the address of its namespace.
_MANAGED, _MANAGED_NAMESPACE = 1 << 4, -24
# PyMemberDescrObject: its PyMemberDef; in that, the kind of the member, Py_T_OBJECT_EX for a slot, and its offset.
_MEMBER, _KIND, _OFFSET = 40, 8, 16
_SLOT = 16


def word_at(address: int) -> int:
    """The 64-bit word at an address."""
    return ctypes.c_uint64.from_address(address).value


def _address_by_interface(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _address_by_layout(array: np.ndarray) -> int:
    return ctypes.c_size_t.from_address(id(array) + DATA).value


def _addresses_are_known() -> bool:
    """Whether this interpreter's arrays are laid out as `_address_by_layout` supposes."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != WORD:
        return False
    samples = (np.empty(3), np.arange(5)[2:], np.zeros((0, 4)), np.array(1.5), np.arange(6).reshape(2, 3)[::-1])
    return all(_address_by_layout(sample) == _address_by_interface(sample) for sample in samples)


# The address of an array's first element.
address_of: Callable[[np.ndarray], int] = _address_by_layout if _addresses_are_known() else _address_by_interface


def slot_offset(cls: type, name: str) -> int:
    """Where instances of `cls` keep the slot `name`.

    Errors: AttributeError if an attribute of this name is something else, a property that hides a slot among them.
    """
    member = _member(cls, name)
    if member == 0:
        raise AttributeError(f"{cls.__name__} has no slot {name}")
    return word_at(member + _OFFSET)


def has_slot(cls: type, name: str) -> bool:
    """Whether instances of `cls` keep the attribute `name` in a slot."""
    return _member(cls, name) != 0


def _member(cls: type, name: str) -> int:
    """The address of the PyMemberDef of a slot, or 0."""
    found = next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)
    if type(found) is not MemberDescriptorType:
        return 0
    member = word_at(id(found) + _MEMBER)
    return member if ctypes.c_int.from_address(member + _KIND).value == _SLOT else 0


def class_version(cls: type) -> int:
    """A number that differs after every change of a class or of its bases; 0 where there is none."""
    if not _versions_are_known():
        return 0
    hasattr(cls, "_")  # a lookup gives it a number
    return ctypes.c_uint32.from_address(id(cls) + TYPE_VERSION).value


@functools.cache
def _versions_are_known() -> bool:
    """Whether classes have numbers where they are looked for."""
    if not is_known():
        return False

    class Base:
        pass

    class Heir(Base):
        pass

    seen = []
    for count in range(3):
        if count:
            Base.first = count  # type: ignore[attr-defined]
        at_once = word_at(id(Heir) + TYPE_VERSION)
        hasattr(Heir, "_")
        seen += [at_once, word_at(id(Heir) + TYPE_VERSION)]
    hasattr(Heir, "_")
    after = word_at(id(Heir) + TYPE_VERSION)
    numbers = seen[1::2]
    fits = all(0 < number < 2**32 for number in numbers) and len(set(numbers)) == len(numbers)
    return fits and after == numbers[-1] and not set(seen[2::2]) & set(numbers)


def namespace_place(item: object) -> int:
    """The address of the word with the address of an object's `__dict__`; 0 if there is none."""
    cls = type(item)
    offset = cls.__dictoffset__
    if offset <= 0:
        offset = _MANAGED_NAMESPACE if word_at(id(cls) + TYPE_FLAGS) & _MANAGED else 0
    place = id(item) + offset
    return place if offset and word_at(place) == id(item.__dict__) else 0


@functools.cache
def function_offsets() -> tuple[int, ...]:
    """Where functions keep their code, their defaults, and those of parameters by name; empty if not known."""

    def sample(first: int = 1, *, second: int = 2) -> int:
        return first + second

    parts = (sample.__code__, sample.__defaults__, sample.__kwdefaults__)
    words = [word_at(id(sample) + WORD * place) for place in range(type(sample).__basicsize__ // WORD)]
    return tuple(WORD * words.index(id(part)) for part in parts) if all(id(part) in words for part in parts) else ()


@functools.cache
def item_size_offset() -> int:
    """Where NumPy's dtypes keep the bytes of an item, as an int of 32 bits at least; 0 if not known.

    NumPy 1 and 2 have other places for it.
    """
    samples = [np.dtype(name) for name in ("?", "f4", "f8", "c16", "V3", "V1000", "S70000", "U5")]
    for place in range(2 * WORD, np.dtype.__basicsize__, WORD // 2):
        if all(ctypes.c_int32.from_address(id(x) + place).value == x.itemsize for x in samples):
            return place
    return 0


def c_function(name: str) -> int:
    """The address of a function of the interpreter's C interface."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


def new_array_address() -> int:
    """The address of NumPy's `PyArray_New`."""
    return _numpy_function(_NEW_ARRAY)


def new_copy_address() -> int:
    """The address of NumPy's `PyArray_NewCopy`."""
    return _numpy_function(_NEW_COPY)


def set_base_address() -> int:
    """The address of NumPy's `PyArray_SetBaseObject`."""
    return _numpy_function(_SET_BASE)


def _numpy_function(number: int) -> int:
    from importlib import import_module

    numpys = import_module("numpy._core._multiarray_umath")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = pointer(numpys._ARRAY_API, None)
    return word_at(table + WORD * number)


@functools.cache
def is_known() -> bool:
    """Whether native entries may read objects of this interpreter."""
    if sys.implementation.name != "cpython" or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != WORD:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED") or int(np.__version__.partition(".")[0]) not in (1, 2):
        return False
    try:
        return _heads_hold() and _arrays_hold() and _slots_hold() and _arrays_are_made()
    except (AttributeError, ImportError, ValueError):
        return False


def _heads_hold() -> bool:
    numbers = all(ctypes.c_double.from_address(id(x) + CONTENT).value == x for x in (1.5, -(2.0**70), np.float64(2.5)))
    numbers &= all(ctypes.c_float.from_address(id(x) + CONTENT).value == x for x in (np.float32(1.5), np.float32(-3)))
    numbers &= all(ctypes.c_int64.from_address(id(x) + CONTENT).value == x for x in (np.int64(7), np.int64(-(2**40))))
    content = object()

    def inner() -> object:
        return content

    assert inner.__closure__ is not None
    reference = weakref.ref(inner)
    items: list[object] = [content, 1, None]
    row = tuple(items)
    cut = slice(*items)
    classes = (tuple, type(sys.version_info), list, dict)
    tuples = [bool(word_at(id(cls) + TYPE_FLAGS) & TUPLE_KIND) for cls in classes]
    return (
        numbers
        and tuples == [True, True, False, False]
        and word_at(id(reference) + CONTENT) == id(inner)
        and [word_at(id(row) + ITEMS + WORD * k) for k in range(3)] == [*map(id, items)]
        and [word_at(id(cut) + CONTENT + WORD * k) for k in range(3)] == [*map(id, items)]
        and [word_at(word_at(id(items) + ITEMS) + WORD * k) for k in range(3)] == [*map(id, items)]
        and word_at(id(inner.__closure__[0]) + CONTENT) == id(content)
        and all(word_at(id(x) + USED) == len(x) for x in ({}, {"a": 1}, vars(sys), dict.fromkeys(range(50))))
        and all(word_at(id(x) + TYPE) == id(type(x)) for x in (1, 1.5, "x", np.empty(2), inner))
    )


def _arrays_hold() -> bool:
    whole = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    frozen = np.ones(3)
    frozen.flags.writeable = False
    raw = np.zeros(17, np.uint8)[1:].view(np.float64)
    samples = [whole, whole[:, ::-1], whole.T, whole[1:], np.array(2.5), np.zeros((0, 3), np.int64), frozen, raw]
    return all(_array_holds(sample) for sample in samples)


def _array_holds(array: np.ndarray) -> bool:
    place, ndim = id(array), array.ndim
    dims, strides = word_at(place + DIMENSIONS), word_at(place + STRIDES)
    flags = ctypes.c_int32.from_address(place + FLAGS).value
    return (
        word_at(place + DATA) == array.__array_interface__["data"][0]
        and ctypes.c_int32.from_address(place + NDIM).value == ndim
        and tuple(word_at(dims + WORD * k) for k in range(ndim)) == array.shape
        and tuple(ctypes.c_int64.from_address(strides + WORD * k).value for k in range(ndim)) == array.strides
        and word_at(place + DESCRIPTION) == id(array.dtype)
        and (flags & IN_ORDER == IN_ORDER) == (array.flags.c_contiguous and array.flags.aligned)
        and bool(flags & WRITEABLE) == array.flags.writeable
    )


class _Sample:
    __slots__ = ("__dict__", "__weakref__", "first", "second")

    first: object
    second: object


class _Heir(_Sample):
    pass


def _slots_hold() -> bool:
    for cls in (_Sample, _Heir):
        sample = cls()
        sample.first, sample.second = object(), object()
        sample.other = 1  # type: ignore[attr-defined]
        for name in ("first", "second"):
            if word_at(id(sample) + slot_offset(cls, name)) != id(getattr(sample, name)):
                return False
    return True


def _arrays_are_made() -> bool:
    """Whether the functions in NumPy's table make the array, and the view, that they are asked for."""
    kind = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, *[ctypes.c_int64] * 8)
    dims = (ctypes.c_int64 * 2)(2, 3)
    make = kind(new_array_address())
    made = make(np.ndarray, 2, ctypes.addressof(dims), np.dtype(np.float32).num, 0, 0, 0, 0, 0)
    steps = (ctypes.c_int64 * 2)(4, 8)
    start = made.__array_interface__["data"][0]
    seen = make(np.ndarray, 2, ctypes.addressof(dims), made.dtype.num, ctypes.addressof(steps), start, 0, WRITEABLE, 0)
    set_base = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.py_object)(set_base_address())
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))  # the base takes a reference
    return (
        (type(made), made.shape, made.dtype) == (np.ndarray, (2, 3), np.dtype(np.float32))
        and set_base(seen, made) == 0
        and (seen.shape, seen.strides, seen.dtype) == ((2, 3), (4, 8), made.dtype)
        and seen.base is made
        and seen.flags.writeable
        and not seen.flags.c_contiguous
        and seen.__array_interface__["data"][0] == start
    )
