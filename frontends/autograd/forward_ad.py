"""Forward mode by dual tensors: `make_dual` gives a tensor a tangent, `unpack_dual` the tangent of what came of it.

A level has one number s, which is 0; a dual tensor is primal + s * tangent.  The tangent of a result y is dy/ds, found
on the recorded graph by two pullbacks: that of v -> (dy/ds)^T v, which is linear in v, along 1.  So what is recorded is
what is differentiated, and a result that has a tangent requires grad.  Under `no_grad`, operations on dual tensors are
recorded with all else that requires grad cut off.  `func.jvp` emits a tangent program instead, without a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from adjit import trees
from adjit.autograd.function import Function, FunctionRule
from adjit.autograd.modes import enable_grad
from adjit.autograd.record import value_of
from adjit.autograd.rules import validated_tangents, zeros_of
from adjit.creation import zeros, zeros_like
from adjit.ir.frozen import frozen
from adjit.overrides import TorchFunctionMode
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.views import write_history

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """What `unpack_dual` returns: a tensor, and its tangent or None."""

    primal: Tensor
    tangent: Tensor | None


class _Dual(Function):
    """primal + s * tangent at s = 0."""

    @staticmethod
    def forward(ctx: Any, primal: Tensor, tangent: Tensor, s: Tensor) -> Tensor:
        ctx.tangent = tangent  # not saved: a backward pass through one result must leave the others theirs
        dual: Tensor = primal.clone()
        return dual

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        along = (gradient.conj() * ctx.tangent).sum()
        return gradient, None, along.real if along.is_complex() else along


class _UnderNoGrad(TorchFunctionMode):
    """What records operations on dual tensors under `no_grad`: their operands depend on the level's number alone.

    Writes to tensors that require grad without being dual are left to `no_grad`: they get no tangent.
    """

    def __init__(self) -> None:
        self.is_kept = False  # in force until the level ends, also while it serves a call

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if STATE.recording or STATE.inference or STATE.tracer is not None or func in _LEFT:
            return func(*args, **kwargs)
        leaves, structure = trees.flatten((tuple(args), kwargs), none_is_leaf=True)
        moving = [_is_dual(leaf) for leaf in leaves]
        if not any(moving) or (writes(func) and args[0].requires_grad and not _is_dual(args[0])):
            return func(*args, **kwargs)
        given = [_alone(leaf, dual) for leaf, dual in zip(leaves, moving, strict=True)]
        args, kwargs = trees.unflatten(structure, given)
        with enable_grad():
            result = func(*args, **kwargs)
        for leaf in (*trees.leaves_of(result), *given):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.__dict__[_MARK] = leaf._value
        return result


# Where a tensor has the value that was found to depend on the level's number alone.
_MARK = "_moves_with_level_alone"
_LEFT = frozenset((Tensor.detach, Tensor.requires_grad_))


def writes(func: Callable[..., Any]) -> bool:
    """Whether a function writes to its first argument."""
    name = func.__name__
    return name == "__setitem__" or name.endswith("_") != name.startswith("__") or name.startswith("__i")


def _is_dual(leaf: Any) -> bool:
    """Whether an operand has a tangent."""
    if not isinstance(leaf, Tensor) or not leaf.requires_grad:
        return False
    return _is_alone(leaf) or unpack_dual(leaf).tangent is not None


def _is_alone(leaf: Tensor) -> bool:
    return leaf.__dict__.get(_MARK, leaf) is leaf._value


def _alone(leaf: Any, dual: bool) -> Any:
    """An operand without what it depends on beside the level's number."""
    if not isinstance(leaf, Tensor) or not leaf.requires_grad or (dual and _is_alone(leaf)):
        return leaf
    if not dual:
        return leaf.detach()
    primal, tangent = unpack_dual(leaf)
    if not primal.requires_grad:
        leaf.__dict__[_MARK] = leaf._value
        return leaf
    assert tangent is not None
    with enable_grad():
        return _Dual.apply(primal.detach(), tangent.detach(), _open[0].s)


@frozen
class _Level:
    """A level's number s, the tensors that were made dual in it, and what keeps their tangents under `no_grad`."""

    s: Tensor
    duals: dict[int, Tensor]
    mode: _UnderNoGrad

    def keep_tangents(self) -> None:
        """Keep them from here on; said where `no_grad` begins, for functions are slower then."""
        if not self.mode.is_kept:
            self.mode.is_kept = True  # first: entering, and what the mode does, may end recording themselves
            self.mode.__enter__()

    def close(self) -> None:
        """Keep none any more."""
        if self.mode.is_kept:
            self.mode.is_kept = False
            self.mode.__exit__()


_open: list[_Level] = []


