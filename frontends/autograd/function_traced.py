"""A user's function inside a trace: its forward stands in the program, its backward becomes the rule of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adjit.autograd.function import Function, FunctionCtx, backward_of
from adjit.autograd.modes import no_grad
from adjit.autograd.rules import validated, validated_tangents, zeros_of
from adjit.inner_trace import InnerTracer
from adjit.ir.errors import TraceError
from adjit.ir.graph import Graph, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType
from adjit.state import STATE, user_location
from adjit.tensor import Tensor
from adjit.views import mark_users, view

if TYPE_CHECKING:
    from adjit.trace import Tracer

# Functions that a backward applies keep their own derivatives up to this order.
_FURTHER_ORDERS = 2


def record_traced(
    tracer: Tracer,
    cls: type[Function],
    ctx: FunctionCtx,
    args: Sequence[Any],
    outputs: Sequence[Any],
    before: dict[int, Value] | None,
) -> tuple[Any, ...]:
    """The results with the user's derivative: a `call` with rules, of the arguments, the results and what rules read.

    Where nothing requires grad, but the trace may be differentiated as a whole, `before` has the values of the
    arguments from before the forward, by their identities.
    """
    recording = before is None
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    open_results = [
        item
        for item in outputs
        if isinstance(item, Tensor) and item._dtype.is_continuous and not any(item is fixed for fixed in ctx._fixed)
    ]
    if not recording:
        ctx.needs_input_grad = tuple(isinstance(arg, Tensor) and arg._dtype.is_continuous for arg in args)
        outputs = [_without_tangent(tracer, item, ctx) for item in outputs]
        if not open_results or not any(ctx.needs_input_grad):
            return tuple(outputs)
    operands = [tracer.operand(tensor, recording) for tensor in tensors]
    for tensor in ctx._dirty:  # its value before it was written is what the gradient goes to
        first = tracer.gradient_value(tensor) if before is None else before[id(tensor)]
        operands = [first if t is tensor else o for t, o in zip(tensors, operands, strict=True)]
    results = [tracer.value_of(tensor) for tensor in open_results]
    call = _Call(tracer, cls, ctx, args, outputs, open_results, operands, results, recording)
    inputs, rules = _rules(call)
    if rules is None:
        return tuple(outputs)
    if not rules["wrt"]:  # the user's backward gives nothing back
        made = tuple(tracer.emit(primitive_named("detach"), [value], {})[0] for value in results)
    else:
        places = [Value(value.type) for value in inputs]
        shown = places[len(operands) : len(operands) + len(results)]
        callee = Graph(cls.__name__, places, (), shown)
        tracer.builder.location = user_location()
        made = tracer.emit(primitive_named("call"), inputs, {"callee": callee, **rules})
    found = []
    new = {id(tensor): value for tensor, value in zip(open_results, made, strict=True)}
    for item in outputs:
        value = new.get(id(item))
        if value is None:
            found.append(item)
            continue
        if recording:
            tracer.note_values([value])
        dirty = any(item is tensor for tensor in ctx._dirty)
        if recording and not dirty and any(item._memory is tensor._memory for tensor in tensors):
            place = next(place for place, other in enumerate(outputs) if other is item)
            found.append(_as_view(tracer, item, value, f"{cls.__name__}Backward", f"Output {place} of {cls.__name__}"))
            continue
        result = tracer.wrap(value, requires_grad=recording, name=f"{cls.__name__}Backward")
        found.append(tracer.write(item, result) if dirty else result)
    return tuple(found)


def _as_view(tracer: Tracer, item: Tensor, value: Value, name: str, maker: str) -> Tensor:
    """A result on the memory of an argument, with the user's derivative: writes to it are refused while recording."""
    with no_grad():
        shown = view(primitive_named("reshape"), item, {"shape": item._tensor_type.dims}, "")
    result = tracer.tensor_in(value, shown._memory, shown._chain)
    result._base, result._seen, result._strides = shown._base, shown._seen, shown._strides
    tracer._mark((result,), name)
    mark_users(result, maker)
    return result


def _without_tangent(tracer: Tracer, item: Any, ctx: FunctionCtx) -> Any:
    """The result, cut off from the arguments if it was marked as not differentiable."""
    fixed = isinstance(item, Tensor) and any(item is tensor for tensor in ctx._fixed)
    if not fixed or not item._dtype.is_continuous:
        return item
    return tracer.wrap(tracer.emit(primitive_named("detach"), [tracer.value_of(item)], {})[0])


