"""Gradients against differences: `gradcheck` and `gradgradcheck`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.autograd import grad
from adjit.complex_parts import view_as_complex, view_as_real
from adjit.creation import zeros, zeros_like
from adjit.dtypes import complex128, float64
from adjit.joining import stack
from adjit.random import rand
from adjit.tensor import Tensor

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """Gradients that differ from differences, or that a backward does not compute as it should."""


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _open(tensors: Sequence[Any]) -> list[Tensor]:
    return [t for t in tensors if isinstance(t, Tensor) and t.requires_grad]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:  # fmt: skip
    """Whether the gradients of `func` equal central differences (f(x + eps) - f(x - eps)) / (2 eps).

    `fast_mode` is accepted; all elements are compared nevertheless.
    Errors: GradcheckError, or False without `raise_exception`; ValueError where no input requires grad.
    """
    given = _as_tuple(inputs)
    try:
        _check_inputs(given)
        func, given = _in_parts(func, given)
        outputs = [o for o in _as_tuple(func(*given)) if o.requires_grad]
        numerical = _numerical(func, given, eps)
        if not outputs:
            if any(bool((block != 0).any()) for row in numerical for block in row):
                raise GradcheckError("Numerical gradient for function expected to be zero")
            return True
        if check_forward_ad:
            _compare(_forward(func, given), numerical, atol, rtol, "computed with forward mode ")
        if check_backward_ad:
            analytical = [_analytical(output, _open(given), nondet_tol, check_grad_dtypes) for output in outputs]
            _compare(analytical, numerical, atol, rtol, "")
            if check_batched_grad:
                _check_batched(outputs, _open(given))
            _check_zero(outputs, _open(given))
            if check_undefined_grad:
                _check_undefined(outputs, _open(given))
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_inputs(given: Sequence[Any]) -> None:
    for index, item in enumerate(given):
        if isinstance(item, Tensor) and item.requires_grad:
            if item.dtype not in (float64, complex128):
                warnings.warn(
                    f"Input #{index} requires gradient and is not a double precision floating point or complex. This "
                    "check will likely fail if all the inputs are not of double precision floating point or complex. ",
                    UserWarning,
                    stacklevel=3,
                )
            if any(step == 0 and extent > 1 for step, extent in zip(item.stride(), item.shape, strict=True)):
                raise RuntimeError(
                    f"The {index}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                    "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                    ".contiguous on the input before passing it to gradcheck."
                )
    if not _open(given):
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )


def _in_parts(func: Callable[..., Any], given: Sequence[Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """`func` and its inputs with complex tensors that require grad, and complex results, as real ones [..., 2]."""
    if not any(isinstance(item, Tensor) and item._dtype.is_complex for item in given):
        return func, tuple(given)
    places = {i for i, x in enumerate(given) if isinstance(x, Tensor) and x._dtype.is_complex and x.requires_grad}
    parts = tuple(
        view_as_real(item.detach()).requires_grad_() if place in places else item for place, item in enumerate(given)
    )

    def of_parts(*items: Any) -> Any:
        found = func(*(view_as_complex(item) if place in places else item for place, item in enumerate(items)))
        results = [view_as_real(o) if o._dtype.is_complex else o for o in _as_tuple(found)]
        return results[0] if isinstance(found, Tensor) else tuple(results)

    return of_parts, parts


# -- jacobians: one block [elements of input, elements of output] for each output and input ---------------------------
def _numerical(func: Callable[..., Any], given: Sequence[Any], eps: float) -> list[list[Tensor]]:
    """The jacobian by central differences, one element at a time."""
    kept = [index for index, o in enumerate(_as_tuple(func(*given))) if o.requires_grad] or None
    columns: list[list[list[Tensor]]] = []
    for item in _open(given):
        own: list[list[Tensor]] = []
        for element in range(item.numel()):
            above, below = (_moved(func, given, item, element, step) for step in (eps, -eps))
            _check_alike(above, below, eps)
            own.append([((a - b) / (2 * eps)).reshape(-1) for a, b in zip(above, below, strict=True)])
        columns.append(own)
    count = len(columns[0][0]) if columns and columns[0] else 0
    chosen = range(count) if kept is None else kept
    return [
        [stack([row[o] for row in own]) if own else zeros(0, 1, dtype=float64) for own in columns] for o in chosen
    ]


def _moved(
    func: Callable[..., Any], given: Sequence[Any], item: Tensor, element: int, step: float
) -> list[Tensor]:
    """The results with one element of one input moved by `step`, which counts as no write."""
    memory = item.detach().numpy()
    place = np.unravel_index(element, memory.shape)
    before = memory[place]
    memory[place] = before + step
    try:
        return [o.detach().clone() for o in _as_tuple(func(*given))]
    finally:
        memory[place] = before


def _check_alike(first: Sequence[Tensor], second: Sequence[Tensor], eps: float) -> None:
    for a, b in zip(first, second, strict=True):
        for what, left, right in (("shape", a.shape, b.shape), ("dtype", a.dtype, b.dtype)):
            if left != right:
                raise AssertionError(
                    f"Expected `func` to return outputs with the same {what} when inputs are perturbed by {eps}, but "
                    f"got: {what}s {left} and {right}."
                )


def _analytical(output: Tensor, targets: Sequence[Tensor], nondet_tol: float, check_dtypes: bool) -> list[Tensor]:
    """The jacobian of one output by backward passes, each done twice."""
    twice = [_rows(output, targets, check_dtypes) for _ in range(2)]
    for first, second in zip(*twice, strict=True):
        if first.numel() and bool(((first - second).abs() > nondet_tol).any()):
            raise GradcheckError(
                "Backward is not reentrant, i.e., running backward with same input and grad_output multiple times "
                "gives different values, although analytical gradient matches numerical gradient."
                f"The tolerance for nondeterminism was {nondet_tol}."
            )
    return twice[0]


def _rows(output: Tensor, targets: Sequence[Tensor], check_dtypes: bool) -> list[Tensor]:
    columns: list[list[Tensor]] = [[] for _ in targets]
    for element in range(output.numel()):
        weight = zeros(output.numel(), dtype=output.dtype)
        weight[element] = 1
        found = grad(output, targets, weight.reshape(output.shape), retain_graph=True, allow_unused=True)
        for column, gradient, target in zip(columns, found, targets, strict=True):
            gradient = zeros_like(target) if gradient is None else gradient
            if gradient.shape != target.shape:
                raise GradcheckError("Analytical gradient has incorrect size")
            if check_dtypes and gradient.dtype != target.dtype:
                raise GradcheckError("Gradient has dtype mismatch")
            column.append(gradient.detach().reshape(-1))
    return [
        stack(column, 1) if column else zeros(t.numel(), 0, dtype=t.dtype)
        for column, t in zip(columns, targets, strict=True)
    ]


def _forward(func: Callable[..., Any], given: Sequence[Any]) -> list[list[Tensor]]:
    """The jacobian by tangents, one for each element of an input."""
    from adjit.func import jvp

    places = [index for index, item in enumerate(given) if isinstance(item, Tensor) and item.requires_grad]

    def among(*chosen: Tensor) -> tuple[Tensor, ...]:
        filled = list(given)
        for place, item in zip(places, chosen, strict=True):
            filled[place] = item
        return tuple(o for o in _as_tuple(func(*filled)) if o._dtype.is_continuous)

    primals = tuple(given[place].detach() for place in places)
    columns: list[list[tuple[Tensor, ...]]] = []
    for index, primal in enumerate(primals):
        own = []
        for element in range(primal.numel()):
            tangents = [zeros_like(p) for p in primals]
            tangents[index].view(-1)[element] = 1
            own.append(tuple(t.reshape(-1) for t in jvp(among, primals, tuple(tangents))[1]))
        columns.append(own)
    return [[stack([row[o] for row in own]) for own in columns] for o in range(len(columns[0][0]))]


def _compare(
    analytical: Sequence[Sequence[Tensor]], numerical: Sequence[Sequence[Tensor]], atol: float, rtol: float, mode: str
) -> None:
    for o, (ours, theirs) in enumerate(zip(analytical, numerical, strict=True)):
        for i, (a, n) in enumerate(zip(ours, theirs, strict=True)):
            n = n.to(a.dtype)
            if a.numel() and not bool(((a - n).abs() <= atol + rtol * n.abs()).all()):
                raise GradcheckError(
                    f"Jacobian {mode}mismatch for output {o} with respect to input {i},\nnumerical:{n}\n"
                    f"analytical:{a}\n"
                )


# -- properties of a backward ---------------------------------------------------------------------------------------
def _check_zero(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Zeros going in must come out as zeros."""
    found = grad(outputs, targets, [zeros_like(o) for o in outputs], retain_graph=True, allow_unused=True)
    for gradient, target in zip(found, targets, strict=True):
        if gradient is None:
            continue
        if not bool((gradient == 0).all()):
            raise GradcheckError("backward not multiplied by grad_output")
        if gradient.dtype != target.dtype:
            raise GradcheckError("grad is incorrect type")
        if gradient.shape != target.shape:
            raise GradcheckError("grad is incorrect size")


