"""Functions whose derivatives the user writes, with JAX's names: `custom_vjp` and `custom_jvp`.

In eager mode such a function is one node of the tape.  In a trace it is a `call` that carries the rule, so that `grad`,
`jvp`, `vmap`, any composition of them and compiled programs use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from types import MethodType
from typing import Any

from adjit import trees
from adjit.autograd.function import Function
from adjit.autograd.rules import validated
from adjit.dispatch import apply
from adjit.func.arguments import title
from adjit.inner_trace import Traced, trace_inner
from adjit.ir.errors import TraceError
from adjit.ir.graph import Graph, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.state import STATE
from adjit.tensor import Tensor

METHODS: dict[str, Any] = {}
__all__ = ["custom_jvp", "custom_vjp"]

# A rule that applies its own function is traced inside itself this often; derivatives of higher order than that are
# those of the function's body.
_DEEPEST = 4
_rules: ContextVar[tuple[_Custom, ...]] = ContextVar("rules", default=())


@dataclass(frozen=True, slots=True)
class _Arguments:
    """Positional arguments of a call: those in `fixed` have no derivative; of the others, `leaves` are the parts."""

    args: tuple[Any, ...]
    fixed: tuple[int, ...]
    leaves: list[Any]
    structure: Any

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the arguments that have a derivative."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    def constants(self) -> list[Any]:
        """The arguments without derivative."""
        return [self.args[place] for place in self.fixed]

    def moving(self, tensors: Sequence[Any], other: Callable[[Any], Any] = lambda leaf: leaf) -> tuple[Any, ...]:
        """The arguments with derivative, with `tensors` in place of theirs and `other` of the other leaves."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else other(leaf) for leaf in self.leaves]
        found: tuple[Any, ...] = trees.unflatten(self.structure, leaves)
        return found

    def all(self, tensors: Sequence[Tensor]) -> list[Any]:
        """All arguments, with `tensors` in place of those that have a derivative."""
        moving = iter(self.moving(tensors))
        return [arg if place in self.fixed else next(moving) for place, arg in enumerate(self.args)]


class _Custom(ABC):
    """A function with a derivative of its own."""

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        update_wrapper(self, fun)
        self.fun = fun
        self.nondiff_argnums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        self.name = title(fun)
        self._function: type[_Recorded] = type(self.name, (_Recorded,), {})

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._require_rule()
        bound = signature(self.fun).bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(f"{self.name}: a function with a derivative of its own takes no keyword-only arguments")
        args = bound.args
        fixed = tuple(sorted(place % len(args) for place in self.nondiff_argnums))
        moving = tuple(arg for place, arg in enumerate(args) if place not in fixed)
        call = _Arguments(args, fixed, *trees.flatten(moving, none_is_leaf=True))
        if STATE.tracer is not None:
            if _rules.get().count(self) >= _DEEPEST:
                return self.fun(*args)
            return self._emitted(call)
        if not STATE.recording or not any(x.requires_grad for x in call.tensors):
            return self.fun(*args)
        run = _Run(self, call)
        return run.restore(self._function.apply(run, *call.tensors))

    @abstractmethod
    def _require_rule(self) -> None:
        """AttributeError if the derivative is not yet given."""

    @abstractmethod
    def _emitted(self, call: _Arguments) -> Any:
        """The call as part of the running trace."""

    @abstractmethod
    def run(self, call: _Arguments, tensors: Sequence[Tensor]) -> tuple[Any, Any]:
        """(the results, what `pull` wants to know), computed now."""

    @abstractmethod
    def pull(self, call: _Arguments, tensors: Sequence[Tensor], kept: Any, cotangents: Any) -> Sequence[Any]:
        """The cotangents of the arguments' tensors, computed now."""

    @contextmanager
    def _tracing_rule(self) -> Iterator[None]:
        token = _rules.set((*_rules.get(), self))
        try:
            yield
        finally:
            _rules.reset(token)


