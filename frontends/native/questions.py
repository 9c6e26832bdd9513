"""Questions about a tensor that native code answers, as methods and properties of `Tensor`."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from adjit import comparison, surface
from adjit.compiler.entry import known as k
from adjit.native.entry import Entry
from adjit.tensor import Tensor

# By name: the native entry, and the place of the Python function that answers what it does not.
_METHODS = {
    "__bool__": ("adjit_bool", k.SLOW_BOOL), "__float__": ("adjit_float", k.SLOW_FLOAT),
    "__int__": ("adjit_int", k.SLOW_INT), "__len__": ("adjit_len", k.SLOW_LEN),
    "data_ptr": ("adjit_data_ptr", k.SLOW_DATA_PTR), "dim": ("adjit_dim", k.SLOW_DIM),
    "equal": ("adjit_equal", k.SLOW_EQUAL), "nonzero": ("adjit_nonzero", k.SLOW_NONZERO),
    "is_contiguous": ("adjit_is_contiguous", k.SLOW_IS_CONTIGUOUS), "item": ("adjit_item", k.SLOW_ITEM),
    "ndimension": ("adjit_dim", k.SLOW_DIM), "nelement": ("adjit_numel", k.SLOW_NUMEL),
    "numel": ("adjit_numel", k.SLOW_NUMEL), "size": ("adjit_size", k.SLOW_SIZE),
    "storage_offset": ("adjit_offset", k.SLOW_OFFSET), "stride": ("adjit_stride", k.SLOW_STRIDE),
}  # fmt: skip
# Those that stand for a method's question are named after it.
_PROPERTIES = {
    "grad": ("adjit_gradient", k.SLOW_GRAD), "grad_fn": ("adjit_grad_fn", k.SLOW_GRAD_FN),
    "is_leaf": ("adjit_is_leaf", k.SLOW_IS_LEAF), "ndim": ("adjit_dim", k.SLOW_DIM),
    "requires_grad": ("adjit_requires", k.SLOW_REQUIRES), "shape": ("adjit_size", k.SLOW_SIZE),
}  # fmt: skip


def serve_questions(entry: Entry) -> dict[int, Any]:
    """Let native code answer what it can, where nobody put something else in a method's place.

    Functions of the namespace are given back with what serves in their places, by their ids.
    """
    for name, (symbol, place) in _METHODS.items():
        function = vars(Tensor).get(name)
        if isinstance(function, FunctionType) and function.__globals__["__name__"].startswith("adjit."):
            entry.known[place] = entry.keep(function)
            descriptor = entry.answering(name, function, symbol)
            setattr(Tensor, name, descriptor)
            surface.native_methods[function] = descriptor
    for name, (symbol, place) in _PROPERTIES.items():
        found = vars(Tensor).get(name)
        if isinstance(found, property) and isinstance(found.fget, FunctionType):
            if not entry.known[place]:
                entry.known[place] = entry.keep(found.fget)
            getter = entry.answering(name, found.fget, symbol)
            setattr(Tensor, name, property(getter, found.fset, found.fdel, found.__doc__))
    function = comparison.equal
    if not isinstance(function, FunctionType):
        return {}
    return {id(function): entry.answering_function("equal", function, "adjit_equal_function")}
