"""Forward mode: `jvp`, `linearize`, `jacfwd`, `hvp`; and `hessian`, forward over reverse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from adjit import trees
from adjit.following import runs
from adjit.func.arguments import Argnums, chosen, flatten_output, replaced, split_aux, title
from adjit.func.reverse import ORDERS_KEPT, jacrev, traced_function, unit_rows, vjp
from adjit.inner_trace import Traced, call_inner, is_differentiated, write_back
from adjit.ir.errors import TraceError
from adjit.ir.frozen import changed
from adjit.ir.graph import Graph
from adjit.state import STATE
from adjit.tensor import Tensor


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> tuple[Any, ...]:
    """(f(x), df(x) t): the output and its derivative along `tangents`; and aux with `has_aux`.

    `func` is traced and its tangent program emitted; where its course depends on numbers, which a trace does not have,
    the pullback is pulled back instead (eager mode only).
    Errors: RuntimeError where tangents do not have the primals' structure or shapes; with `strict`, where an output
    does not depend on the primals.

    >>> import adjit as torch
    >>> torch.func.jvp(torch.sin, (torch.tensor(0.0),), (torch.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    leaves, structure, moving = _pairs("jvp(f, primals, tangents)", primals, tangents)
    try:
        push = _Push(func, leaves, structure)
    except TraceError:
        if STATE.tracer is not None:
            raise
        output, along, *aux = _pulled_twice(func, primals, has_aux)
        return (output, along(*tangents), *aux)
    results, found = push(moving)
    if strict and any(tangent is None for tangent in found):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed "
            "with strict=True."
        )
    return push.finish(results, found, has_aux, "jvp(f, primals, tangents)")


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), t -> df(x) t): the output, and the derivative there as a linear function of tangents."""
    leaves, structure = trees.flatten(primals)
    try:
        push = _Push(func, leaves, structure)
    except TraceError:
        if STATE.tracer is not None:
            raise
        output, pulled_along = _pulled_twice(func, primals, False)
        return output, pulled_along
    output = push.traced.restore(push.outputs())

    def along(*tangents: Any) -> Any:
        _, _, moving = _pairs("linearize(f, *primals)", primals, tangents)
        results, found = push(moving)
        return push.finish(results, found, False, "")[1]

    return output, along


def _pulled_twice(func: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> tuple[Any, ...]:
    """(output, t -> df(x) t), and aux: the pullback is linear in its cotangents, and its pullback gives tangents."""
    from adjit.creation import zeros_like

    output, pullback, *aux = vjp(func, *primals, has_aux=has_aux)
    cotangents = trees.mapped(zeros_like, output)
    _, transposed = vjp(lambda given: pullback(given, create_graph=True), cotangents)

    def along(*tangents: Any) -> Any:
        keep = any(x.requires_grad for x in trees.leaves_of((output, tangents)))
        return transposed(tangents, create_graph=keep)[0]

    return (output, along, *aux)


def _pairs(api: str, primals: Any, tangents: Any) -> tuple[list[Tensor], Any, list[Tensor]]:
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{api}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    leaves, structure = trees.flatten(primals)
    moving, arrived = trees.flatten(tangents)
    if arrived != structure:
        raise RuntimeError(
            f"{api}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {structure} and tangents with "
            f"structure {arrived}"
        )
    if not leaves:
        raise RuntimeError(f"{api}: Expected primals to contain at least one Tensor.")
    for leaf, tangent in zip(leaves, moving, strict=True):
        if not isinstance(leaf, Tensor) or not isinstance(tangent, Tensor):
            kind = type(tangent if isinstance(leaf, Tensor) else leaf)
            raise RuntimeError(f"{api}: Expected primals and tangents to only contain Tensors, got {kind}")
        if tuple(leaf.shape) != tuple(tangent.shape):
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(leaf.shape)} while the given forward gradient is of size "
                f"{list(tangent.shape)}."
            )
    return leaves, structure, moving


class _Push:
    """A function's tangent program at some primals."""

    def __init__(self, func: Callable[..., Any], leaves: Sequence[Tensor], structure: Any) -> None:
        from adjit.compiler.forward_mode import forward_mode

        self.name = title(func).capitalize()
        self.traced: Traced
        flags = [False] * len(leaves)  # tangents pass what is computed under `no_grad`
        self.traced, self.operands = traced_function(func, leaves, structure, flags, ORDERS_KEPT)
        self.floating = [place for place, leaf in enumerate(leaves) if leaf._dtype.is_continuous]
        free = STATE.tracer is not None and not STATE.tracer.strict
        source = _collected(self.traced.graph, self.floating, True) if free else self.traced.graph
        if not free:
            key = ("forward_mode", *self.floating)
            self.pushed = self.traced.made(key, lambda: forward_mode(source, self.floating))
        else:
            self.pushed = forward_mode(source, self.floating)
            graph = _collected(self.pushed.graph, self.floating, is_differentiated(self.operands))
            self.pushed = changed(self.pushed, graph=graph)

    def outputs(self) -> list[Tensor]:
        """The function's results."""
        results = call_inner(self.traced.graph, self.operands, self.name)
        self._write_back(results)
        return results[: self.traced.count]

    def __call__(self, tangents: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        """The results, and the tangent of each, None where it does not vary."""
        moving = [tangents[place].to(self.operands[place].dtype) for place in self.floating]
        found = call_inner(self.pushed.graph, [*self.operands, *moving], f"{self.name}Jvp")
        count = len(self.traced.graph.outputs)
        self._write_back(found[:count])
        of_result = dict(zip(self.pushed.reached, found[count:], strict=True))
        return found[: self.traced.count], [of_result.get(place) for place in range(self.traced.count)]

    def _write_back(self, results: Sequence[Tensor]) -> None:
        write_back(self.traced.written, results[self.traced.count : self.traced.count + len(self.traced.written)])

    def finish(
        self, results: Sequence[Tensor], tangents: Sequence[Tensor | None], has_aux: bool, api: str
    ) -> tuple[Any, ...]:
        """(output, tangent) in the function's structure."""
        from adjit.creation import zeros_like

        filled = [zeros_like(x) if t is None else t for x, t in zip(results, tangents, strict=True)]
        output, aux = split_aux(self.traced.restore(results), has_aux, api)
        if api:
            flatten_output(output, api)
        tangent, _ = split_aux(self.traced.restore(filled), has_aux, api)
        return (output, tangent, aux) if has_aux else (output, tangent)


def _collected(graph: Graph, wrt: Sequence[int], again: bool) -> Graph:
    """A program that varies with some inputs, like terms of derivatives in it collected."""
    from adjit.compiler.collect import collected

    return collected(graph, [graph.inputs[place] for place in wrt], again=again)


def jacfwd(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The Jacobian by forward mode: J[i..., j...] = d output[i...] / d input[j...], all columns at once.

    Shapes: output.shape + input.shape for each pair of an output and an input.
    """

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from adjit.creation import zeros_like
        from adjit.func.reverse import require_real

        leaves, structure = trees.flatten(chosen(args, argnums))
        require_real("jacfwd", "inputs", leaves)

        @runs(func)
        def of_leaves(*tensors: Tensor) -> Any:
            return func(*replaced(args, argnums, trees.unflatten(structure, tensors)), **kwargs)

        columns: list[Any] = []
        aux: Any = None
        for place, leaf in enumerate(leaves):

            @runs(func)
            def push(row: Tensor, place: int = place) -> Any:
                moving = tuple(row if i == place else zeros_like(x) for i, x in enumerate(leaves))
                return jvp(of_leaves, tuple(leaves), moving, has_aux=has_aux)[1:]

            found, *rest = _each_column(push, leaf, has_aux, randomness)
            require_real("jacfwd", "outputs", trees.leaves_of(found))
            aux = rest[0] if has_aux else None
            columns.append(found)
        outputs = trees.structure_of(columns[0])
        flat = [trees.leaves_of(column) for column in columns]
        rows = [trees.unflatten(structure, list(row)) for row in zip(*flat, strict=True)]
        result = trees.unflatten(outputs, rows)
        return (result, aux) if has_aux else result

    return wrapped


def _each_column(push: Callable[[Tensor], Any], leaf: Tensor, has_aux: bool, randomness: str) -> Sequence[Any]:
    """(the tangents along each element of `leaf`, whose axes come last), and aux: vectorised where that is possible."""
    from adjit.creation import ones_like
    from adjit.func.batching import vmap
    from adjit.joining import stack

    if leaf.dim() == 0:
        found: Sequence[Any] = push(ones_like(leaf))
        return found
    try:
        found = vmap(push, out_dims=(-1, None) if has_aux else (-1,), randomness=randomness)(unit_rows(leaf))
    except TraceError:
        if STATE.tracer is not None:
            raise
        rows = [push(row) for row in unit_rows(leaf)]
        columns = zip(*(trees.leaves_of(row[0]) for row in rows), strict=True)
        found = (trees.unflatten(trees.structure_of(rows[0][0]), [stack(c, -1) for c in columns]), *rows[0][1:])
    shaped = trees.mapped(lambda x: x.reshape(*x.shape[:-1], *leaf.shape), found[0])
    return (shaped, *found[1:])


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The second derivatives H[i..., j...] = d²f / dx[i...] dx[j...], forward over reverse.

    >>> import adjit as torch
    >>> torch.func.hessian(lambda x: (x ** 3).sum())(torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def hvp(func: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """(f(x), H t): a scalar function's value and the product of its Hessian with `tangents`, forward over reverse."""
    from adjit.func.reverse import value_and_grad

    places: Argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    (value, _), (_, products) = jvp(value_and_grad(func, places), primals, tangents)
    return value, products
