"""Derivatives of functions of tensors, by passes over the recorded graph: vjp, jvp, jacobian, hessian, vhp, hvp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from adjit.autograd import grad
from adjit.autograd.modes import enable_grad, is_grad_enabled, set_grad_enabled
from adjit.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function: TypeAlias = Callable[..., Any]
Tensors: TypeAlias = "tuple[Tensor, ...]"
_OUTPUTS = "outputs of the user-provided function"
_NEEDS_V = (
    "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
)
_NEEDS_V_IN = (
    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
)
_STRICT = "This is not allowed in strict mode"


def _tensors(value: Any, what: str, function: str) -> tuple[bool, Tensors]:
    """Whether `value` is a tuple, and its tensors.  Errors: TypeError for anything else."""
    several = isinstance(value, tuple)
    items = value if several else (value,)
    for index, item in enumerate(items):
        if not isinstance(item, Tensor):
            which = f"value at index {index}" if several else f"given {what}"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but the {which} has "
                f"type {type(item)}."
            )
    return several, items


def _prepared(tensors: Tensors, create_graph: bool, record: bool) -> Tensors:
    """Tensors apart from the caller's graph, or views in it if a graph is wanted."""
    if create_graph:
        return tuple(t.view_as(t) if t.requires_grad or not record else t.detach().requires_grad_() for t in tensors)
    return tuple(t.detach().requires_grad_(record) for t in tensors)


def _released(tensors: Any, create_graph: bool) -> Any:
    """Nested results without history, unless a graph is wanted."""
    if isinstance(tensors, Tensor):
        return tensors if create_graph else tensors.detach()
    return tuple(_released(item, create_graph) for item in tensors)


def _single(values: Any, several: bool) -> Any:
    return values if several else values[0]


def _check_vector(v: Tensors, like: Tensors, several: bool) -> None:
    if len(v) != len(like):
        if several:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(v)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for index, (own, other) in enumerate(zip(v, like, strict=True)):
        if own.shape != other.shape:
            place = f"Entry {index} in " if several else ""
            raise RuntimeError(f"{place}v has invalid size: should be {other.size()} but got {own.size()}.")


def _check_outputs(outputs: Tensors, strict: bool) -> None:
    for index, output in enumerate(outputs):
        if strict and not output.requires_grad:
            raise RuntimeError(
                f"Output {index} of the user-provided function does not require gradients. The outputs must be "
                "computed in a differentiable manner from the input when running in strict mode."
            )


def _grads(
    outputs: Sequence[Tensor | None], inputs: Tensors, weights: Sequence[Tensor | None] | None, **options: Any
) -> tuple[Tensor | None, ...]:
    """`grad` of those outputs that have a history; None for every input where there are none."""
    chosen = [(o, w) for o, w in zip(outputs, weights or [None] * len(outputs), strict=True) if o is not None]
    chosen = [(o, w) for o, w in chosen if o.requires_grad]
    if not chosen:
        return (None,) * len(inputs)
    return grad([o for o, _ in chosen], inputs, [w for _, w in chosen], allow_unused=True, **options)


def _filled(
    found: Sequence[Tensor | None], like: Tensors, strict: bool, create_graph: bool, missing: str, constant: str
) -> Tensors:
    """Zeros for what nothing reached; in strict mode an error, with `missing` or `constant` as its text."""
    from adjit.creation import zeros_like

    filled = []
    for index, (item, other) in enumerate(zip(found, like, strict=True)):
        if strict and item is None:
            raise RuntimeError(missing.format(index))
        if strict and create_graph and item is not None and not item.requires_grad:
            raise RuntimeError(constant.format(index))
        filled.append(zeros_like(other) if item is None else item)
    return tuple(filled)


