"""Reverse mode: `grad`, `grad_and_value`, `vjp`, `jacrev`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any
from weakref import WeakSet

from adjit import trees
from adjit.autograd import grad as gradients
from adjit.autograd.modes import inference_mode
from adjit.autograd.record import value_of
from adjit.autograd.tape import Watch
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.following import identity_of, runs, trace_followed
from adjit.func.arguments import Argnums, chosen, flatten_output, replaced, split_aux, title
from adjit.inner_trace import Traced, call_inner, cut_off, step
from adjit.ir.analysis import varies_with
from adjit.ir.errors import TraceError
from adjit.ir.graph import Value
from adjit.ir.primitive import primitive_named
from adjit.state import STATE
from adjit.tensor import Tensor


def grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a function with a scalar result: grad(f)(x) = df/dx.

    With `has_aux`, `func` returns (output, aux) and the result is (gradient, aux).  Composes with itself, with the
    other transformations, and with `compile`.
    Errors: RuntimeError where the output is no scalar tensor.

    >>> import adjit as torch
    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(1.0))
    tensor(-0.8415)
    """
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapped


def grad_and_value(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """(gradient, output), or (gradient, (output, aux)) with `has_aux`."""

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = trees.flatten(chosen(args, argnums))
        recording = STATE.recording
        with _recording():
            inner = [step(_alias, leaf, "grad") for leaf in leaves]
            given = replaced(args, argnums, trees.unflatten(structure, inner))
            output, aux = split_aux(func(*given, **kwargs), has_aux, "grad_and_value(f)(*args)")
            _require_scalar(output)
            keep, filled = step(_differentiated, output, inner, leaves, recording)
        result = trees.unflatten(structure, filled)
        output, aux = (output, aux) if keep else _released((output, aux), inner, recording)
        return result, (output, aux) if has_aux else output

    return wrapped


def _differentiated(
    output: Tensor, inner: Sequence[Tensor], leaves: Sequence[Tensor], recording: bool
) -> tuple[bool, list[Tensor]]:
    """Whether the derivative goes on around the transformation, where gradients are recorded, and those of its
    variables."""
    keep = _ends(leaves, [output], inner) and recording
    found: Sequence[Tensor | None] = (None,) * len(inner)
    if output.requires_grad:
        found = gradients(output, inner, create_graph=keep, allow_unused=True)
    return keep, [_zeros(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def value_and_grad(func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """(output, gradient), JAX's order; with `has_aux` ((output, aux), gradient)."""
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return value, found

    return wrapped


def _require_scalar(output: Any) -> None:
    name = "grad_and_value(f)(*args): Expected f(*args) to return a"
    if not isinstance(output, Tensor):
        raise RuntimeError(f"{name} Tensor, got {type(output)}")
    if output.dim() != 0:
        raise explained(
            RuntimeError,
            f"{name} scalar Tensor, got tensor with {output.dim()} dims. Maybe you wanted to use the vjp or jacrev "
            "APIs instead?",
            "grad",
            {"f(*args)": output},
            "return one number, as in f(*args).sum(), or take torch.func.jacrev(f)(*args)",
        )


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(output, pullback) with pullback(g) = the cotangents of the primals; and aux with `has_aux`.

    `pullback` returns a tuple: a cotangent for each primal.
    Errors: RuntimeError where cotangents do not have the outputs' structure.
    """
    if not primals:
        raise RuntimeError("vjp(f, *primals): Expected at least one primal")
    leaves, structure = trees.flatten(primals)
    level, recording = STATE.tracer, STATE.recording
    tracked = _is_tracked(leaves)
    with _recording():
        inner = [step(_alias, leaf, "vjp") for leaf in leaves]
        result = func(*trees.unflatten(structure, inner))
        output, aux = split_aux(result, has_aux, "vjp(f, *primals)")
        outputs, shape = flatten_output(output, "vjp(f, *primals)")
        keep = step(_ends, leaves, outputs, inner) and recording
    wanted = [index for index, tensor in enumerate(outputs) if tensor.requires_grad]
    later: list[Callable[[Sequence[Tensor]], list[Tensor | None]]] = []

    def pullback(*cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        seeds, arrived = trees.flatten(given)
        if arrived != shape:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {arrived}, primal output: {shape}"
            )
        if STATE.tracer is level:
            varies = STATE.recording and (keep or tracked or _is_tracked([x for x in seeds if isinstance(x, Tensor)]))
            create = varies if create_graph is None else create_graph
            found = step(_pulled, outputs, inner, seeds, retain_graph, create)
        else:
            if not later:
                later.append(_transposed(func, leaves, structure, wanted, level))
            found = later[0](seeds)
        filled = [_zeros(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]
        return trees.unflatten(structure, filled)

    output, aux = (output, aux) if keep else _released((output, aux), inner, recording)
    return (output, pullback, aux) if has_aux else (output, pullback)


def _pulled(
    outputs: Sequence[Tensor], inner: Sequence[Tensor], seeds: Sequence[Tensor], retain: bool, create: bool
) -> Sequence[Tensor | None]:
    """Cotangents off the tape."""
    pairs = [(output, seed) for output, seed in zip(outputs, seeds, strict=True) if output.requires_grad]
    if not pairs:
        return [None] * len(inner)
    roots, given = zip(*pairs, strict=True)
    found: Sequence[Tensor | None] = gradients(
        roots, inner, given, retain_graph=retain, create_graph=create, allow_unused=True
    )
    return found


def _transposed(
    func: Callable[..., Any], leaves: Sequence[Tensor], structure: Any, wanted: Sequence[int], level: Any
) -> Callable[[Sequence[Tensor]], list[Tensor | None]]:
    """The pullback of the results in `wanted` as a program on values computed outside: for use in a trace that began
    after the forward pass."""
    from adjit.compiler.differentiate import differentiate

    inside, STATE.tracer = STATE.tracer, level
    try:
        with _recording():
            traced, operands = traced_function(func, leaves, structure, [x._dtype.is_continuous for x in leaves])
        floating = tuple(i for i in wanted if traced.graph.outputs[i].dtype.is_continuous)
        derivative = traced.made(
            ("differentiate", len(leaves), floating), lambda: differentiate(traced.graph, range(len(leaves)), floating)
        )
        count = len(traced.graph.outputs)
        residuals = call_inner(derivative.forward, operands, title(func).capitalize())[count:]
    finally:
        STATE.tracer = inside

    def pull(seeds: Sequence[Tensor]) -> list[Tensor | None]:
        given = [seeds[index] for index in derivative.seeded]
        found = call_inner(derivative.backward, [*given, *residuals], f"{title(func).capitalize()}Vjp")
        of_leaf = dict(zip(derivative.reached, found, strict=True))
        return [of_leaf.get(index) for index in range(len(leaves))]

    return pull


# The orders up to which a user's function keeps its own derivative in forward mode.
ORDERS_KEPT = 3


def traced_function(
    func: Callable[..., Any], leaves: Sequence[Tensor], structure: Any, flags: Sequence[bool], keeps_rules: int = 0
) -> tuple[Traced, list[Tensor]]:
    """`func` as a graph of the tensors of its arguments and of what it closes over, with these operands.

    The leaves of an aux are kept as outputs after those of the output.  `flags` says which arguments the function is to
    see as tensors that require grad, `keeps_rules` is the trace's.
    """
    traced = trace_followed(
        title(func),
        identity_of(func),
        lambda *tensors: func(*trees.unflatten(structure, tensors)),
        [x._tensor_type for x in leaves],
        flags,
        keeps_rules,
    )
    return traced, cut_off(traced, leaves)


def require_real(name: str, what: str, leaves: Sequence[Any]) -> None:
    """RuntimeError for a complex tensor, whose Jacobian would be two."""
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf._dtype.is_complex:
            raise RuntimeError(
                f"{name}: Expected all {what} to be real but received complex tensor at flattened input idx: {index}"
            )


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The Jacobian by reverse mode: J[i..., j...] = d output[i...] / d input[j...], all rows at once.

    The pullback is vectorised over the rows; `chunk_size` bounds how many are computed at once.
    Shapes: output.shape + input.shape for each pair of an output and an input.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from adjit.func.batching import vmap

        picked = chosen(args, argnums)
        leaves, structure = trees.flatten(picked)
        require_real("jacrev", "inputs", leaves)

        @runs(func)
        def of_leaves(*tensors: Tensor) -> Any:
            return func(*replaced(args, argnums, trees.unflatten(structure, tensors)), **kwargs)

        found = vjp(of_leaves, *leaves, has_aux=has_aux)
        output, pullback = found[0], found[1]
        outputs, shape = flatten_output(output, "jacrev")
        require_real("jacrev", "outputs", outputs)
        rows = []
        for place, each in enumerate(outputs):

            @runs(func)
            def pull(row: Tensor, place: int = place) -> Any:
                seeds = [row if i == place else _zeros(x) for i, x in enumerate(outputs)]
                return pullback(trees.unflatten(shape, seeds))

            columns = _each_row(pull, each, chunk_size, vmap)
            parts = [c.reshape(*each.shape, *leaf.shape) for c, leaf in zip(columns, leaves, strict=True)]
            rows.append(trees.unflatten(structure, parts))
        result = trees.unflatten(shape, rows)
        return (result, found[2]) if has_aux else result

    return wrapped


def _each_row(
    pull: Callable[[Tensor], Any], output: Tensor, chunk_size: int | None, vmap: Callable[..., Any]
) -> Sequence[Tensor]:
    """`pull` of every row: vectorised, or one after the other where the function's course depends on numbers."""
    from adjit.creation import ones_like
    from adjit.joining import stack

    found: Sequence[Tensor]
    if output.dim() == 0:
        found = pull(ones_like(output))
        return found
    basis = unit_rows(output)
    try:
        found = vmap(pull, chunk_size=chunk_size)(basis)
    except TraceError:
        if STATE.tracer is not None:
            raise
        found = [stack(column) for column in zip(*(pull(row) for row in basis), strict=True)]
    return found


def unit_rows(tensor: Tensor) -> Tensor:
    """A tensor for each element: 1 there, 0 elsewhere."""
    from adjit.creation import eye

    count = tensor.numel()
    rows: Tensor = eye(count, dtype=tensor.dtype).reshape(count, *tensor.shape)
    return rows


# The variables of transformations that have ended: to those around them they are no variables.
_ended: WeakSet[Value] = WeakSet()


# -- levels -----------------------------------------------------------------------------------------------------------
@contextmanager
def _recording() -> Iterator[None]:
    """Record a function that is differentiated, which may use what was made in inference mode, as in PyTorch."""
    before, STATE.keeps_any = STATE.keeps_any, True
    try:
        with inference_mode(False):
            yield
    finally:
        STATE.keeps_any = before


def _alias(tensor: Any, api: str) -> Tensor:
    """The tensor as a variable of this transformation: what is differentiated elsewhere stays attached to it."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(tensor)}")
    if tensor.requires_grad:
        seen: Tensor = tensor.view_as(tensor)
        return seen
    if STATE.tracer is None:
        with inference_mode(False) if tensor._memory.is_inference else nullcontext():
            return (tensor.clone() if tensor._memory.is_inference else tensor.detach()).requires_grad_()
    # A value of its own, through which transformations of this program still see `tensor`.
    same = apply(primitive_named("reshape"), (tensor,), {"shape": tuple(tensor.shape)})
    assert isinstance(same, Tensor)
    return same.requires_grad_()


def _ends(leaves: Sequence[Tensor], outputs: Sequence[Any], inner: Sequence[Tensor]) -> bool:
    """Whether a transformation's outputs keep their history, now that it ends."""
    keep = _is_tracked(leaves) or _other_leaves(outputs, inner)
    _ended.update(map(value_of, inner))
    return keep


def _is_tracked(tensors: Sequence[Tensor]) -> bool:
    return any(tensor.requires_grad for tensor in tensors)


def _other_leaves(outputs: Sequence[Any], inner: Sequence[Tensor]) -> bool:
    """Whether an output comes from what requires grad beside the transformation's own variables."""
    own = {value_of(tensor) for tensor in inner}
    tracer = STATE.tracer
    known: set[Value] = set() if tracer is None else set(tracer.leaves)
    pending = [value_of(x) for x in outputs if isinstance(x, Tensor) and x.requires_grad]
    seen: set[Value] = set(pending)
    while pending:
        value = pending.pop()
        if value in own:
            continue
        watch = value.attached
        is_leaf = value in known or (value.node is None and isinstance(watch, Watch) and watch.leaf is not None)
        stands = tracer is not None and value.node is None and tracer.depends(value)  # for what is around the trace
        if (is_leaf or stands) and value not in _ended:
            return True
        for operand in () if value.node is None else varies_with(value.node):
            if operand not in seen:
                seen.add(operand)
                pending.append(operand)
    return False


def _released(tree: Any, inner: Sequence[Tensor], recording: bool) -> Any:
    """The tensors of a tree without the history of a transformation that has ended, and with any other history where
    gradients are recorded around it."""

    def free(tensor: Any) -> Any:
        return step(_free, tensor, inner, recording) if isinstance(tensor, Tensor) else tensor

    return trees.mapped(free, tree, none_is_leaf=True)


def _free(tensor: Tensor, inner: Sequence[Tensor], recording: bool) -> Tensor:
    if not tensor.requires_grad or (recording and _other_leaves([tensor], inner)):
        return tensor
    tracer = STATE.tracer
    if tracer is None or tensor._tracer is not tracer:
        return tensor.detach()
    # Without an operation, which would keep the tangents of transformations around this one.
    found = tracer.tensor_in(tracer.value_of(tensor), tensor._memory, tensor._chain)
    found._strides, found._base, found._seen = tensor._strides, tensor._base, tensor._seen
    return found


def _zeros(tensor: Tensor) -> Tensor:
    from adjit.creation import zeros_like

    return zeros_like(tensor)
