"""Taylor mode: `jet`, derivatives of high order at a cost that grows with the square of the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

from adjit import trees
from adjit.func.arguments import title
from adjit.func.reverse import ORDERS_KEPT, traced_function
from adjit.inner_trace import call_inner, write_back
from adjit.tensor import Tensor


def jet(
    func: Callable[..., Any], primals: Sequence[Any], series: Sequence[Sequence[Any]], factorial_scaled: bool = True
) -> tuple[Any, Any]:
    """(f(x), [y1, ..., yk]): the derivatives of f along a curve, yj = d^j/dt^j f(x(t)) at t = 0.

    `series` holds for each primal the derivatives x1 ... xk of its curve: x(t) = x + x1 t + x2 t²/2! + ... + xk tᵏ/k!.
    With `factorial_scaled=False` all are Taylor coefficients, without the factorials.  JAX's `jax.experimental.jet`.
    In the result, each tensor of f's output is replaced by the list of its derivatives.  Primals may be trees: their
    terms are trees of the same structure.  Along x1 = 1 and zeros the result is f', f'', ... of a scalar function.
    Errors: ValueError where the series do not fit the primals; DifferentiationError where an op has no derivative.

    >>> import adjit as torch
    >>> x, one, zero = torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0)
    >>> torch.func.jet(torch.sin, (x,), ((one, zero, zero),))
    (tensor(0.), [tensor(1.), tensor(0.), tensor(-1.)])
    """
    from adjit.compiler.taylor import expand_in_series

    leaves, structure, terms = _checked(primals, series)
    order = len(terms)
    traced, operands = traced_function(func, leaves, structure, [False] * len(leaves), ORDERS_KEPT)
    floating = [place for place, leaf in enumerate(leaves) if leaf._dtype.is_continuous]
    expansion = expand_in_series(traced.graph, floating, order)
    curves = [terms[power][place].to(leaves[place].dtype) for place in floating for power in range(order)]
    factors = [factorial(power + 1) if factorial_scaled else 1 for power in range(order)]
    if factorial_scaled:
        curves = [x if factors[i % order] == 1 else x / factors[i % order] for i, x in enumerate(curves)]
    found = call_inner(expansion.graph, [*operands, *curves], f"{title(func).capitalize()}Taylor")
    count = len(traced.graph.outputs)
    write_back(traced.written, found[traced.count : count])
    moving = {
        place: [x if f == 1 else x * f for x, f in zip(found[start : start + order], factors, strict=True)]
        for place, start in zip(expansion.reached, range(count, len(found), order), strict=True)
    }
    lists = [moving.get(place) or _zeros(found[place], order) for place in range(traced.count)]
    return traced.restore(found[: traced.count]), traced.restore(lists)


def _zeros(tensor: Tensor, count: int) -> list[Tensor]:
    from adjit.creation import zeros_like

    return [zeros_like(tensor) for _ in range(count)]


def _checked(primals: Any, series: Any) -> tuple[list[Tensor], Any, list[list[Tensor]]]:
    """The leaves of the primals, their structure, and for each power the terms of all leaves."""
    if not isinstance(primals, (tuple, list)) or not isinstance(series, (tuple, list)) or len(primals) != len(series):
        raise ValueError(
            "jet(func, primals, series): primals and series are tuples of one length, an entry an argument"
        )
    lengths = {len(terms) for terms in series}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"jet terms have inconsistent lengths for different arguments: {[len(terms) for terms in series]}"
        )
    leaves, structure = trees.flatten(tuple(primals))
    found = []
    for power in range(lengths.pop()):
        given, arrived = trees.flatten(tuple(terms[power] for terms in series))
        if arrived != structure:
            raise ValueError(f"jet: the terms of order {power + 1} have structure {arrived}, the primals {structure}")
        for leaf, term in zip(leaves, given, strict=True):
            if not isinstance(leaf, Tensor) or not isinstance(term, Tensor):
                raise ValueError(f"jet takes tensors, got {type(term if isinstance(leaf, Tensor) else leaf)}")
            if tuple(leaf.shape) != tuple(term.shape):
                raise ValueError(
                    f"jet: a term of order {power + 1} has shape {list(term.shape)}, its primal {list(leaf.shape)}"
                )
        found.append(given)
    return leaves, structure, found
