"""Which operations are served natively, and how they come to stand on `Tensor` and in the namespace."""

from __future__ import annotations

import os

from adjit.autograd import engine
from adjit.native.entry import Entry, documented, native_entry
from adjit.native.operation import Operation
from adjit.native.plans import Plans
from adjit.tensor import Tensor

# Numbers beside a tensor are only ever operands of the one primitive.
_FREE = ("add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq")
_OTHERS = (
    "abs", "cos", "erf", "exp", "log", "log1p", "matmul", "maximum", "mean", "minimum", "mm", "neg", "pow",
    "reciprocal", "relu", "rsqrt", "sigmoid", "sin", "sqrt", "square", "sum", "tanh",
)  # fmt: skip
_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__", "__pow__", "__matmul__", "__neg__", "__abs__",
)  # fmt: skip
_NOT_FREE = ("__pow__",)

_installed: dict[str, Operation] = {}


def install() -> bool:
    """Serve the operations natively from here on; False where this interpreter's objects are not known.

    ADJIT_NATIVE=0 in the environment keeps them in Python.
    """
    if _installed or os.environ.get("ADJIT_NATIVE") == "0":
        return bool(_installed)
    entry = native_entry()
    if entry is None:
        return False
    for name in _OPERATORS:
        _install_method(entry, name, free=name not in _NOT_FREE)
    for name in (*_FREE, *_OTHERS):
        _install_method(entry, name, free=name in _FREE)
        _install_function(entry, name)
    _install_compiled(entry)
    entry.serve_backward(Tensor.backward)
    engine.watch = Plans(entry).watch
    return True


def _install_compiled(entry: Entry) -> None:
    """Serve compiled functions; their class is loaded with the compiler, which native code needs anyway."""
    from adjit.jit import CompiledFunction

    entry.serve_class(CompiledFunction, "_table", CompiledFunction.__call__)


def _install_method(entry: Entry, name: str, *, free: bool) -> None:
    function = getattr(Tensor, name)  # which loads one that is deferred
    operation = Operation(entry, function, free=free)
    descriptor = entry.method(Tensor, name, documented(name, function), operation.table)
    if descriptor is not None:
        _installed[f"Tensor.{name}"] = operation
        setattr(Tensor, name, descriptor)


def _install_function(entry: Entry, name: str) -> None:
    """Serve `adjit.<name>`, if it is the method's own function."""
    import adjit

    operation = _installed[f"Tensor.{name}"]
    if getattr(adjit, name, None) is operation.function:
        setattr(adjit, name, entry.function(name, documented(name, operation.function), operation.table))