def note_unmapped(tracer: Tracer, name: str, args: Sequence[Any]) -> None:
    """Note that a function is applied which has no way to be mapped."""
    noted = getattr(tracer, "unmapped", None)
    if noted is not None:
        noted.append((name, [tracer.value_of(arg) for arg in args if isinstance(arg, Tensor)]))


@dataclass(frozen=True, slots=True)
class _Call:
    """One application of a function in a trace: `operands` are the values of the arguments that are tensors, `results`
    those of the `open_results`, which have gradients."""

    tracer: Tracer
    cls: type[Function]
    ctx: FunctionCtx
    args: Sequence[Any]
    outputs: Sequence[Any]
    open_results: Sequence[Tensor]
    operands: Sequence[Value]
    results: Sequence[Value]
    recording: bool

    @property
    def types(self) -> list[TensorType | None]:
        """The types of the arguments that are tensors, None for others."""
        return [arg._tensor_type if isinstance(arg, Tensor) else None for arg in self.args]

    @property
    def needed(self) -> list[int]:
        """The operands that need a gradient."""
        needs = [need for need, type in zip(self.ctx.needs_input_grad, self.types, strict=True) if type is not None]
        return [index for index, need in enumerate(needs) if need]


def _rules(call: _Call) -> tuple[list[Value], dict[str, Any] | None]:
    """The operands of the call and the attributes with its rules; None where there is none."""
    has_jvp = call.cls.jvp is not Function.jvp and call.tracer.keeps_rules > 0
    if has_jvp and backward_of(call.cls) is Function.backward:
        backward, wrt = None, call.needed
    else:
        backward = _BackwardTrace(call)
        try:
            wrt = backward.run(whole=has_jvp)
        except TraceError:
            if call.recording or not getattr(call.tracer, "within_rule", False):
                raise
            return [], None  # a backward applies this function: that it can be applied is all that is asked
    forward = _ForwardTrace(call) if has_jvp else None
    if forward is not None:
        forward.run(wrt)
    call.ctx._chosen = call.ctx._chosen_forward = ()
    traces = [("vjp", backward), ("jvp", forward)]
    extras = [trace.extra for _, trace in traces if trace is not None]
    rules: dict[str, Any] = {"wrt": tuple(wrt)}
    inputs = [*call.operands, *call.results]
    for name, trace in traces:
        if trace is not None:
            rules[name] = trace.finished(extras)
            inputs += [call.tracer.operand(tensor, call.recording) for tensor in trace.inner.closure]
    return inputs, rules


class _RuleTrace:
    """One trace of a user's rule, with its own inputs for what it is given and what it reads."""

    is_once = False  # whether the derivative of the rule stops at the tensors that were saved

    def __init__(self, call: _Call, name: str) -> None:
        self.call = call
        self.inner = InnerTracer(f"{call.cls.__name__}.{name}")
        outer = call.tracer.keeps_rules
        self.inner.keeps_rules = max(outer - 1, 0) if outer else _FURTHER_ORDERS
        self.inner.within_rule = True
        self.heads: list[list[Value]] = []  # what is given, the arguments, the results

    @property
    def extra(self) -> tuple[Value, ...]:
        """The inputs that stand for other tensors that the rule reads."""
        return tuple(self.inner.graph.inputs[sum(map(len, self.heads)) :])

    def trace(
        self, given: Sequence[Value], chosen: Sequence[Tensor | None], rule: Callable[[list[Tensor]], Sequence[Tensor]]
    ) -> None:
        """Trace `rule` on tensors like `given`, with the `chosen` tensors as the saved ones."""
        inner, call = self.inner, self.call
        recording, STATE.recording = STATE.recording, False
        try:
            with inner:
                inputs = [
                    [inner.argument(value.type, f"{name}{i}", i) for i, value in enumerate(values)]
                    for name, values in (("g", given), ("x", call.operands), ("y", call.results))
                ]
                self.heads = [[inner.value_of(tensor) for tensor in part] for part in inputs]
                self._save(inputs[1], inputs[2], chosen)
                found = [inner.value_of(tensor) for tensor in rule(inputs[0])]
        finally:
            STATE.recording = recording
        if inner.writes():
            raise TraceError(
                f"the backward of {call.cls.__name__} writes to a tensor that it did not make\n"
                "  hint: clone() the tensor before the in-place operation"
            )
        inner.graph.outputs = tuple(found)

    def finished(self, extras: Sequence[Sequence[Value]]) -> Graph:
        """The graph of the rule; `extras` are what this one and those beside it read."""
        given, mine, shown = self.heads
        own = self.extra
        unread = [Value(value.type) for value in self.call.results]  # they stand among the operands, too
        read = [value if values == own else Value(value.type) for values in extras for value in values]
        graph = self.inner.graph
        graph.inputs = (*given, *mine, *unread, *read, *shown)
        return graph

    def _save(self, mine: Sequence[Tensor], shown: Sequence[Tensor], chosen: Sequence[Tensor | None]) -> None:
        """Let the context hand out this trace's own tensors for arguments, results and what else was saved."""
        call, inner = self.call, self.inner
        stand_ins = {id(tensor): proxy for tensor, proxy in zip(call.open_results, shown, strict=True)}
        tensors = [arg for arg in call.args if isinstance(arg, Tensor)]
        for tensor, proxy in zip(tensors, mine, strict=True):
            if not any(tensor is dirty for dirty in call.ctx._dirty):
                stand_ins[id(tensor)] = proxy
        inner.stand_for(stand_ins)
        saved = [None if t is None else inner.local(t) for t in chosen]
        if self.is_once:
            saved = [None if tensor is None else tensor.detach() for tensor in saved]
        call.ctx._finish([(tensor, None) for tensor in saved])


