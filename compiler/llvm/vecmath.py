"""The math functions: `f(function, ty, *operands) -> result`, for f32 and f64 at any number of lanes.

Each is emitted once per module and width as an always-inlined LLVM function without fast-math flags, so its bits are
the same at every width and in every mode.  They need a target with fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

# The scalar ops that are math functions on floats, by the module (`vecmath_...`) that has them.
_MODULES = {
    "arctangent": ("acos", "asin", "atan", "atan2"),
    "erf": ("erf",),
    "exponential": ("exp", "expm1"),
    "hyperbolic": ("cosh", "sinh"),
    "logarithm": ("log", "log1p"),
    "power": ("exp2", "pow"),
    "remainder": ("mod",),
    "tanh": ("tanh",),
    "trigonometric": ("cos", "sin", "tan"),
}
MATH = {name: module for module, names in _MODULES.items() for name in names}


@cache
def math_function(op: str) -> Callable[..., str]:
    """What emits an op of `MATH`; its module is imported at first use, as a program needs few of them."""
    found: Callable[..., str] = getattr(import_module(f"adjit.compiler.llvm.vecmath_{MATH[op]}"), op)
    return found
