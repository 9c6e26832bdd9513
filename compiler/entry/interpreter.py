"""The functions of the interpreter's C interface that the native entry calls."""

from __future__ import annotations

from adjit.compiler.llvm.words import External, native_only

# In the order in which they are declared: LLVM's types of the result and the parameters.
EXTERNALS: dict[str, External] = {
    "PyLong_AsLongLongAndOverflow": ("i64", ("i64", "i64")),
    "PyDict_GetItemWithError": ("i64", ("i64", "i64")),
    "PyEval_GetFrame": ("i64", ()),
    "PyFrame_GetBack": ("i64", ("i64",)),
    "PyFrame_GetCode": ("i64", ("i64",)),
    "PyFrame_GetLasti": ("i32", ("i64",)),
    "PyTuple_GetItem": ("i64", ("i64", "i64")),
    "PyObject_Vectorcall": ("i64", ("i64", "i64", "i64", "i64")),
    "Py_IncRef": ("void", ("i64",)),
    "Py_DecRef": ("void", ("i64",)),
    "PyType_GenericAlloc": ("i64", ("i64", "i64")),
    "PyIter_Next": ("i64", ("i64",)),
    "PyTuple_New": ("i64", ("i64",)),
    "PyTuple_SetItem": ("i32", ("i64", "i64", "i64")),
    "PyThreadState_Get": ("i64", ()),
    "PyThreadState_GetID": ("i64", ("i64",)),
    "PyEval_SaveThread": ("i64", ()),
    "PyEval_RestoreThread": ("void", ("i64",)),
    "PyTuple_Size": ("i64", ("i64",)),
    "PyLong_FromLongLong": ("i64", ("i64",)),
    "memcpy": ("i64", ("i64", "i64", "i64")),
    "PyErr_Clear": ("void", ()),
    "PyMem_Malloc": ("i64", ("i64",)),
    "PyMem_Free": ("void", ("i64",)),
    "PyMem_Realloc": ("i64", ("i64", "i64")),
    "memset": ("i64", ("i64", "i64", "i64")),
    "PyErr_NoMemory": ("i64", ()),
    "PyFloat_FromDouble": ("i64", ("double",)),
    "PyWeakref_NewRef": ("i64", ("i64", "i64")),
    "PyList_New": ("i64", ("i64",)),
    "PyDict_New": ("i64", ()),
    "PyDict_SetItem": ("i32", ("i64", "i64", "i64")),
    "PySequence_Concat": ("i64", ("i64", "i64")),
    "PyDict_Next": ("i32", ("i64", "i64", "i64", "i64")),
    "PyObject_GetAttr": ("i64", ("i64", "i64")),
}


def PyLong_AsLongLongAndOverflow(number: int, overflow: int) -> int:
    """As the interpreter documents it."""
    return native_only(number, overflow)


def PyDict_GetItemWithError(mapping: int, key: int) -> int:
    """As the interpreter documents it."""
    return native_only(mapping, key)


def PyEval_GetFrame() -> int:
    """As the interpreter documents it."""
    return native_only()


def PyFrame_GetBack(frame: int) -> int:
    """As the interpreter documents it."""
    return native_only(frame)


def PyFrame_GetCode(frame: int) -> int:
    """As the interpreter documents it."""
    return native_only(frame)


def PyFrame_GetLasti(frame: int) -> int:
    """As the interpreter documents it."""
    return native_only(frame)


def PyObject_Vectorcall(function: int, arguments: int, count: int, names: int) -> int:
    """As the interpreter documents it."""
    return native_only(function, arguments, count, names)


def PyTuple_GetItem(tuple: int, place: int) -> int:
    """As the interpreter documents it."""
    return native_only(tuple, place)


def Py_IncRef(value: int) -> None:
    """As the interpreter documents it."""
    native_only(value)


def Py_DecRef(value: int) -> None:
    """As the interpreter documents it."""
    native_only(value)


def PyType_GenericAlloc(type: int, items: int) -> int:
    """As the interpreter documents it."""
    return native_only(type, items)


def PyIter_Next(iterator: int) -> int:
    """As the interpreter documents it."""
    return native_only(iterator)


def PyTuple_New(size: int) -> int:
    """As the interpreter documents it."""
    return native_only(size)


def PyTuple_SetItem(tuple: int, place: int, item: int) -> int:
    """As the interpreter documents it."""
    return native_only(tuple, place, item)


def PyThreadState_Get() -> int:
    """As the interpreter documents it."""
    return native_only()


def PyThreadState_GetID(state: int) -> int:
    """As the interpreter documents it."""
    return native_only(state)


def PyEval_SaveThread() -> int:
    """As the interpreter documents it."""
    return native_only()


def PyEval_RestoreThread(state: int) -> None:
    """As the interpreter documents it."""
    native_only(state)


def PyTuple_Size(tuple: int) -> int:
    """As the interpreter documents it."""
    return native_only(tuple)


def PyLong_FromLongLong(value: int) -> int:
    """As the interpreter documents it."""
    return native_only(value)


def memcpy(target: int, source: int, count: int) -> int:
    """As C documents it."""
    return native_only(target, source, count)


def PyErr_Clear() -> None:
    """As the interpreter documents it."""
    native_only()


def PyMem_Malloc(size: int) -> int:
    """As the interpreter documents it."""
    return native_only(size)


def PyMem_Free(memory: int) -> None:
    """As the interpreter documents it."""
    native_only(memory)


def PyMem_Realloc(memory: int, size: int) -> int:
    """As the interpreter documents it."""
    return native_only(memory, size)


def memset(target: int, value: int, count: int) -> int:
    """As C documents it."""
    return native_only(target, value, count)


def PyErr_NoMemory() -> int:
    """As the interpreter documents it."""
    return native_only()


def PyFloat_FromDouble(bits: int) -> int:
    """As the interpreter documents it, of the bits of a float64."""
    return native_only(bits)


def PyList_New(size: int) -> int:
    """As the interpreter documents it."""
    return native_only(size)


def PyDict_New() -> int:
    """As the interpreter documents it."""
    return native_only()


def PyDict_SetItem(mapping: int, key: int, item: int) -> int:
    """As the interpreter documents it."""
    return native_only(mapping, key, item)


def PyDict_Next(mapping: int, position: int, key: int, item: int) -> int:
    """As the interpreter documents it."""
    return native_only(mapping, position, key, item)


def PyObject_GetAttr(value: int, name: int) -> int:
    """As the interpreter documents it."""
    return native_only(value, name)


def PyWeakref_NewRef(value: int, callback: int) -> int:
    """As the interpreter documents it."""
    return native_only(value, callback)


def PySequence_Concat(first: int, second: int) -> int:
    """As the interpreter documents it."""
    return native_only(first, second)
