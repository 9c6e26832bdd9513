"""`Function`: an operation whose forward and backward the user writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import CO_VARARGS, CO_VARKEYWORDS, Signature, signature
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from adjit.autograd.engine import FREED, check_version, revive
from adjit.autograd.modes import no_grad
from adjit.autograd.record import close, mark_leaf, save, value_of
from adjit.autograd.rules import validated
from adjit.autograd.tape import Recorded, Rule, Saved
from adjit.ir.graph import Node, Value
from adjit.ir.ops.structure import reshape
from adjit.ir.primitive import primitive_named
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.views import check_writable, mark_users, view, write_history

__all__ = ["Function", "FunctionCtx", "once_differentiable"]

_NEITHER = (
    "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward "
    "mode AD."
)
_BOTH = (
    "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only implement one of "
    "them."
)
_LEGACY = (
    "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function "
    "with static forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
)

_DIRTY_VIEW = (
    "If your Function modifies inplace an input that is a view of another Tensor, your Function cannot return more "
    "than one Tensor. This is not supported by the current autograd engine. You should either make sure the input is "
    "not a view (using .clone() for example) or make your Function only return one Tensor (potentially splitting it "
    "into two Functions: one doing the inplace that returns a single Tensor and a second one that does the other "
    "operations). You can ask on the forum https://discuss.pytorch.org/ if you need help to do this change."
)


_SIGNATURES: WeakKeyDictionary[Callable[..., Any], Signature] = WeakKeyDictionary()  # of the forwards of functions
_VARIADIC = CO_VARARGS | CO_VARKEYWORDS


class FunctionCtx:
    """What `forward` leaves for `backward`: saved tensors, and any attributes."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._chosen: tuple[Tensor | None, ...] = ()
        self._chosen_forward: tuple[Tensor | None, ...] = ()
        self._saved: tuple[Any, ...] | None = None
        self._dirty: tuple[Tensor, ...] = ()
        self._fixed: tuple[Tensor, ...] = ()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `backward`, which finds them in `saved_tensors`."""
        for index, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {index} is of type "
                    f"{type(tensor).__name__}"
                )
        self._chosen = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `jvp`, which finds them in `saved_tensors`."""
        if not all(tensor is None or isinstance(tensor, Tensor) for tensor in tensors):
            raise AssertionError(
                "save_for_forward expects all arguments to be tensors; you should save non-tensors as attributes on "
                "ctx."
            )
        self._chosen_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors of `save_for_backward`, with their histories.

        Errors: RuntimeError if they were freed, or overwritten since.
        """
        if self._saved is None:
            raise RuntimeError(FREED)
        found: list[Tensor | None] = []
        for kept, node in self._saved:
            if isinstance(kept, Saved):
                check_version(kept, node)
                kept = revive(kept)
            found.append(kept)
        return tuple(found)

    saved_variables = saved_tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Say which arguments `forward` changed in place; they must be among its results."""
        for index, tensor in enumerate(args):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"mark_dirty can only accept variables, but argument {index} is of type {type(tensor).__name__}"
                )
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Say which results have no gradient."""
        self._fixed = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether `backward` gets zeros (the default) or None for results that no gradient reached."""
        self._materialize = value

    def _finish(self, saved: Sequence[tuple[Any, Node | None]] | None) -> None:
        self._saved = None if saved is None else tuple(saved)


