"""Jacobians and Hessians with few nonzero elements: their pattern is read off the program, and few products give all.

The pattern comes from the graph (adjit.compiler.sparsity), a colouring says which columns can be computed together, and
one compiled program computes the products of all colours and picks the elements out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from adjit import trees
from adjit.compiler.colouring import colour_columns, colour_symmetric, read_symmetric
from adjit.compiler.pattern import Pattern
from adjit.compiler.sparsity import dependence
from adjit.func.arguments import title
from adjit.inner_trace import Traced, trace_inner
from adjit.memory import Memory
from adjit.raveling import Variable, joined
from adjit.state import STATE
from adjit.tensor import Tensor

METHODS: dict[str, Any] = {}
__all__ = ["CSR", "Sparsity", "sparse_hessian", "sparse_jacobian", "sparsity"]

Function = Callable[..., Any]


class CSR(NamedTuple):
    """A sparse matrix: row i has data[indptr[i]:indptr[i + 1]] in the columns indices[indptr[i]:indptr[i + 1]]."""

    data: Tensor
    indices: Tensor
    indptr: Tensor
    shape: tuple[int, int]

    def toarray(self) -> np.ndarray:
        """The matrix as a NumPy array."""
        data, indptr = self.data.detach().numpy(), self.indptr.numpy()
        found = np.zeros(self.shape, data.dtype)
        found[np.repeat(np.arange(self.shape[0]), np.diff(indptr)), self.indices.numpy()] = data
        return found


@dataclass(frozen=True)
class Sparsity:
    """Which elements of a Jacobian can be other than 0, in CSR; `str` draws it."""

    indptr: np.ndarray
    indices: np.ndarray
    shape: tuple[int, int]

    @property
    def nnz(self) -> int:
        """The number of elements."""
        return len(self.indices)

    def to_dense(self) -> Tensor:
        """The pattern as a bool matrix."""
        from adjit.creation import from_numpy

        found = np.zeros(self.shape, bool)
        found[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices] = True
        result: Tensor = from_numpy(found)
        return result

    def __str__(self) -> str:
        height, width = (min(size, most) for size, most in zip(self.shape, (24, 72), strict=True))
        cells = np.zeros((max(height, 1), max(width, 1)), bool)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        cells[rows * height // max(self.shape[0], 1), self.indices * width // max(self.shape[1], 1)] = True
        title = f"{self.shape[0]} x {self.shape[1]}, {self.nnz} elements"
        return "\n".join([title, *("".join("x" if cell else "." for cell in row) for row in cells[:height, :width])])


def sparsity(f: Function, *args: Any, argnums: int | Sequence[int] = 0) -> Sparsity:
    """Which elements of the Jacobian of `f` with respect to an argument can be other than 0, whatever the numbers.

    Results and arguments may be trees of tensors: their elements are numbered leaf after leaf.
    Shapes: numel(f(*args)) rows, numel(args[argnums]) columns.  Errors: TraceError where f cannot be traced.

    >>> import adjit as torch
    >>> print(torch.sparsity(lambda x: x[1:] * x[:-1], torch.zeros(5)))
    4 x 5, 8 elements
    xx...
    .xx..
    ..xx.
    ...xx
    """
    variable = Variable(args, argnums, "sparsity")
    found = _analysed(f, args, variable, lambda f, args: joined(f(*args)))[0]
    return Sparsity(found.indptr, found.indices, (found.rows, found.columns))


def sparse_jacobian(f: Function, argnums: int | Sequence[int] = 0, *, mode: str | None = None) -> Function:
    """The Jacobian of `f` as a sparse matrix: scipy.sparse.csr_array where SciPy is installed, else `CSR`.

    Arguments (one, or several by a tuple of `argnums`) and results may be trees of tensors: one row for each element of
    the results, one column for each of the arguments, leaf after leaf.
    The pattern is found at the first call for arguments of some shapes; later ones run a compiled program that computes
    a product for each colour of the columns (`mode` "forward") or of the rows ("reverse"), by default where they are
    fewer.  In a trace the result is a `CSR`.
    Shapes: numel(f(*args)) rows, numel(args[argnums]) columns.

    >>> import adjit as torch
    >>> x = torch.tensor([1.0, 2.0, 4.0])
    >>> torch.sparse_jacobian(lambda x: x[1:] * x[:-1])(x).toarray()
    array([[2., 1., 0.],
           [0., 4., 2.]], dtype=float32)
    """
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f"sparse_jacobian: mode is 'forward', 'reverse' or None, not {mode!r}")
    return _planned(f, lambda args: _jacobian_plan(f, args, Variable(args, argnums, "sparse_jacobian"), mode))


def sparse_hessian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The Hessian of a scalar function as a sparse matrix, by products of it with sums of unit vectors.

    Its symmetry saves products: an arrow takes 2, a band of width w about w.  Otherwise as `sparse_jacobian`.
    Shapes: numel(args[argnums]) rows and columns.

    >>> import adjit as torch
    >>> torch.sparse_hessian(lambda x: (x[1:] * x[:-1] ** 2).sum())(torch.tensor([1.0, 2.0, 4.0])).toarray()
    array([[4., 2., 0.],
           [2., 8., 4.],
           [0., 4., 0.]], dtype=float32)
    """
    return _planned(f, lambda args: _hessian_plan(f, args, Variable(args, argnums, "sparse_hessian")))