class _BackwardTrace(_RuleTrace):
    """The trace of a backward."""

    def __init__(self, call: _Call) -> None:
        super().__init__(call, "vjp")
        self.is_once = "is_once" in getattr(backward_of(call.cls), "__dict__", {})

    def run(self, whole: bool) -> list[int]:
        """The operands that it gives gradients to: all that need one, with zeros where it has none, if `whole`."""
        call = self.call
        wrt: list[int] = []

        def rule(cotangents: list[Tensor]) -> list[Tensor]:
            types = call.types
            returned = backward_of(call.cls)(call.ctx, *self._gradients(cotangents))
            found = validated(call.cls.__name__, returned, types)
            given = [g for g, type in zip(found, types, strict=True) if type is not None]
            wrt.extend(index for index in call.needed if whole or given[index] is not None)
            return [zeros_of(call.operands[index].type) if (g := given[index]) is None else g for index in wrt]

        self.trace(call.results, call.ctx._chosen, rule)
        return wrt

    def _gradients(self, cotangents: Sequence[Tensor]) -> list[Tensor | None]:
        """What the user's backward is given: one for each result."""
        by_result = {id(t): c for t, c in zip(self.call.open_results, cotangents, strict=True)}
        given: list[Tensor | None] = []
        for item in self.call.outputs:
            gradient = by_result.get(id(item))
            if gradient is None and isinstance(item, Tensor) and self.call.ctx._materialize:
                gradient = zeros_of(item._tensor_type)
            given.append(gradient)
        return given


class _ForwardTrace(_RuleTrace):
    """The trace of a jvp."""

    def __init__(self, call: _Call) -> None:
        super().__init__(call, "jvp")

    def run(self, wrt: Sequence[int]) -> None:
        """Trace it on the tangents of the operands in `wrt`."""
        call, ctx = self.call, self.call.ctx

        def rule(tangents: list[Tensor]) -> list[Tensor]:
            of_operand = dict(zip(wrt, tangents, strict=True))
            given: list[Tensor | None] = []
            place = 0
            for type in call.types:
                tangent = None if type is None else of_operand.get(place)
                place += type is not None
                if tangent is None and type is not None and type.dtype.is_continuous and ctx._materialize:
                    tangent = zeros_of(type)
                given.append(tangent)
            shapes = [item._tensor_type if isinstance(item, Tensor) else None for item in call.outputs]
            found = validated_tangents(call.cls.__name__, call.cls.jvp(ctx, *given), shapes)
            pairs = zip(call.outputs, found, strict=True)
            mine = [t for item, t in pairs if any(item is each for each in call.open_results)]
            return [zeros_of(v.type) if t is None else t for t, v in zip(mine, call.results, strict=True)]

        self.trace([call.operands[index] for index in wrt], ctx._chosen_forward, rule)
