"""Operations of k-th derivatives beside those of SymPy with CSE: `python -m tests.bench.derivatives`.

adjit's are those of the IR as it goes to the kernels, for `grad` nested k times and compiled, every node but constants
counted; SymPy's those that `count_ops` finds in what `cse` leaves of `diff(f, x, k)`.  Then the time of a sparse
Jacobian of 10,000 unknowns.
"""

from __future__ import annotations

import sys
from statistics import median
from time import perf_counter
from typing import Any

import adjit as torch
from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify
from adjit.ir.analysis import count_ops
from adjit.ir.rewrite import inline_calls
from tests.frontends.test_high_orders import CASES, ORDER, nested
from tests.frontends.test_sparse import tridiagonal


def operations(function: Any, order: int) -> int:
    """Of the derivative of this order, in adjit."""
    x = torch.tensor(0.7, dtype=torch.float64)
    counts = count_ops(simplify(legalize(inline_calls(torch.compile(nested(function, order)).graph(x)))))
    return counts.total() - counts["const"]


def operations_in_sympy(expression: Any, order: int) -> int:
    """Of the derivative of this order, in SymPy."""
    import sympy

    (symbol,) = expression.free_symbols
    found, results = sympy.cse(sympy.diff(expression, symbol, order))
    return int(sum(sympy.count_ops(e) for e in (*(e for _, e in found), *results)))


def sparse_seconds(size: int) -> float:
    """A tridiagonal Jacobian, once its pattern is known."""
    jacobian, x = torch.sparse_jacobian(tridiagonal), torch.linspace(-1, 1, size, dtype=torch.float64)
    taken = []
    for _ in range(20):
        start = perf_counter()
        jacobian(x)
        taken.append(perf_counter() - start)
    return median(taken)


def main() -> int:
    """Print the table, and the time."""
    import sympy

    x = sympy.Symbol("x", positive=True)
    orders = range(1, ORDER + 1)
    print(f"{'adjit / SymPy':20}" + "".join(f"{'k = ' + str(k):>12}" for k in orders))
    for name, case in CASES.items():
        own = [operations(case.function, k) for k in orders]
        theirs = [operations_in_sympy(torch.to_sympy(case.function, x), k) for k in orders]
        print(f"{name:20}" + "".join(f"{f'{a} / {b}':>12}" for a, b in zip(own, theirs, strict=True)))
    print(f"sparse Jacobian, 10,000 unknowns: {1e3 * sparse_seconds(10_000):.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