# -- plans ------------------------------------------------------------------------------------------------------------
@dataclass
class _Plan:
    """How to compute the elements of a pattern for arguments of some types."""

    pattern: Pattern
    values: Function
    watched: list[tuple[Memory, int]]
    compiled: Any = field(default=None)

    def holds(self) -> bool:
        """Whether the numbers that the pattern was read from are the same."""
        return all(memory.version == version for memory, version in self.watched)


def _planned(f: Function, make: Callable[[tuple[Any, ...]], _Plan]) -> Function:
    plans: dict[Any, _Plan] = {}

    def plan_for(args: tuple[Any, ...]) -> _Plan:
        from adjit.jit import compile

        key = _key(args)
        found = plans.get(key)
        if found is None or not found.holds():
            found = plans[key] = make(args)
            found.compiled = compile(found.values)
        return found

    @wraps(f)
    def wrapped(*args: Any) -> Any:
        if STATE.tracer is not None:
            plan = make(args)
            return _csr(plan.pattern, plan.values(*args))
        plan = plan_for(args)
        data = plan.compiled(*args)
        if find_spec("scipy") is None:
            return _csr(plan.pattern, data)
        from scipy.sparse import csr_array  # type: ignore[import-untyped, unused-ignore]

        pattern = plan.pattern
        shape = (pattern.rows, pattern.columns)
        return csr_array((data.detach().numpy(), pattern.indices, pattern.indptr), shape=shape)

    return wrapped


def _key(args: tuple[Any, ...]) -> Any:
    """What a pattern depends on: the tensors' types, the numbers of those that can be indices, and other values."""
    leaves, structure = trees.flatten(args, none_is_leaf=True)
    found: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            found.append((leaf._tensor_type, None if leaf._dtype.is_continuous else leaf.numpy().tobytes()))
        else:
            found.append(leaf if isinstance(leaf, (int, float, str, bool, type(None))) else id(leaf))
    return structure, tuple(found)


def _csr(pattern: Pattern, data: Tensor) -> CSR:
    from adjit.creation import from_numpy

    return CSR(data, from_numpy(pattern.indices), from_numpy(pattern.indptr), (pattern.rows, pattern.columns))