# -- eager ------------------------------------------------------------------------------------------------------------
class _Run:
    """One call on the tape: its arguments, and the structures of its results and of what it keeps."""

    def __init__(self, function: _Custom, call: _Arguments) -> None:
        self.function = function
        self.call = call
        self.results: list[Any] = []
        self.kept: list[Any] = []
        self.structures: tuple[Any, Any] = (None, None)

    def forward(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors of the results, and of what is kept."""
        results, kept = self.function.run(self.call, tensors)
        (self.results, first), (self.kept, second) = _flat(results), _flat(kept)
        self.structures = first, second
        return _tensors(self.results), _tensors(self.kept)

    def restore(self, tensors: Sequence[Any]) -> Any:
        """The results with these tensors."""
        return _filled(self.results, self.structures[0], tensors)

    def backward(self, tensors: Sequence[Tensor], kept: Sequence[Tensor], cotangents: Sequence[Any]) -> list[Any]:
        """The cotangents of the arguments' tensors."""
        if STATE.recording:  # what was kept gets its history by running again
            kept = self.forward(tensors)[1]
        else:
            tensors = [x.detach() for x in tensors]
        return list(
            self.function.pull(
                self.call, tensors, _filled(self.kept, self.structures[1], kept), self.restore(cotangents)
            )
        )


class _Recorded(Function):
    """The node of the tape."""

    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        results, kept = run.forward(tensors)
        ctx.run, ctx.count = run, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        saved = ctx.saved_tensors
        return None, *ctx.run.backward(saved[: ctx.count], saved[ctx.count :], cotangents)


# -- reverse mode -----------------------------------------------------------------------------------------------------
class custom_vjp(_Custom):
    """A function whose pullback the user writes; a decorator.

    `f.defvjp(fwd, bwd)`: fwd(*args) = (f(*args), residuals), and bwd(residuals, g) is a tuple with the cotangent of
    each argument (None: zero).  Arguments in `nondiff_argnums` have no derivative, and stand before the residuals in
    `bwd`.  Forward mode is the transpose of `bwd`.  Derivatives of higher order go through `fwd` and `bwd`.
    Errors: AttributeError for a call before `defvjp`; TypeError where `bwd` does not return such a tuple.

    >>> import adjit as torch
    >>> @torch.custom_vjp
    ... def clip_gradient(x, bound):
    ...     return x.clone()
    >>> clip_gradient.defvjp(lambda x, bound: (x.clone(), bound), lambda bound, g: (g.clamp(-bound, bound), None))
    >>> torch.func.grad(lambda x: clip_gradient(x, 1.0) * 5)(torch.tensor(2.0))
    tensor(1.)
    """

    fwd: Callable[..., Any] | None = None
    bwd: Callable[..., Any] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Say what runs when a derivative is wanted, and what gives it."""
        self.fwd, self.bwd = fwd, bwd

    def _require_rule(self) -> None:
        if self.fwd is None or self.bwd is None:
            raise AttributeError(f"No VJP defined for custom_vjp function {self.name} using defvjp.")

    def run(self, call: _Arguments, tensors: Sequence[Tensor]) -> tuple[Any, Any]:
        assert self.fwd is not None
        found = self.fwd(*call.all(tensors))
        if not (isinstance(found, tuple) and len(found) == 2):
            raise TypeError(
                f"Custom VJP fwd rule for function {self.name} must produce a pair (list or tuple of length two) where "
                "the first element represents the primal output and the second element represents residuals, but got "
                f"{type(found).__name__}"
            )
        return found

    def pull(self, call: _Arguments, tensors: Sequence[Tensor], kept: Any, cotangents: Any) -> Sequence[Any]:
        assert self.bwd is not None
        found = self.bwd(*call.constants(), kept, cotangents)
        moving = call.moving(call.tensors)
        if not isinstance(found, tuple) or len(found) != len(moving):
            raise TypeError(
                f"Custom VJP bwd rule must produce a tuple of length equal to the number of arguments ({len(moving)}) "
                f"to {self.name}, but got {found!r}"
            )
        try:
            spread = trees.spread(found, moving, none_is_leaf=True)
        except ValueError as error:
            raise TypeError(
                "Custom VJP bwd rule must produce an output with the same container (pytree) structure as the args "
                f"tuple of {self.name}: {error}"
            ) from None
        given = [g for g, leaf in zip(spread, call.leaves, strict=True) if isinstance(leaf, Tensor)]
        return validated(self.name, tuple(given), [x._tensor_type for x in call.tensors])

    def _emitted(self, call: _Arguments) -> Any:
        with self._tracing_rule():
            out, residuals = self.run(call, call.tensors)
            (results, structure), (kept, shape) = _flat(out), _flat(residuals)
            floating = [x for x in _tensors(results) if x._dtype.is_continuous]
            saved = _tensors(kept)

            def rule(*given: Tensor) -> Any:
                incoming = _filled(results, structure, _each(results, given[len(saved) :]))
                return tuple(self.pull(call, call.tensors, _filled(kept, shape, given[: len(saved)]), incoming))

            traced = _traced(self.name, rule, [*saved, *floating])
        attributes = _reverse_rule(self.name, traced, call.tensors, saved, floating)
        made = iter(_applied(self.name, [*call.tensors, *saved, *traced.captured, *floating], attributes))
        return _filled(results, structure, [next(made) if x._dtype.is_continuous else x for x in _tensors(results)])


def _reverse_rule(
    name: str, traced: Traced, arguments: Sequence[Tensor], saved: Sequence[Tensor], results: Sequence[Tensor]
) -> dict[str, Any]:
    """The attributes of a call that shows `results` and has `traced`, of what is saved and of cotangents, as its rule.

    The call's operands are the arguments, what is saved, what the rule captures, and the results.
    """
    inputs = traced.graph.inputs
    of_saved, cotangents = list(inputs[: len(saved)]), inputs[len(saved) : traced.arguments]
    shown = [Value(x._tensor_type) for x in results]
    # A residual that is a result stands for the call's, whose own derivative is the rule.
    places = {id(x): place for place, x in enumerate(results)}
    for index, tensor in enumerate(saved):
        place = places.pop(id(tensor), None)
        if place is not None:
            shown[place], of_saved[index] = of_saved[index], Value(tensor._tensor_type)
    first, last = ([Value(x._tensor_type) for x in part] for part in (arguments, results))
    operands = (*first, *of_saved, *inputs[traced.arguments :], *last)
    vjp = Graph(f"{name}.vjp", (*cotangents, *operands, *shown), traced.graph.nodes, traced.graph.outputs)
    parameters = [Value(value.type) for value in operands]
    callee = Graph(name, parameters, (), parameters[len(parameters) - len(results) :])
    wrt = tuple(place for place, mark in enumerate(traced.leaves) if mark is None)
    return {"callee": callee, "vjp": vjp, "wrt": wrt}


# -- forward mode -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Known:
    """What a function gives for some arguments: its rule, applied to them, may ask for it again."""

    function: custom_jvp
    call: _Arguments
    result: Any

    def answers(self, function: _Custom, call: _Arguments) -> bool:
        """Whether a call is this one."""
        before, after = [*self.call.constants(), *self.call.leaves], [*call.constants(), *call.leaves]
        return (
            function is self.function
            and call.structure == self.call.structure
            and all(a is b or (not isinstance(a, Tensor) and a == b) for a, b in zip(before, after, strict=True))
        )


_known: ContextVar[_Known | None] = ContextVar("known", default=None)


class custom_jvp(_Custom):
    """A function whose tangents the user writes; a decorator.

    `f.defjvp(rule)`: rule(primals, tangents) = (f(*primals), the tangent of the result), linear in the tangents.  Or
    `f.defjvps(*rules)`: for each argument rule(t, f(*primals), *primals), or None.  Arguments in `nondiff_argnums` have
    no derivative, and stand before the primals in `rule`.  Reverse mode is the transpose of the rule.
    Errors: AttributeError for a call before the rule is given; TypeError where it does not return such a pair.

    >>> import adjit as torch
    >>> @torch.custom_jvp
    ... def log1pexp(x):
    ...     return torch.log(1 + torch.exp(x))
    >>> log1pexp.defjvps(lambda t, out, x: t * (1 - 1 / (1 + torch.exp(x))))
    >>> torch.func.grad(log1pexp)(torch.tensor(100.0))
    tensor(1.)
    """

    rule: Callable[..., Any] | None = None

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Say what gives the tangents; also a decorator."""
        self.rule = jvp
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Say for each argument what its tangent contributes to that of the result."""

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
            out = self(*primals)
            leaves, structure = _flat(out)
            total: list[Any] = [0.0 for _ in leaves]
            for each, tangent in zip(jvps, tangents, strict=True):
                if each is not None:
                    total = [a + b for a, b in zip(total, _flat(each(tangent, out, *primals))[0], strict=True)]
            return out, trees.unflatten(structure, total)

        self.rule = rule

    def _require_rule(self) -> None:
        if self.rule is None:
            raise AttributeError(f"No JVP defined for custom_jvp function {self.name} using defjvp.")

    def run(self, call: _Arguments, tensors: Sequence[Tensor]) -> tuple[Any, Any]:
        return self.fun(*call.all(tensors)), ()

    def pull(self, call: _Arguments, tensors: Sequence[Tensor], kept: Any, cotangents: Any) -> Sequence[Any]:
        from adjit.creation import zeros_like
        from adjit.func import vjp

        places = [place for place, x in enumerate(tensors) if x._dtype.is_continuous]

        def along(*moving: Tensor) -> Any:
            return self._tangents(call, tensors, dict(zip(places, moving, strict=True)))

        given = [g for g in _tensors(_flat(cotangents)[0]) if g._dtype.is_continuous]
        found = iter(vjp(along, *(zeros_like(tensors[place]) for place in places))[1](given))
        return [next(found) if place in places else None for place in range(len(tensors))]

    def _tangents(self, call: _Arguments, tensors: Sequence[Tensor], moving: dict[int, Tensor]) -> list[Tensor]:
        """The tangents of the floating results, given those of the tensors in these places."""
        from adjit.creation import zeros_like

        assert self.rule is not None
        directions = [moving[place] if place in moving else zeros_like(x) for place, x in enumerate(tensors)]
        tangents = call.moving(directions, lambda leaf: 0.0 if isinstance(leaf, (int, float)) else None)
        found = self.rule(*call.constants(), call.moving(tensors), tangents)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise TypeError(
                f"Custom JVP rule for function {self.name} must produce a pair (list or tuple of length two) "
                f"representing primal and tangent outputs, but got {type(found).__name__}"
            )
        (results, first), (ways, second) = _flat(found[0]), _flat(found[1])
        if first != second:
            raise TypeError(
                f"Custom JVP rule for function {self.name} must produce primal and tangent outputs with equal "
                f"container (pytree) structures, but got {first} and {second} respectively."
            )
        pairs = [(x, t) for x, t in zip(results, ways, strict=True) if isinstance(x, Tensor) and x._dtype.is_continuous]
        return [self._fitted(x, t) for x, t in pairs]

    def _fitted(self, result: Tensor, tangent: Any) -> Tensor:
        """A tangent in the type of its result."""
        from adjit.creation import full_like

        if not isinstance(tangent, Tensor):
            filled: Tensor = full_like(result, 0.0 if tangent is None else tangent)
            return filled
        if tuple(tangent.shape) != tuple(result.shape):
            raise TypeError(
                f"Custom JVP rule for function {self.name} must produce primal and tangent outputs with equal shapes, "
                f"but got {list(result.shape)} and {list(tangent.shape)}"
            )
        fitted: Tensor = tangent.to(result.dtype)
        return fitted

    def _emitted(self, call: _Arguments) -> Any:
        known = _known.get()
        if known is not None and known.answers(self, call):
            return known.result
        tensors = call.tensors
        wrt = tuple(place for place, x in enumerate(tensors) if x._dtype.is_continuous)
        body = _traced(self.name, lambda *given: self.fun(*call.all(given)), tensors)
        results = [value.type for value in body.graph.outputs]

        def rule(*given: Tensor) -> Any:
            moving, primals = given[: len(wrt)], given[len(wrt) : len(wrt) + len(tensors)]
            leaves = _flat(call.moving(primals))[0]
            same = _Arguments(call.args, call.fixed, leaves, call.structure)
            token = _known.set(_Known(self, same, body.restore(given[len(wrt) + len(tensors) :])))
            try:
                return self._tangents(call, primals, dict(zip(wrt, moving, strict=True)))
            finally:
                _known.reset(token)

        with self._tracing_rule():
            traced = _traced(self.name, rule, [*(tensors[place] for place in wrt), *tensors], results)
        operands = [*tensors, *body.captured, *traced.captured]
        more = [Value(x._tensor_type) for x in traced.captured]
        callee = Graph(self.name, (*body.graph.inputs, *more), body.graph.nodes, body.graph.outputs)
        inner = list(traced.graph.inputs)
        first, second = len(wrt) + len(tensors), traced.arguments
        unread = [Value(x._tensor_type) for x in body.captured]
        inputs = (*inner[:first], *unread, *inner[second:], *inner[first:second])
        jvp = Graph(f"{self.name}.jvp", inputs, traced.graph.nodes, traced.graph.outputs)
        return body.restore(_applied(self.name, operands, {"callee": callee, "jvp": jvp, "wrt": wrt}))


# -- trees and traces -------------------------------------------------------------------------------------------------
def _flat(tree: Any) -> tuple[list[Any], Any]:
    return trees.flatten(tree, none_is_leaf=True)


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _filled(leaves: Sequence[Any], structure: Any, tensors: Sequence[Any]) -> Any:
    """The tree with `tensors` in place of its own."""
    given = iter(tensors)
    return trees.unflatten(structure, [next(given) if isinstance(leaf, Tensor) else leaf for leaf in leaves])


def _each(results: Sequence[Any], cotangents: Sequence[Tensor]) -> list[Tensor]:
    """A cotangent for each tensor of the results: zeros for those that are not floating."""
    from adjit.creation import zeros_like

    given = iter(cotangents)
    return [next(given) if x._dtype.is_continuous else zeros_like(x) for x in _tensors(results)]


def _traced(
    name: str, function: Callable[..., Any], tensors: Sequence[Tensor], types: Sequence[TensorType] = ()
) -> Traced:
    """The graph of a part of a rule, on tensors like these and of these types."""
    recording, STATE.recording = STATE.recording, False
    try:
        found = trace_inner(name, function, [*(x._tensor_type for x in tensors), *types])
    finally:
        STATE.recording = recording
    if found.written:
        raise TraceError(
            f"{name}, which has a derivative of its own, writes to a tensor that it did not make\n"
            "  hint: clone() the tensor before the in-place operation"
        )
    return found


def _applied(name: str, operands: Sequence[Tensor], attributes: dict[str, Any]) -> list[Tensor]:
    found = apply(primitive_named("call"), operands, attributes, name=name)
    return [found] if isinstance(found, Tensor) else list(found)