class Function(FunctionCtx):
    """The base of operations with a derivative of their own.

    A subclass has the static methods `forward(ctx, *args)` and `backward(ctx, *grad_outputs)`, or `forward(*args)` and
    `setup_context(ctx, inputs, output)`; `apply` runs it.  In a trace the backward is traced along with the forward.
    """

    generate_vmap_rule = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"{cls} should not be instantiated. Methods on autograd functions are all static, so you should invoke "
            "them on the class itself. Instantiating an autograd function will raise an error in a future version of "
            "PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )
        return object.__new__(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(_LEGACY)

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The results; a subclass says what they are."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Save what `backward` needs; for a `forward` that takes no `ctx`."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the arguments; a subclass says what they are."""
        raise NotImplementedError(_NEITHER)

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The tangents of the results; a subclass says what they are."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """The function over a batch; a subclass says what it is."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod.")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and record that `backward` gives its gradients."""
        separate = cls.setup_context is not Function.setup_context
        if kwargs or (separate and not _takes_exactly(cls.forward, len(args))):  # its defaults are among the inputs
            bound = _signature(cls.forward).bind(*(() if separate else (None,)), *args, **kwargs)
            bound.apply_defaults()
            args = bound.args if separate else bound.args[1:]
        ctx = type(f"{cls.__name__}Backward", (FunctionCtx,), {})()
        ctx.needs_input_grad = tuple(isinstance(arg, Tensor) and arg.requires_grad for arg in args)
        recording = STATE.recording and any(ctx.needs_input_grad)
        kept = not recording and STATE.tracer is not None and STATE.tracer.keeps_rules > 0 and _has_rule(cls)
        if STATE.tracer is not None and separate and not cls.generate_vmap_rule and cls.vmap is Function.vmap:
            from adjit.autograd.function_traced import note_unmapped

            note_unmapped(STATE.tracer, cls.__name__, args)
        before = None  # without a history: what the arguments are before `forward` writes to them
        if kept and STATE.tracer is not None:
            before = {id(arg): STATE.tracer.value_of(arg) for arg in args if isinstance(arg, Tensor)}
        tangents: list[Tensor | None] = []  # of dual arguments, before `forward` writes to them
        if recording and STATE.duals is not None and STATE.tracer is None and cls.jvp is not Function.jvp:
            from adjit.autograd.forward_ad import tangents_of, with_tangents

            tangents = tangents_of(args)
        with no_grad():
            if separate:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        outputs = output if isinstance(output, tuple) else (output,)
        if any(all(item is not tensor for item in outputs) for tensor in ctx._dirty):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as output. The inputs that "
                "are modified inplace must all be outputs of the Function."
            )
        if not (recording or kept) or not any(isinstance(item, Tensor) for item in outputs):
            return output
        if recording and any(tensor.requires_grad and tensor.is_leaf for tensor in ctx._dirty):
            raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
        if recording and any(tensor._base is not None for tensor in ctx._dirty):
            _check_dirty_views(ctx._dirty, outputs)
        if STATE.tracer is not None:
            from adjit.autograd.function_traced import record_traced

            outputs = record_traced(STATE.tracer, cls, ctx, args, outputs, before)
        else:
            outputs, rule = _record(cls, ctx, args, outputs)
            if any(tangent is not None for tangent in tangents):
                outputs = with_tangents(outputs, rule, tangents)
        return outputs if isinstance(output, tuple) else outputs[0]


def _takes_exactly(forward: Callable[..., Any], count: int) -> bool:
    code = getattr(forward, "__code__", None)
    return code is not None and code.co_argcount == count and not (code.co_kwonlyargcount or code.co_flags & _VARIADIC)


def _signature(forward: Callable[..., Any]) -> Signature:
    found = _SIGNATURES.get(forward)
    if found is None:
        found = _SIGNATURES[forward] = signature(forward)
    return found


def _check_dirty_views(dirty: Sequence[Tensor], outputs: Sequence[Any]) -> None:
    """RuntimeError where PyTorch forbids that `forward` writes to a view."""
    views = [tensor for tensor in dirty if tensor._base is not None]
    if sum(isinstance(item, Tensor) for item in outputs) > 1 and any(tensor.requires_grad for tensor in views):
        raise RuntimeError(_DIRTY_VIEW)
    for tensor in views:
        check_writable(tensor)


def _has_rule(cls: type[Function]) -> bool:
    return backward_of(cls) is not Function.backward or cls.jvp is not Function.jvp


def backward_of(cls: type[Function]) -> Callable[..., Any]:
    """The user's backward, under either of its names."""
    given = [f for f in (cls.backward, cls.vjp) if f is not Function.backward]
    if len(given) == 2:
        raise RuntimeError(_BOTH)
    return given[0] if given else Function.backward


