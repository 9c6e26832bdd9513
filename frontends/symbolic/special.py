"""What is no scalar op of its parts' values: sums, integrals, matrices, elements, and functions of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adjit.ir.types import F64
from adjit.symbolic.rewriting import SymbolicError

if TYPE_CHECKING:
    from adjit.symbolic.translate import Translator


class Special:
    """Computes the expressions that `Translator` asks for; `functions` are the user's own, by name."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self.functions = functions

    def __call__(self, expression: Any, translate: Translator) -> Any:
        """The value of an expression.  SymbolicError where nothing computes it."""
        import sympy
        from sympy.core.function import AppliedUndef

        if isinstance(expression, (sympy.Sum, sympy.Product)):
            from adjit.symbolic.sums import sum_value

            return sum_value(expression, translate)
        if isinstance(expression, sympy.Integral):
            from adjit.symbolic.sums import integral_value

            return integral_value(expression, translate)
        if isinstance(expression, sympy.Indexed):
            from adjit.symbolic.matrices import element

            return element(array_of(expression.base, translate), expression.indices, translate, trailing=False)
        if isinstance(expression, sympy.Derivative):
            raise SymbolicError(f"{expression} is the derivative of an unknown function: name it among the arguments")
        if isinstance(expression, (sympy.MatrixExpr, sympy.Trace, sympy.Determinant)) or hasattr(expression, "parent"):
            from adjit.symbolic.matrices import matrix_value

            found = matrix_value(expression, translate)
            if found is not NotImplemented:
                return found
        if isinstance(expression, sympy.MatrixBase):
            from adjit.symbolic.outputs import Outputs

            return Outputs(expression).values(translate, F64)
        if isinstance(expression, sympy.MatrixSymbol):
            raise SymbolicError(f"{expression} is not among the arguments")
        if not isinstance(expression, sympy.Function):
            raise SymbolicError(f"SymPy's {type(expression).__name__} is not an op, in {expression}")
        given = self.functions.get(type(expression).__name__) or getattr(expression, "_imp_", None)
        if given is None and isinstance(expression, AppliedUndef):
            raise SymbolicError(f"{expression} is an unknown function: name it among the arguments, or in `modules`")
        from adjit.symbolic.host_functions import applied

        return applied(expression, translate, given)


def array_of(base: Any, translate: Translator) -> Any:
    """The array that an IndexedBase stands for."""
    for name in (base, base.label):
        if name in translate.known:
            return translate.known[name]
    raise SymbolicError(f"{base} is not among the arguments")
