"""Writing down the steps of a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from adjit.following.log import (
    KNOWN,
    LEAST,
    OF_TRACE,
    PLAIN,
    SEVERAL,
    Given,
    Logs,
    Made,
    Several,
    Step,
    Unfit,
    called,
    go_by_parts,
    goes_by_parts,
    items_of,
    new_among,
    outside_of,
    tensors_of,
)
from adjit.following.steps import BySteps
from adjit.inner_trace import InnerTracer
from adjit.ir.frozen import changed
from adjit.ir.graph import Graph
from adjit.memory import Memory
from adjit.state import MODE, STATE
from adjit.tensor import Tensor


class Writer(BySteps, InnerTracer):
    """A trace that writes down its steps.  Whatever else the function does with it makes it an ordinary trace."""

    logs: Logs
    steps: list[Step] | None  # None where they cannot be followed
    given: list[Tensor]  # the tensors that they dealt with
    numbers: dict[int, int]  # their places there, by their identities
    memories: dict[Memory, int]  # and the first of each memory

    def __getattribute__(self, name: str) -> Any:
        if name not in _FREE:
            give_up(self)
        return object.__getattribute__(self, name)

    def note(self, steps: list[Step], given: list[Tensor]) -> None:
        """Go on from these steps, which dealt with these tensors."""
        if self.steps is None:
            return
        self.steps, self.given = steps, given
        self.numbers = {id(tensor): number for number, tensor in enumerate(given)}
        self.memories = {}
        for number, tensor in enumerate(given):
            self.memories.setdefault(tensor._memory, number)
        self.__dict__["extent"] = extent_of(self)

    def call(self, function: Callable[..., Any], names: tuple[str, ...] | None, operands: Sequence[Any]) -> Any:
        """The result of a step, which is written down."""
        if goes_by_parts(function, operands):
            return called(function, names, operands)
        if self.__dict__["extent"] != extent_of(self):  # something else was emitted
            give_up(self)
            return called(function, names, operands)
        count, closed = len(self.given), len(self.__dict__["closure"])
        try:
            step = Step(function, names, tuple([self._pattern(x) for x in operands]))
        except Unfit:
            self.note(self.__dict__["steps"], self.given[:count])
            if function in LEAST:
                give_up(self)
            else:
                go_by_parts(function, operands)
            return called(function, names, operands)
        fresh = {id(tensor) for tensor in self.given[count:]}
        try:
            with self.within_step():
                found = called(function, names, operands)
        except BaseException:  # of what failed nothing may be counted, and what it emitted is no step
            give_up(self)
            raise
        fields = self.__dict__
        captured = fields["closure"][closed:]
        if fields["steps"] is None or not all(id(tensor) in fresh for tensor in captured):
            if fields["steps"] is not None:
                go_by_parts(function, operands)
            give_up(self)
            return found
        try:
            self._note_results(step, found)
        except Unfit:
            go_by_parts(function, operands)
            give_up(self)
            return found
        fields["steps"].append(step)
        fields["extent"] = extent_of(self)
        return found

    @contextmanager
    def within_step(self) -> Iterator[None]:
        """Inside, this trace and those around it are ordinary ones; of the latter nothing may change."""
        around: list[tuple[Any, Any]] = []
        tracer: Any = self.parent
        while tracer is not None and tracer.by_steps:
            if not isinstance(tracer, InnerTracer):
                tracer.turn_aside()
            around.append((tracer, extent_of(tracer)))
            tracer = tracer.__dict__["parent"]
        around.append((self, extent_of(self)))
        for each, _ in around:
            if type(each) is Writer:
                _turn(each, _Inside)
        MODE[0] = 0
        try:
            yield
        finally:
            for each, extent in around[:-1]:
                if extent != extent_of(each):
                    each.__dict__["steps"] = self.__dict__["steps"] = None
            for each, _ in around:
                if type(each) is _Inside:
                    _turn(each, InnerTracer if each.__dict__["steps"] is None else Writer)
            MODE[0] = 0

    def _pattern(self, value: Any) -> Any:
        """An operand as it is written down; a tensor from outside gets a number."""
        if isinstance(value, Tensor):
            number = self.numbers.get(id(value))
            if number is not None:
                return Given(number, value._requires_grad)
            return Given(self._number(value), value._requires_grad, self._outside(value))
        kind = type(value)
        if kind in SEVERAL:
            return Several(kind, tuple([self._pattern(item) for item in items_of(value)]))
        if kind in PLAIN:
            return value
        raise Unfit

    def _outside(self, tensor: Tensor) -> tuple[Any, ...]:
        if tensor._tracer is self or tensor._memory in self.__dict__["cells"]:
            raise Unfit
        return outside_of(tensor)

    def _number(self, tensor: Tensor) -> int:
        self.numbers[id(tensor)] = number = len(self.given)
        self.given.append(tensor)
        return number

    def _note_results(self, step: Step, found: Any) -> None:
        made: list[Made] = []
        for tensor in new_among(tensors_of(found), self.numbers):
            made.append(self._made(tensor))
            self.memories.setdefault(tensor._memory, self._number(tensor))
        step.made = tuple(made)
        if len(made) != 1 or found is not self.given[-1]:
            step.form = self._pattern(found)

    def _made(self, tensor: Tensor) -> Made:
        kept = tensor.__dict__.keys() - OF_TRACE
        if tensor._tracer is not self or type(tensor) is not Tensor or tensor._epoch or kept - {KNOWN}:
            raise Unfit
        made = Made(
            tensor._tensor_type, tensor._value, tensor._requires_grad, tensor._leaf, tensor._strides,
            tensor.__dict__.get(KNOWN),
        )  # fmt: skip
        if tensor._memory in self.__dict__["_outer"]:  # it shows what stands for a tensor from outside
            return made
        base = None if tensor._base is None else self.numbers.get(id(tensor._base))
        memory = self.memories.get(tensor._memory)
        if (base is None) is not (tensor._base is None) or (tensor._chain and memory is None):
            raise Unfit
        return changed(made, chain=tensor._chain, base=base, memory=memory)

    def concluded(self, leaves: Sequence[Any]) -> list[Given] | None:
        """The tensors among the leaves of the function's result, as they are written down; None where steps are not."""
        try:
            ends = [self._pattern(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
        except Unfit:
            return None
        return ends if self.__dict__["extent"] == extent_of(self) else None


class _Inside(InnerTracer):
    """A trace in the middle of a step: what depends on more than the step's operands cannot be followed."""

    def __getattribute__(self, name: str) -> Any:
        if name in _REFUSED:
            object.__getattribute__(self, "__dict__")["steps"] = None
        return object.__getattribute__(self, name)


# What may be asked of a trace between steps.
_FREE = {
    "__class__", "__dict__", "by_steps", "strict", "numbers_are_known", "hints", "guards", "checks", "parent", "call",
    "apply", "view", "detach", "constant", "within_step", "steps", "given", "numbers", "memories", "note", "concluded",
    "literals", "on_fault", "_pattern", "_outside", "_number", "_note_results", "_made", "logs",
    "warned", "keeps_rules", "within_rule",
}  # fmt: skip
# What must not be asked of it in a step.
_REFUSED = {
    "write", "known_array", "set_data", "dynamic_scalar", "guard_value", "grad_of", "gradient_slot", "set_grad",
    "stand_for", "take_grads", "changes", "warned",
}  # fmt: skip


def give_up(tracer: Any) -> None:
    """Let a trace be an ordinary one from here on, and those inside it, which asked for what no step tells."""
    inner: Any = STATE.tracer
    while inner is not None and inner is not tracer:
        if type(inner) in (Writer, _Inside):
            object.__getattribute__(inner, "__dict__")["steps"] = None
        inner = inner.parent
    object.__getattribute__(tracer, "__dict__")["steps"] = None
    if type(tracer) is Writer:
        _turn(tracer, InnerTracer)
    MODE[0] = 0


def _turn(tracer: Any, kind: type) -> None:
    tracer.__class__ = kind


def extent_of(tracer: Any) -> tuple[int, ...]:
    """What grows when something is emitted or noted."""
    fields = object.__getattribute__(tracer, "__dict__")
    graph: Graph = fields["graph"]
    sizes = (len(fields[name]) for name in ("closure", "leaves", "_depends", "_open", "grads", "_roots", "_detached"))
    return (len(graph.nodes), len(graph.inputs), *sizes)


def written_down(tracer: Any, name: str, logs: Logs, keeps_rules: int) -> Writer:
    """Make an object a trace that writes down its steps."""
    tracer.__class__ = InnerTracer
    tracer.__init__(name)
    tracer.keeps_rules = max(tracer.keeps_rules, keeps_rules)
    tracer.__dict__.update(logs=logs, steps=[], given=[], numbers={}, memories={})
    tracer.__class__ = Writer
    writer: Writer = tracer
    return writer