def _record(
    cls: type[Function], ctx: FunctionCtx, args: Sequence[Any], outputs: Sequence[Any]
) -> tuple[tuple[Any, ...], FunctionRule]:
    """One node for the whole function: its results, and how the engine goes back through it."""
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    values = [mark_leaf(t) if t.requires_grad and t._leaf else value_of(t) for t in tensors]
    results = [item for item in outputs if isinstance(item, Tensor)]
    types = tuple(tensor._tensor_type for tensor in results)
    attributes: dict[str, Any] = {"function": cls.__name__, "types": types}
    node = Recorded(f"{cls.__name__}Backward", primitive_named("host_call"), values, attributes, types, user_location())
    node.leaves = tuple(t for t in tensors if t.requires_grad and t._leaf)
    if STATE.anomaly[0]:
        from adjit.autograd.anomaly import note_lines

        note_lines(node)
    node.custom = rule = FunctionRule(cls, ctx, tuple(args), tuple(isinstance(item, Tensor) for item in outputs))
    operands = {id(tensor): value for tensor, value in zip(tensors, values, strict=True)}
    found: list[Any] = []
    made = iter(node.outputs)
    saved_values = dict(operands)
    for item in outputs:
        if not isinstance(item, Tensor):
            found.append(item)
            continue
        value = next(made)
        fixed = not item._dtype.is_continuous or any(item is tensor for tensor in ctx._fixed)
        dirty = any(item is tensor for tensor in ctx._dirty)
        if id(item) in operands and not dirty:
            with no_grad():
                item = view(reshape, item, {"shape": item._tensor_type.dims}, "")
        if not fixed:
            saved_values[id(item)] = value
            if dirty:
                write_history(item, value)
            else:
                item._value, item._requires_grad, item._leaf = value, True, False
                if item._base is not None:
                    mark_users(item, f"Output {value.index} of {cls.__name__}")
        found.append(item)
    saved: list[tuple[Any, Node | None]] = []
    for tensor in ctx._chosen:
        if tensor is None:
            saved.append((None, None))
        else:
            known = saved_values.get(id(tensor))
            kept = save(tensor, value_of(tensor) if known is None else known, tensor.requires_grad)
            saved.append((kept, node))
    ctx._chosen = ()
    ctx._finish(saved)
    return tuple(found), rule


class FunctionRule(Rule):
    """How the engine goes back through a recorded function."""

    __slots__ = ("along", "arguments", "cls", "ctx", "tensors")

    def __init__(self, cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], tensors: tuple[bool, ...]) -> None:
        self.cls = cls
        self.ctx = ctx
        self.along: Value | None = None  # a level of dual tensors for which the results got their tangents from `jvp`
        self.tensors = tensors  # which of the results are tensors
        self.arguments = [arg._tensor_type if isinstance(arg, Tensor) else None for arg in args]

    def pull_back(
        self, node: Node, arriving: Sequence[Tensor | None], create_graph: bool
    ) -> tuple[list[Tensor | None], list[int]]:
        """The cotangents of the node's operands that need one, and which they are."""
        if self.along is not None and STATE.sweep.targets == {self.along}:
            return [], []
        given: list[Tensor | None] = []
        incoming = iter(zip(arriving, node.outputs, strict=True))
        for is_tensor in self.tensors:
            gradient, value = next(incoming) if is_tensor else (None, None)
            if gradient is None and value is not None and self.ctx._materialize:
                gradient = Tensor._wrap(np.zeros(value.dims, value.dtype.storage), value.dtype)  # type: ignore[arg-type]
            given.append(gradient)
        found = validated(self.cls.__name__, backward_of(self.cls)(self.ctx, *given), self.arguments)
        needed: list[Tensor | None] = []
        reached: list[int] = []
        position = 0
        for gradient, type, need in zip(found, self.arguments, self.ctx.needs_input_grad, strict=True):
            if type is None:
                continue
            if need:
                needed.append(gradient if gradient is None or create_graph else _lent(gradient))
                reached.append(position)
            position += 1
        return needed, reached

    def release(self) -> None:
        """Free what was saved."""
        self.ctx._finish(None)


def _lent(gradient: Tensor) -> Tensor:
    """The gradient without history, in memory that the user may hold on to: who keeps it, copies it."""
    assert gradient._array is not None
    return Tensor._wrap(gradient._array.view(), gradient._dtype, type=gradient._tensor_type)


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` whose result has no derivative: it may leave the recorded operations."""

    @wraps(fn)
    def wrapper(ctx: Any, *args: Any) -> Any:
        with no_grad():
            outputs = fn(ctx, *args)
        if not STATE.recording or not any(isinstance(arg, Tensor) and arg.requires_grad for arg in args):
            return outputs
        single = not isinstance(outputs, tuple)
        results = (outputs,) if single else outputs
        closed = tuple(_closed(x) if isinstance(x, Tensor) else x for x in results)
        return closed[0] if single else closed

    wrapper.__dict__["is_once"] = True
    return wrapper


def _closed(tensor: Tensor) -> Tensor:
    """The tensor with a history that cannot be gone back through."""
    result = tensor.detach()
    close(result, "DelayedError", "trying to differentiate twice a function that was marked with @once_differentiable")
    return result
