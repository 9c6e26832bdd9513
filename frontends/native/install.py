"""Which operations are served natively, and how they come to stand on `Tensor` and in the namespaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from adjit import surface
from adjit.autograd import engine
from adjit.native.entry import Entry, documented, native_entry
from adjit.native.operation import Operation
from adjit.native.plans import Plans
from adjit.tensor import Tensor

# Functions of their operands alone: no random numbers, no state, nothing read from data.
# Numbers beside a tensor are only ever operands of the one primitive.
_FREE = ("add", "sub", "mul", "div", "lt", "le", "gt", "ge", "eq")
_OTHERS = (
    "abs", "acos", "acosh", "addcdiv", "addcmul", "addmm", "all", "amax", "amin", "any", "argmax", "argmin", "asin",
    "asinh", "atan", "atan2", "atanh", "baddbmm", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm",
    "ceil", "clamp", "clamp_max", "clamp_min", "clip", "clone", "copysign", "cos", "cosh", "cross", "cumprod", "cumsum",
    "diag", "divide", "dot", "erf", "erfc", "exp", "exp2", "expm1", "flip", "floor", "floor_divide",
    "fmax", "fmin", "fmod", "frac", "full_like", "gather", "greater", "greater_equal", "hypot", "index_select", "inner",
    "isfinite", "isinf", "isnan", "lerp", "less", "less_equal", "log", "log10", "log1p", "log2", "log_softmax",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "masked_fill", "matmul",
    "maximum", "mean", "minimum", "mm", "multiply", "mv", "nan_to_num", "ne", "neg", "negative", "norm", "outer", "pow",
    "prod", "reciprocal", "relu", "remainder", "repeat", "roll", "round", "rsqrt", "scatter_add", "sigmoid", "sign",
    "sin", "sinh", "softmax", "sqrt", "square", "std", "subtract", "sum", "take_along_dim", "tan", "tanh", "trace",
    "tril", "triu", "true_divide", "trunc", "var", "where", "xlogy",
)  # fmt: skip
# Views, and what may give its operand back.
_VIEWS = (
    "contiguous", "diagonal", "double", "expand", "expand_as", "flatten", "float", "int", "long", "movedim", "narrow",
    "permute", "reshape", "select", "squeeze", "swapaxes", "t", "to", "transpose", "type_as", "unflatten", "unsqueeze",
    "view", "view_as",
)  # fmt: skip
_PROPERTIES = ("T", "mT")
# Of the namespace alone.
_OF_NAMESPACE = ("cat", "concat", "einsum", "hstack", "stack", "vstack")
_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__", "__pow__", "__rpow__", "__rtruediv__", "__matmul__", "__neg__", "__abs__",
    "__floordiv__", "__mod__", "__and__", "__or__", "__xor__", "__invert__", "__getitem__",
)  # fmt: skip
_FREE_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__radd__", "__rsub__", "__rmul__", "__lt__", "__le__", "__gt__",
    "__ge__", "__eq__", "__ne__",
)  # fmt: skip
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
    serving = _Serving(entry)
    serving.methods()
    serving.functions()
    surface.serve = serving.loaded
    _install_compiled(entry)
    entry.serve_backward(Tensor.backward)
    engine.watch = Plans(entry).watch
    return True


class _Serving:
    """Puts native entries in the places of functions, of those loaded later when they are."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.wanted = frozenset((*_OPERATORS, *_FREE, *_OTHERS, *_VIEWS, *_IN_PLACE))
        self.public = frozenset((*_FREE, *_OTHERS, *_VIEWS, *_OF_NAMESPACE))

    def methods(self) -> None:
        """Serve the methods of `Tensor` that are loaded."""
        for name in (*_OPERATORS, *_FREE, *_OTHERS, *_VIEWS, *_IN_PLACE):
            function = vars(Tensor).get(name)
            if isinstance(function, FunctionType):
                setattr(Tensor, name, self.method(name, function))
        for name in _PROPERTIES:
            found = vars(Tensor).get(name)
            if isinstance(found, property) and isinstance(found.fget, FunctionType):
                setattr(Tensor, name, property(self.function(f"Tensor.{name}", found.fget)))

    def method(self, name: str, function: FunctionType) -> Any:
        """What serves calls of a method."""
        free = name in _FREE or name in _FREE_OPERATORS or name in _FREE_IN_PLACE
        operation = Operation(self.entry, function, free=free, in_place=name in _IN_PLACE)
        descriptor = self.entry.method(Tensor, name, documented(name, function), operation.table)
        if descriptor is None:
            return function
        _installed[f"Tensor.{name}"] = operation
        return descriptor

    def functions(self) -> None:
        """Serve the functions of the namespaces that are loaded."""
        import adjit
        import adjit.nn.functional as functional

        builtins: dict[int, Any] = {}
        for path, namespace, names in (("", adjit, self.public), ("nn.functional.", functional, _OF_NN)):
            for name in sorted(names):
                function = vars(namespace).get(name)
                if isinstance(function, FunctionType) and id(function) not in builtins:
                    builtins[id(function)] = self.function(path + name, function)
        _replace(builtins)

    def function(self, path: str, function: FunctionType) -> Any:
        """What serves calls of a function."""
        name = path.rpartition(".")[2]
        operation = _installed[path] = Operation(self.entry, function, free=name in _FREE)
        return self.entry.function(name, documented(name, function), operation.table)

    def loaded(self, name: str, found: Any, *, method: bool) -> Any:
        """What to put in the place of something that is loaded only now."""
        if isinstance(found, FunctionType) and name in (self.wanted if method else self.public):
            return self.method(name, found) if method else self.function(name, found)
        return found


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
