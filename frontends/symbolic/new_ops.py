"""New scalar ops from SymPy expressions: derivative, kernels and batching follow from the expression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.ir.ops.define import define_scalar
from adjit.ir.primitive import PRIMITIVES, USERS
from adjit.ir.term import Number, Term, functions_in, lift, make
from adjit.symbolic.translate import Translator

_BOOLEAN = frozenset({"lt", "le", "eq", "ne", "gt", "ge", "and", "or", "xor", "not"})


def elementwise_op(name: str, expression: Any, args: Sequence[Any] | None = None) -> Callable[..., Any]:
    """A new elementwise function of tensors from one SymPy expression, with derivatives of any order.

    `args` are the expression's symbols in the order of the call (default: by name).  The function promotes and
    broadcasts as all others do, is an op of its own in the IR, and fuses and compiles with the rest.
    Errors: ValueError for a name that is taken or no identifier.

    >>> import sympy, adjit
    >>> x = sympy.Symbol("x")
    >>> bump = adjit.symbolic.elementwise_op("doctest_bump", sympy.exp(-x**2))
    >>> bump(adjit.tensor([0.0]))
    tensor([1.])
    """
    import sympy

    if not name.isidentifier():
        raise ValueError(f"elementwise_op: {name!r} is no identifier")
    if name in PRIMITIVES:
        raise ValueError(f"elementwise_op: an op named {name!r} exists already")
    expression = sympy.sympify(expression)
    symbols = sorted(expression.free_symbols, key=str) if args is None else [sympy.sympify(a) for a in args]
    if not symbols:
        raise ValueError("elementwise_op: the expression has no symbols")
    names = [f"x{place}" if len(symbols) > 1 else "x" for place in range(len(symbols))]

    def compute(*operands: Any) -> Any:
        def apply(op: str, *values: Any) -> Any:
            if any(isinstance(value, Term) for value in values):
                return make(op, [lift(value) for value in values])
            return PRIMITIVES[op](*values)

        return Translator(dict(zip(symbols, operands, strict=True)), apply)(expression)

    body = _with_parameters(compute, name, names, f"{expression}, with {', '.join(map(str, symbols))} in this order.")
    from adjit.ir.term import record

    term = record(body, names)
    op = define_scalar(
        body, "float", name=name, term=term, gives_bool=getattr(term, "name", "") in _BOOLEAN,
        constant=isinstance(term, Number), exact=all(PRIMITIVES[used].exact for used in functions_in(term)),
        singular=True, pinned={},
    )  # fmt: skip
    USERS.add(name)
    from adjit.dtypes import default_float
    from adjit.elementwise import emit
    from adjit.promotion import result_dtype

    def function(*operands: Any) -> Any:
        if len(operands) != len(names):
            raise TypeError(f"{name}() takes {len(names)} arguments, not {len(operands)}")
        dtype = result_dtype(operands)
        return emit(op.name, name.capitalize(), *operands, target=dtype if dtype.is_continuous else default_float())

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{expression}, element by element."
    return function


def _with_parameters(compute: Callable[..., Any], name: str, names: Sequence[str], doc: str) -> Callable[..., Any]:
    """`compute` as a function whose code has parameters of these names: an op's operands are read off it."""

    bodies: dict[int, Callable[..., Any]] = {
        1: lambda a: compute(a), 2: lambda a, b: compute(a, b), 3: lambda a, b, c: compute(a, b, c),
        4: lambda a, b, c, d: compute(a, b, c, d), 5: lambda a, b, c, d, e: compute(a, b, c, d, e),
        6: lambda a, b, c, d, e, f: compute(a, b, c, d, e, f),
    }  # fmt: skip
    if len(names) not in bodies:
        raise ValueError(f"elementwise_op: an op takes at most {max(bodies)} operands, not {len(names)}")
    body = bodies[len(names)]
    body.__code__ = body.__code__.replace(co_varnames=tuple(names), co_name=name)
    body.__name__ = name
    body.__doc__ = doc
    return body