def _analysed(
    f: Function, args: tuple[Any, ...], variable: Variable, compute: Callable[[Function, tuple[Any, ...]], Tensor]
) -> tuple[Pattern, list[tuple[Memory, int]]]:
    """The pattern of compute(f, args) as a function of the variable, and the tensors outside that it was read from."""
    leaves, structure = trees.flatten(args, none_is_leaf=True)
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def of_all(x: Tensor, *tensors: Tensor) -> Tensor:
        given = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            given[place] = tensor
        return compute(f, variable.put(trees.unflatten(structure, given), x))

    tensors = [variable.of(args), *(leaves[place] for place in places)]
    traced = trace_inner(title(f), of_all, [x._tensor_type for x in tensors])
    arrays = [None if x._dtype.is_continuous else x._array for x in tensors] + [x._array for x in traced.captured]
    found = dependence(traced.graph, 0, arrays)
    rows = traced.graph.outputs[0].type.size
    assert isinstance(rows, int)
    pattern = found.outputs[0] or Pattern.empty(rows, tensors[0].numel())
    return pattern, _watched(traced, found.consulted)


def _watched(traced: Traced, consulted: frozenset[int]) -> list[tuple[Memory, int]]:
    memories = [traced.captured[index - traced.arguments]._memory for index in consulted if index >= traced.arguments]
    return [(memory, memory.version) for memory in memories]


def _units(colours: np.ndarray, like: Tensor) -> Tensor:
    """For each colour the sum of its unit vectors, shaped like `like`."""
    from adjit.creation import from_numpy

    count = int(colours.max(initial=-1)) + 1
    rows = colours[None, :] == np.arange(count)[:, None]
    found: Tensor = from_numpy(rows).to(like.dtype).reshape(count, *like.shape)
    return found


def _picked(products: Tensor, places: np.ndarray) -> Tensor:
    """The elements at `places` of the products of all colours."""
    from adjit.creation import from_numpy

    found: Tensor = products.reshape(-1)[from_numpy(places)]
    return found


def _jacobian_plan(f: Function, args: tuple[Any, ...], variable: Variable, mode: str | None) -> _Plan:
    pattern, watched = _analysed(f, args, variable, lambda f, args: joined(f(*args)))
    columns = None if mode == "reverse" else colour_columns(pattern)
    rows = None if mode == "forward" else colour_columns(pattern.transposed())
    i, j = pattern.pairs()
    forward = columns is not None and (rows is None or columns.max(initial=-1) <= rows.max(initial=-1))
    colours, lines, width = (columns, (j, i), pattern.rows) if forward else (rows, (i, j), pattern.columns)
    assert colours is not None
    places = colours[lines[0]] * width + lines[1]

    def values(*args: Any) -> Tensor:
        from adjit.func import jvp, vjp, vmap

        def of_one(x: Tensor) -> Tensor:
            return joined(f(*variable.put(args, x)))

        x = variable.of(args)
        if forward:
            push = vmap(lambda t: jvp(of_one, (x,), (t,))[1].reshape(-1))
            return _picked(push(_units(colours, x)), places)
        output, pull = vjp(of_one, x)
        return _picked(vmap(lambda g: pull(g)[0].reshape(-1))(_units(colours, output)), places)

    return _Plan(pattern, values if pattern.count else _nothing(variable), watched)


def _hessian_plan(f: Function, args: tuple[Any, ...], variable: Variable) -> _Plan:
    from adjit.func import grad

    def gradient(f: Function, args: tuple[Any, ...]) -> Tensor:
        found: Tensor = grad(lambda x: f(*variable.put(args, x)))(variable.of(args))
        return found

    found, watched = _analysed(f, args, variable, gradient)
    pattern = found.symmetric()
    colours = colour_symmetric(pattern)
    lines, of_colour = read_symmetric(pattern, colours)
    places = of_colour * pattern.rows + lines

    def values(*args: Any) -> Tensor:
        from adjit.func import jvp, vmap

        x = variable.of(args)
        push = vmap(lambda t: jvp(lambda x: gradient(f, variable.put(args, x)), (x,), (t,))[1].reshape(-1))
        return _picked(push(_units(colours, x)), places)

    return _Plan(pattern, values if pattern.count else _nothing(variable), watched)


def _nothing(variable: Variable) -> Function:
    """The elements of an empty pattern."""

    def values(*args: Any) -> Any:
        from adjit.creation import zeros

        return zeros(0, dtype=variable.of(args).dtype)

    return values
