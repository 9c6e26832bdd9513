"""Which operations are served natively, and how they come to stand on `Tensor` and in the namespaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from adjit.autograd import engine
from adjit.native.entry import Entry, documented, native_entry
from adjit.native.operation import Operation
from adjit.native.plans import Plans
from adjit.tensor import Tensor

# Functions of their operands alone: no random numbers, no state, nothing read from data.
# Numbers beside a tensor are only ever operands of the one primitive.
_FREE = ("add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq")
_OTHERS = (
    "abs", "amax", "amin", "argmax", "clamp", "cos", "erf", "exp", "expm1", "log", "log1p", "log_softmax", "logsumexp",
    "matmul", "maximum", "mean", "minimum", "mm", "mv", "neg", "pow", "prod", "reciprocal", "relu", "rsqrt", "sigmoid",
    "sin", "softmax", "sqrt", "square", "std", "sum", "tanh", "var", "where",
)  # fmt: skip
_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__", "__pow__", "__rtruediv__", "__matmul__", "__neg__", "__abs__",
)  # fmt: skip
_NOT_FREE = ("__pow__", "__rtruediv__")
# In place: the functional form, written to the first operand.
_IN_PLACE = (
    "add_", "sub_", "mul_", "div_", "addcmul_", "addcdiv_", "clamp_", "copy_", "exp_", "lerp_", "neg_", "pow_", "relu_",
    "sigmoid_", "sqrt_", "tanh_", "__iadd__", "__isub__", "__imul__", "__itruediv__",
)  # fmt: skip
_FREE_IN_PLACE = ("add_", "sub_", "mul_", "div_", "__iadd__", "__isub__", "__imul__", "__itruediv__")
_OF_NN = (
    "avg_pool2d", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d", "cross_entropy",
    "elu", "embedding", "gelu", "huber_loss", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax",
    "logsigmoid", "max_pool2d", "mse_loss", "nll_loss", "normalize", "relu", "relu6", "rms_norm", "sigmoid", "silu",
    "smooth_l1_loss", "softmax", "softplus", "tanh",
)  # fmt: skip

_installed: dict[str, Operation] = {}


def is_settled() -> bool:
    """Whether `install` would not keep its caller waiting for LLVM; if it would, a thread prepares for it."""
    if _installed or os.environ.get("ADJIT_NATIVE") == "0":
        return True
    from adjit.compiler.entry.module import is_ready

    return is_ready()


def install() -> bool:
    """Serve the operations natively from here on; False where this interpreter's objects are not known.

    ADJIT_NATIVE=0 in the environment keeps them in Python.
    """
    if _installed or os.environ.get("ADJIT_NATIVE") == "0":
        return bool(_installed)
    entry = native_entry()
    if entry is None:
        return False
    _install_methods(entry)
    _install_functions(entry)
    _install_compiled(entry)
    entry.serve_backward(Tensor.backward)
    engine.watch = Plans(entry).watch
    return True


def _install_methods(entry: Entry) -> None:
    for name in (*_OPERATORS, *_FREE, *_OTHERS, *_IN_PLACE):
        function = getattr(Tensor, name)  # which loads one that is deferred
        free = name in (*_FREE, *_FREE_IN_PLACE) or (name in _OPERATORS and name not in _NOT_FREE)
        operation = Operation(entry, function, free=free, in_place=name in _IN_PLACE)
        descriptor = entry.method(Tensor, name, documented(name, function), operation.table)
        if descriptor is not None:
            _installed[f"Tensor.{name}"] = operation
            setattr(Tensor, name, descriptor)


def _install_functions(entry: Entry) -> None:
    """Serve the functions of the namespaces: those that are methods too share what the methods learn."""
    import adjit
    import adjit.nn.functional as functional

    served: dict[Any, Operation] = {op.function: op for key, op in _installed.items() if "__" not in key}
    builtins: dict[int, Any] = {}
    for name in (*_FREE, *_OTHERS):
        function = getattr(adjit, name, None)
        if function is not None and function in served:
            builtins[id(function)] = entry.function(name, documented(name, function), served[function].table)
    for name in _OF_NN:
        function = getattr(functional, name)
        if id(function) not in builtins:  # else it is one of the namespace's
            operation = _installed[f"nn.functional.{name}"] = Operation(entry, function)
            builtins[id(function)] = entry.function(name, documented(name, function), operation.table)
    _replace(builtins)


def _replace(builtins: Mapping[int, Any]) -> None:
    """Let every name that modules have for a function mean the builtin one; the functions live on in their tables."""
    for path, module in list(sys.modules.items()):
        if path == "adjit" or path.startswith("adjit."):
            for name, found in list(vars(module).items()):
                if id(found) in builtins:
                    setattr(module, name, builtins[id(found)])


def _install_compiled(entry: Entry) -> None:
    """Serve compiled functions; their class is loaded with the compiler, which native code needs anyway."""
    from adjit.jit import CompiledFunction

    entry.serve_compiled(CompiledFunction, "_table", CompiledFunction.__call__)
