"""The math functions: `f(function, ty, *operands) -> result`, for f32 and f64 at any number of lanes.

Each is emitted once per module and width as an always-inlined LLVM function without fast-math flags, so its bits are
the same at every width and in every mode.  They need a target with fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adjit.compiler.llvm.vecmath_arctangent import acos, asin, atan, atan2
from adjit.compiler.llvm.vecmath_erf import erf
from adjit.compiler.llvm.vecmath_exponential import exp, expm1
from adjit.compiler.llvm.vecmath_hyperbolic import cosh, sinh
from adjit.compiler.llvm.vecmath_logarithm import log, log1p
from adjit.compiler.llvm.vecmath_power import exp2, integer_power, pow
from adjit.compiler.llvm.vecmath_remainder import remainder
from adjit.compiler.llvm.vecmath_tanh import tanh
from adjit.compiler.llvm.vecmath_trigonometric import cos, sin, tan

__all__ = [
    "MATH", "acos", "asin", "atan", "atan2", "cos", "cosh", "erf", "exp", "exp2", "expm1", "integer_power", "log",
    "log1p", "pow", "remainder", "sin", "sinh", "tan", "tanh",
]  # fmt: skip

# The scalar ops that are math functions on floats.
MATH: Mapping[str, Callable[..., str]] = {
    "acos": acos,
    "asin": asin,
    "atan": atan,
    "atan2": atan2,
    "cos": cos,
    "cosh": cosh,
    "erf": erf,
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "mod": remainder,
    "pow": pow,
    "sin": sin,
    "sinh": sinh,
    "tan": tan,
    "tanh": tanh,
}
