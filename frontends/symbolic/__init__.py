"""SymPy in and out: expressions as native, differentiable functions, and functions as expressions.

SymPy itself is imported at the first use of a function of this package.
"""

from __future__ import annotations

from adjit.symbolic.expressions import to_sympy
from adjit.symbolic.functions import SymbolicFunction, from_sympy, lambdify
from adjit.symbolic.new_ops import elementwise_op

__all__ = ["SymbolicFunction", "elementwise_op", "from_sympy", "lambdify", "to_sympy"]
