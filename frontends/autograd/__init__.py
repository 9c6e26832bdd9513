"""Gradients: `backward`, `grad`, and the modes that switch recording on and off."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from adjit.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from adjit.dims import shape_of
from adjit.errors import explained
from adjit.state import STATE
from adjit.tensor import Tensor

__all__ = [
    "Function", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "grad_mode", "gradcheck",
    "gradgradcheck", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_detect_anomaly",
    "set_grad_enabled", "variable",
]  # fmt: skip

# What few programs use is imported at first use.
_LAZY = {
    "Function": "function", "detect_anomaly": "anomaly", "set_detect_anomaly": "anomaly",
    "gradcheck": "gradient_check", "gradgradcheck": "gradient_check", "GradcheckError": "gradient_check",
    "Variable": "variable",
}  # fmt: skip
_LAZY_MODULES = {
    name: name for name in ("anomaly", "forward_ad", "function", "functional", "graph", "profiler", "variable")
}
_LAZY_MODULES |= {"anomaly_mode": "anomaly", "grad_mode": "modes"}  # PyTorch's names


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY_MODULES:
        return import_module(f"adjit.autograd.{_LAZY_MODULES[name]}")
    if name in _LAZY:
        found = globals()[name] = getattr(import_module(f"adjit.autograd.{_LAZY[name]}"), name)
        return found
    raise AttributeError(f"module 'adjit.autograd' has no attribute {name!r}")


# Recorded values have a Watch on their leaf tensor, and a Recorded as their node: see `tape` and `engine`.


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if value is None or isinstance(value, Tensor) else tuple(value)


def _seeds(outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], recording: bool) -> list[Tensor]:
    """The cotangent that each output starts with."""
    from adjit.creation import ones_like

    found: list[Tensor] = []
    for index, (output, gradient) in enumerate(zip(outputs, gradients, strict=True)):
        if not output.requires_grad:
            raise explained(
                RuntimeError,
                f"element {index} of tensors does not require grad and does not have a grad_fn",
                "backward", {"tensor": output},
                hint="create the parameters with requires_grad=True, and compute the loss of them without no_grad(), "
                "detach() or item()",
            )
        dims = output._tensor_type.dims
        if gradient is None:
            if output._tensor_type.size != 1:
                raise explained(
                    RuntimeError,
                    "grad can be implicitly created only for scalar outputs",
                    "backward",
                    {"tensor": output},
                    "reduce it first, {tensor}.sum().backward(), or give weights, "
                    "{tensor}.backward(torch.ones_like({tensor}))",
                )
            if output._dtype.is_complex:
                name = f"torch.{output._dtype.long_name}"
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {name}")
            gradient = ones_like(output.detach())
        elif not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        elif gradient._tensor_type.dims != dims and shape_of(gradient) != shape_of(output):
            raise explained(
                RuntimeError,
                f"Mismatch in shape: grad_output[{index}] has a shape of torch.Size({list(gradient._tensor_type.dims)})"
                f" and output[{index}] has a shape of torch.Size({list(dims)}).",
                "backward", {"tensor": output, "gradient": gradient},
                hint="give weights of the tensor's shape, torch.ones_like({tensor})",
            )
        elif gradient._dtype is not output._dtype:
            gradient = gradient.to(output._dtype)
        found.append(gradient if recording or not gradient.requires_grad else gradient.detach())
    return found


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Tensor | Sequence[Tensor | None] | None = None,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate the gradients of `tensors`, weighted by `grad_tensors`, into the leaves' `.grad` (or only `inputs`').

    Errors: RuntimeError if a tensor does not require grad, is not a scalar and has no weight, or was freed.
    """
    outputs = _as_tuple(tensors)
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only "
                "use `grad_tensors`."
            )
        grad_tensors = grad_variables
    gradients = _as_tuple(grad_tensors) if grad_tensors is not None else (None,) * len(outputs)
    if inputs is not None and len(_as_tuple(inputs)) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    _check_count(outputs, gradients)
    retain = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(outputs, gradients, create_graph)
    if STATE.tracer is not None:
        from adjit.autograd import traced

        chosen = None if inputs is None else _as_tuple(inputs)
        traced.backward(STATE.tracer, outputs, seeds, retain, create_graph, chosen)
        return
    from adjit.autograd.engine import accumulate, run_pass
    from adjit.autograd.record import run_post_hooks, value_of

    roots = [value_of(output) for output in outputs]
    _watch_leaves(outputs)
    if inputs is None:
        run_pass(roots, seeds, retain, create_graph, seeded=gradients[0] is not None)
        return
    targets = _as_tuple(inputs)
    for target in targets:
        if not target.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not target._leaf:
            target.retain_grad()
    results = run_pass(roots, seeds, retain, create_graph, [value_of(target) for target in targets])
    for target in targets:
        if target._leaf and value_of(target) in results:
            accumulate(target, results[value_of(target)], create_graph)
            run_post_hooks(target)


def _check_count(outputs: Sequence[Any], gradients: Sequence[Any]) -> None:
    if len(gradients) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(gradients)} gradients")


def _watch_leaves(outputs: Sequence[Tensor]) -> None:
    """A root that is itself a leaf gets its own gradient."""
    from adjit.autograd.record import mark_leaf

    for output in outputs:
        if output._leaf:
            mark_leaf(output)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`; `.grad` is left alone.

    Errors: RuntimeError for an input that the outputs do not depend on, unless `allow_unused`.
    """
    from adjit.creation import zeros_like

    if is_grads_batched:
        return _batched_grad(outputs, inputs, grad_outputs, create_graph, allow_unused, materialize_grads)
    roots, targets = _as_tuple(outputs), _as_tuple(inputs)
    gradients = _as_tuple(grad_outputs) if grad_outputs is not None else (None,) * len(roots)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if not targets:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    _check_count(roots, gradients)
    seeds = _seeds(roots, gradients, create_graph)
    for target in targets:
        if not target.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found: list[Tensor | None]
    retain = create_graph if retain_graph is None else retain_graph
    if STATE.tracer is not None:
        from adjit.autograd import traced

        found = traced.gradients(STATE.tracer, roots, seeds, targets, retain, create_graph)
    else:
        from adjit.autograd.engine import run_pass
        from adjit.autograd.record import value_of

        values = [value_of(target) for target in targets]
        given = gradients[0] is not None
        results = run_pass([value_of(root) for root in roots], seeds, retain, create_graph, values, given)
        found = [results.get(value) for value in values]
    if materialize_grads:
        return tuple(
            zeros_like(t.detach(), requires_grad=create_graph) if g is None else g
            for t, g in zip(targets, found, strict=True)
        )
    if not allow_unused:
        for index, gradient in enumerate(found):
            if gradient is None:
                raise explained(
                    RuntimeError,
                    f"The differentiated Tensor at index {index} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior.",
                    hint="torch.autograd.grad(..., allow_unused=True) gives None for it",
                )
    return tuple(found)


def _batched_grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any,
    create_graph: bool,
    allow_unused: bool | None,
    materialize_grads: bool,
) -> tuple[Tensor | None, ...]:
    """One gradient for each entry of the leading axis of `grad_outputs`, stacked."""
    from adjit.joining import stack

    weights = _as_tuple(grad_outputs)
    count = next(w._tensor_type.dims[0] for w in weights if w is not None)
    rows = []
    for index in range(count):
        row = [None if w is None else w[index] for w in weights]
        rows.append(
            grad(
                outputs, inputs, row, True, create_graph, allow_unused=allow_unused, materialize_grads=materialize_grads
            )
        )
    return tuple(None if column[0] is None else stack(column) for column in zip(*rows, strict=True))
