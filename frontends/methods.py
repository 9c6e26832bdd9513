"""Functions become methods, properties and operators of `Tensor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit import (
    assignment,
    comparison,
    conversion,
    creation,
    device,
    diagonals,
    elementwise,
    indexing,
    inplace,
    logic,
    promotion,
    reductions,
    selecting,
    shaping,
    surface,
)
from adjit.tensor import Tensor

# Loaded with the package; adjit.surface has those that wait for their first use.
MODULES = (
    promotion, device, conversion, creation, elementwise, logic, comparison, reductions, shaping, diagonals, indexing,
    assignment, selecting, inplace,
)  # fmt: skip

_OPERATORS = {
    "__add__": "add", "__sub__": "sub", "__mul__": "mul", "__truediv__": "div", "__floordiv__": "floor_divide",
    "__mod__": "remainder", "__pow__": "pow", "__matmul__": "matmul", "__and__": "bitwise_and", "__or__": "bitwise_or",
    "__xor__": "bitwise_xor", "__lshift__": "bitwise_left_shift", "__rshift__": "bitwise_right_shift", "__eq__": "eq",
    "__ne__": "ne", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge",
}  # fmt: skip
_REFLECTED = {
    "__radd__": "add", "__rmul__": "mul", "__rfloordiv__": "floor_divide", "__rmod__": "remainder", "__rpow__": "pow",
    "__rmatmul__": "matmul", "__rand__": "bitwise_and", "__ror__": "bitwise_or", "__rxor__": "bitwise_xor",
    "__rlshift__": "bitwise_left_shift", "__rrshift__": "bitwise_right_shift",
}  # fmt: skip
# Functions that take the operands in the reflected order already.
_SWAPPED = {"__rsub__": elementwise.rsub, "__rtruediv__": elementwise.reflected_div}
_UNARY = {"__neg__": "neg", "__pos__": "positive", "__abs__": "abs", "__invert__": "bitwise_not"}


def _operand(value: Any) -> bool:
    """Whether an operator takes `value`; others get their chance to reflect."""
    import numpy as np

    return isinstance(value, (Tensor, bool, int, float, complex, np.ndarray, np.generic)) or hasattr(value, "__index__")


def _factor(value: Any) -> bool:
    """Whether `@` takes `value`: no numbers."""
    import numpy as np

    return isinstance(value, (Tensor, np.ndarray))


def _binary(
    function: Callable[..., Any], *, reflected: bool = False, takes: Callable[[Any], bool] = _operand
) -> Callable[..., Any]:
    if reflected:

        def operator(self: Tensor, other: Any) -> Any:
            return function(other, self) if takes(other) else NotImplemented

    else:

        def operator(self: Tensor, other: Any) -> Any:
            return function(self, other) if takes(other) else NotImplemented

    return operator


def _waiting(name: str) -> Callable[..., Any]:
    """A method that is looked up at each call: its module may not be loaded yet."""
    return lambda *operands: getattr(Tensor, name)(*operands)


def bind() -> None:
    """Attach everything to `Tensor`."""
    methods: dict[str, Callable[..., Any]] = {}
    for module in MODULES:
        methods.update(module.METHODS)
        for name, attribute in getattr(module, "PROPERTIES", {}).items():
            setattr(Tensor, name, attribute)
    methods.update({name: method for name, method in inplace.derive(methods).items() if name not in methods})
    for name, method in methods.items():
        setattr(Tensor, name, method)
    surface.defer(methods)
    for operator, name in _OPERATORS.items():
        takes = _factor if name == "matmul" else _operand
        setattr(Tensor, operator, _binary(methods.get(name) or _waiting(name), takes=takes))
        augmented = f"__i{operator[2:]}"
        if f"{name}_" in methods and name not in ("eq", "ne", "lt", "le", "gt", "ge"):
            setattr(Tensor, augmented, _binary(methods[f"{name}_"]))
    for operator, name in _REFLECTED.items():
        setattr(Tensor, operator, _binary(methods.get(name) or _waiting(name), reflected=True))
    for operator, function in _SWAPPED.items():
        setattr(Tensor, operator, _binary(function))
    for operator, name in _UNARY.items():
        setattr(Tensor, operator, methods[name])