def enter_dual_level() -> int:
    """Open the level, in which tensors may be dual.  Errors: RuntimeError if it is open."""
    if _open:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    opened = _Level(zeros((), requires_grad=True), {}, _UnderNoGrad())
    _open.append(opened)
    STATE.duals = opened.keep_tangents
    if not STATE.recording:
        opened.keep_tangents()
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """Close the level: no tensor has a tangent any more.  Errors: RuntimeError if it is not the open one."""
    if not _open:
        raise RuntimeError("Dual level must be a positive number.")
    if level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _open.pop().close()
    STATE.duals = None


@contextmanager
def dual_level() -> Iterator[int]:
    """A block in which tensors may be dual.

    >>> import adjit as torch
    >>> import adjit.autograd.forward_ad as fwAD
    >>> with fwAD.dual_level():
    ...     x = fwAD.make_dual(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]))
    ...     fwAD.unpack_dual(x**3)
    UnpackedDualTensor(primal=tensor([1., 8.]), tangent=tensor([3., 0.]))
    """
    level = enter_dual_level()
    try:
        yield level
    finally:
        exit_dual_level(level=level)


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """`tensor` with a tangent of its shape, while the level is open.

    Errors: RuntimeError without an open level, for a tensor that is dual already, and for a tangent of another shape;
    ValueError for tensors of integers.
    """
    if not _open or (level is not None and level < 0):
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, given in (("primal", tensor), ("tangent", tangent)):
        if not given._dtype.is_continuous:
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {given.dtype}")
    (opened,) = _open
    if id(tensor) in opened.duals:
        raise RuntimeError(
            "Making a dual Tensor based on a Tensor that already has a forward gradient at the same level 0 is not "
            "supported."
        )
    if tuple(tensor.shape) != tuple(tangent.shape):
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    with enable_grad():
        dual: Tensor = _Dual.apply(tensor, tangent, opened.s)
    opened.duals[id(dual)] = dual
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """A tensor and its tangent: None where it does not depend on a dual tensor of the open level.

    Both can be differentiated further where the tensor depends on others that require grad.
    """
    from adjit.autograd import grad

    if not _open or not tensor.requires_grad:
        return UnpackedDualTensor(tensor, None)
    s = _open[0].s
    with enable_grad():
        weights = zeros_like(tensor).requires_grad_()
        (along,) = grad([tensor], [s], [weights], create_graph=True, allow_unused=True)
        if along is None:
            return UnpackedDualTensor(tensor, None)
        tangent = zeros_like(tensor)
        if along.requires_grad:
            (found,) = grad([along], [weights], create_graph=True, allow_unused=True)
            tangent = tangent if found is None else found
    if _reaches_others(tensor, s):
        return UnpackedDualTensor(tensor, tangent)
    return UnpackedDualTensor(tensor.detach(), tangent.detach())


def tangents_of(args: Sequence[Any]) -> list[Tensor | None]:
    """The tangent of each argument of a user's function; None for those that have none."""
    return [unpack_dual(arg).tangent if isinstance(arg, Tensor) else None for arg in args]


def with_tangents(
    outputs: tuple[Any, ...], rule: FunctionRule, tangents: Sequence[Tensor | None]
) -> tuple[Any, ...]:
    """The results of a user's function with the tangents that its `jvp` makes of those of its arguments."""
    ctx = rule.ctx
    if ctx._materialize:
        types = [None if type is None or not type.dtype.is_continuous else type for type in rule.arguments]
        tangents = [zeros_of(type) if t is None and type else t for t, type in zip(tangents, types, strict=True)]
    kept, ctx._saved = ctx._saved, tuple((tensor, None) for tensor in ctx._chosen_forward)
    try:
        returned = rule.cls.jvp(ctx, *tangents)
    finally:
        ctx._saved = kept
    results = [item._tensor_type if isinstance(item, Tensor) else None for item in outputs]
    found = validated_tangents(rule.cls.__name__, returned, results)
    rule.along = value_of(_open[0].s)
    return tuple(
        item if t is None or not item.requires_grad else _moved(item, t, any(item is each for each in ctx._dirty))
        for item, t in zip(outputs, found, strict=True)
    )


def _moved(result: Tensor, tangent: Tensor, written: bool) -> Tensor:
    """A function's result with a tangent of its own: the same tensor if the function has written to it."""
    with enable_grad():
        dual: Tensor = _Dual.apply(result, tangent, _open[0].s)
    if not written:
        return dual
    write_history(result, value_of(dual))
    return result


def _reaches_others(tensor: Tensor, s: Tensor) -> bool:
    """Whether gradients of a tensor reach another leaf than `s`."""
    pending, seen = [tensor.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf is not s:
            return True
        pending += [following for following, _ in node.next_functions]
    return False