def _check_undefined(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """A result that no gradient reaches must count as zeros."""
    for alone in outputs if len(outputs) > 1 else ():
        weights = [rand(o.shape, dtype=o.dtype) if o is alone else zeros_like(o) for o in outputs]
        together = grad(outputs, targets, weights, retain_graph=True, allow_unused=True)
        weight = next(w for w, o in zip(weights, outputs, strict=True) if o is alone)
        apart = grad(alone, targets, weight, retain_graph=True, allow_unused=True)
        for first, second, target in zip(together, apart, targets, strict=True):
            first, second = (zeros_like(target) if g is None else g for g in (first, second))
            if bool((first - second).abs().max() > 1e-12) if target.numel() else False:
                raise GradcheckError(
                    "Expected backward function to handle undefined output grads. Please look at the formulas in the "
                    "backward: a gradient that does not arrive counts as zeros."
                )


def _check_batched(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """A stack of weights at once must give what they give one by one."""
    for output in outputs:
        weights = [rand(output.shape, dtype=output.dtype) for _ in range(2)]
        singly = [grad(output, targets, w, retain_graph=True, allow_unused=True) for w in weights]
        batch = grad(output, targets, stack(weights), retain_graph=True, allow_unused=True, is_grads_batched=True)
        for index, together in enumerate(batch):
            apart = [row[index] for row in singly]
            if together is None or any(a is None for a in apart):
                continue
            if bool((together - stack(apart)).abs().max() > 1e-8):  # type: ignore[arg-type]
                raise GradcheckError("gradcheck failed while testing batched gradient computation.")


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
    fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """Whether the gradients of the gradients of `func` equal differences; `grad_outputs` weigh the results."""
    if not (check_fwd_over_rev or check_rev_over_rev):
        raise AssertionError("Expected at least one of check_fwd_over_rev or check_rev_over_rev to be True")
    given = _as_tuple(inputs)
    if grad_outputs is None:
        outputs = [o for o in _as_tuple(func(*given)) if o.requires_grad]
        weights = tuple((rand(o.shape, dtype=o.dtype) * 2 - 1).requires_grad_() for o in outputs)
    else:
        weights = _as_tuple(grad_outputs)
    places = [index for index, item in enumerate(given) if isinstance(item, Tensor) and item.requires_grad]

    def first_order(*arguments: Any) -> tuple[Tensor, ...]:
        primals, cotangents = arguments[: len(given)], arguments[len(given) :]
        primals = tuple(
            item if index not in places or item.requires_grad else item.detach().requires_grad_()
            for index, item in enumerate(primals)
        )
        outputs = [o for o in _as_tuple(func(*primals)) if o.requires_grad]
        targets = [primals[index] for index in places]
        found = grad(outputs, targets, cotangents, create_graph=True, allow_unused=True)
        return tuple(zeros_like(t) if g is None else g for g, t in zip(found, targets, strict=True))

    return gradcheck(
        first_order, (*given, *weights), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad, check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev, fast_mode=fast_mode, masked=masked,
    )  # fmt: skip