_NO_OUTPUT = f"The output of the user-provided function is independent of input {{}}. {_STRICT}."
_NO_JACOBIAN = f"The jacobian of the user-provided function is independent of input {{}}. {_STRICT}"
_NO_HESSIAN = f"The hessian of the user-provided function is independent of input {{}}. {_STRICT}"
_NO_ENTRY = (
    "The gradient with respect to the input is independent of entry {} in the grad_outputs when using the double "
    f"backward trick to compute forward mode gradients. {_STRICT}."
)
_NO_TRICK = (
    "The hessian of the user-provided function is independent of entry {} in the grad_jacobian. This is not allowed in "
    "strict mode as it prevents from using the double backward trick to replace forward mode AD."
)


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀ J)."""
    with enable_grad():
        several, given = _tensors(inputs, "inputs", "vjp")
        given = _prepared(given, create_graph, True)
        several_outputs, outputs = _tensors(func(*given), _OUTPUTS, "vjp")
        _check_outputs(outputs, strict)
        weights = None
        if v is not None:
            weights = _prepared(_tensors(v, "v", "vjp")[1], create_graph, False)
            _check_vector(weights, outputs, several_outputs)
        elif len(outputs) != 1 or outputs[0].numel() != 1:
            raise RuntimeError(_NEEDS_V)
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _grads(outputs, given, weights, create_graph=create_graph)
        constant = f"{_NO_JACOBIAN} when create_graph=True."
        result = _filled(found, given, strict, create_graph, _NO_OUTPUT, constant)
    return (
        _single(_released(outputs, create_graph), several_outputs),
        _single(_released(result, create_graph), several),
    )


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), J v), by going back twice: wᵀ J is linear in w, and its derivative is J."""
    from adjit.creation import zeros_like

    with enable_grad():
        several, given = _tensors(inputs, "inputs", "jvp")
        given = _prepared(given, create_graph, True)
        tangents = None
        if v is not None:
            tangents = _prepared(_tensors(v, "v", "jvp")[1], create_graph, False)
            _check_vector(tangents, given, several)
        elif len(given) != 1 or given[0].numel() != 1:
            raise RuntimeError(_NEEDS_V_IN)
        several_outputs, outputs = _tensors(func(*given), _OUTPUTS, "jvp")
        _check_outputs(outputs, strict)
        weights = tuple(zeros_like(output).requires_grad_() for output in outputs)
        pulled = _grads(outputs, given, weights, create_graph=True)
        for index, item in enumerate(pulled):
            if strict and item is None:
                raise RuntimeError(_NO_OUTPUT.format(index))
            if strict and item is not None and not item.requires_grad:
                raise RuntimeError(
                    f"The gradient with respect to input {index} is independent of the inputs of the user-provided "
                    f"function. {_STRICT}."
                )
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _grads(pulled, weights, tangents, create_graph=create_graph)
        constant = f"{_NO_JACOBIAN} when create_graph=True."
        result = _filled(found, outputs, strict, create_graph, _NO_ENTRY, constant)
    return (
        _single(_released(outputs, create_graph), several_outputs),
        _single(_released(result, create_graph), several_outputs),
    )


def jacobian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """J[i][j] = d func(inputs)[i] / d inputs[j], of shape (*output i, *input j).

    `vectorize` and the forward strategy give the same numbers; here each row is a pass of its own, or each column.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` are not supported '
            'together (yet). Please either set `create_graph=False` or `strategy="reverse-mode"`.'
        )
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    with enable_grad():
        several, given = _tensors(inputs, "inputs", "jacobian")
        given = _prepared(given, create_graph, True)
        several_outputs, outputs = _tensors(func(*given), _OUTPUTS, "jacobian")
        _check_outputs(outputs, strict)
        blocks = tuple(_rows(i, output, given, create_graph, strict) for i, output in enumerate(outputs))
    blocks = _released(blocks, create_graph)
    return _single(tuple(_single(block, several) for block in blocks), several_outputs)


def _rows(number: int, output: Tensor, given: Tensors, create_graph: bool, strict: bool) -> Tensors:
    """The jacobian of one output, a pass for each of its elements."""
    from adjit.creation import zeros_like
    from adjit.joining import stack

    rows: list[list[Tensor]] = [[] for _ in given]
    flat = output.reshape(-1)
    for element in range(flat.numel()):
        found = _grads((flat[element],), given, None, retain_graph=True, create_graph=create_graph)
        for index, (item, other) in enumerate(zip(found, given, strict=True)):
            if strict and item is None:
                raise RuntimeError(
                    f"Output {number} of the user-provided function is independent of input {index}. {_STRICT}."
                )
            if strict and create_graph and item is not None and not item.requires_grad:
                raise RuntimeError(f"{_NO_JACOBIAN.format(number)} when create_graph=True.")
            rows[index].append(zeros_like(other) if item is None else item)
    return tuple(
        (stack(row) if row else zeros_like(other).reshape(-1)[:0]).reshape(*output.shape, *other.shape)
        for row, other in zip(rows, given, strict=True)
    )


def _scalar(outputs: Any, function: str, strict: bool) -> Tensor:
    """The one number that a function returned, on which a hessian can be based."""
    several, found = _tensors(outputs, _OUTPUTS, function)
    _check_outputs(found, strict)
    if several:
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if found[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")
    return found[0]


def hessian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """H[i][j] = d² func(inputs) / d inputs[i] d inputs[j], for a function with one element as its result."""
    several, given = _tensors(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*tensors: Tensor) -> Tensors:
        found: Tensors = jacobian(lambda *x: _scalar(func(*x), "hessian", strict).squeeze(), tensors, create_graph=True)
        for index, item in enumerate(found):
            if strict and not item.requires_grad:
                raise RuntimeError(_constant_jacobian(index))
        return found

    blocks = jacobian(gradient, given, create_graph=create_graph, strict=strict, vectorize=vectorize)
    return _single(tuple(_single(block, several) for block in blocks), several)


def _constant_jacobian(index: int) -> str:
    return (
        "While computing the hessian, found that the jacobian of the user-provided function with respect to input "
        f"{index} is independent of the input. {_STRICT}. You should ensure that your function is twice differentiable "
        "and that the jacobian depends on the inputs (this would be violated by a linear function for example)."
    )


def _first_order(
    func: Function, inputs: Any, v: Any, create_graph: bool, strict: bool, function: str
) -> tuple[bool, Tensors, Tensors | None, Tensor, tuple[Tensor | None, ...]]:
    """What vhp and hvp start from: inputs, vector, result, and the gradient with its history."""
    several, given = _tensors(inputs, "inputs", function)
    given = _prepared(given, create_graph, True)
    vector = None
    if v is not None:
        vector = _prepared(_tensors(v, "v", function)[1], create_graph, False)
        _check_vector(vector, given, several)
    elif len(given) != 1 or given[0].numel() != 1:
        raise RuntimeError(_NEEDS_V_IN)
    output = _scalar(func(*given), function, strict)
    found = _grads((output,), given, None, create_graph=True)
    for index, item in enumerate(found):
        if strict and item is None:
            raise RuntimeError(_NO_OUTPUT.format(index))
        if strict and item is not None and not item.requires_grad:
            raise RuntimeError(_constant_jacobian(index))
    return several, given, vector, output, found


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀ H)."""
    with enable_grad():
        several, given, vector, output, first = _first_order(func, inputs, v, create_graph, strict, "vhp")
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _grads(first, given, vector, create_graph=create_graph)
        constant = f"{_NO_HESSIAN} when create_graph=True."
        result = _filled(found, given, strict, create_graph, f"{_NO_JACOBIAN}.", constant)
    return _released(output, create_graph), _single(_released(result, create_graph), several)


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), H v)."""
    from adjit.creation import zeros_like

    with enable_grad():
        several, given, vector, output, first = _first_order(func, inputs, v, create_graph, strict, "hvp")
        weights = tuple(zeros_like(tensor).requires_grad_() for tensor in given)
        second = _filled(
            _grads(first, given, weights, create_graph=True), given, strict, create_graph, f"{_NO_JACOBIAN}.",
            f"{_NO_HESSIAN} when create_graph=True.",
        )  # fmt: skip
    with set_grad_enabled(create_graph or is_grad_enabled()):
        found = _grads(second, weights, vector, create_graph=create_graph)
        constant = f"{_NO_HESSIAN} when create_graph=True."
        result = _filled(found, given, strict, create_graph, _NO_TRICK, constant)
    return _released(output, create_graph), _single(_released(result, create_graph), several)
