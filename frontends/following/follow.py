"""Following a log: each step of the function is looked up instead of being emitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from adjit import dtypes
from adjit.following.log import (
    KNOWN,
    SIGNED,
    Given,
    Log,
    Logs,
    Made,
    Several,
    Step,
    all_given,
    called,
    goes_by_parts,
    items_of,
    new_among,
    outside_of,
    rebuilt,
    tensors_of,
)
from adjit.following.steps import BySteps
from adjit.following.write import Writer, written_down
from adjit.inner_trace import Other, Traced
from adjit.ir.types import TensorType
from adjit.memory import Memory, begin_period
from adjit.state import STATE
from adjit.tensor import Tensor


class Follower(BySteps):
    """A trace as long as it follows a log; then it becomes a `Writer`, which is a trace as any other."""

    strict, numbers_are_known = True, False

    def __init__(
        self, name: str, logs: Logs, types: Sequence[TensorType], flags: Sequence[bool], keeps_rules: int
    ) -> None:
        self.name, self.logs, self.types, self.flags = name, logs, types, flags
        outer = STATE.tracer
        self.keeps_rules = max(keeps_rules, 0 if outer is None else outer.keeps_rules)
        self.within_rule: bool = getattr(outer, "within_rule", False)
        self.log = logs.kept[0]
        self.at = 0
        self.began = begin_period()
        self.hints: dict[str, int] = {}
        self.guards: dict[Any, None] = {}
        self.checks: list[Any] = []
        self.literals: dict[Any, Tensor] = {}
        self.parent: Any = None
        self.foreign: set[int] = set()  # the tensors from outside, by their identities
        self.given: list[Tensor] = []
        self.given += [
            self._tensor(Made(type, None, flag, not flag)) for type, flag in zip(types, flags, strict=True)
        ]

    def __enter__(self) -> Follower:
        self.parent = STATE.tracer
        STATE.tracer = self  # type: ignore[assignment]
        return self

    def __exit__(self, *exception: object) -> None:
        if type(self) is Follower:
            STATE.tracer = self.parent
        else:
            type(self).__exit__(self, *exception)

    def __getattr__(self, name: str) -> Any:
        self.turn_aside()
        return getattr(self, name)

    def call(self, function: Callable[..., Any], names: tuple[str, ...] | None, operands: Sequence[Any]) -> Any:
        """The result of a step."""
        if goes_by_parts(function, operands):
            return called(function, names, operands)
        steps, at = self.log.steps, self.at
        if at < len(steps) and self._is_next(steps[at], function, names, operands):
            return self._taken(steps[at])
        for other in self._alike():
            if at < len(other.steps) and self._is_next(other.steps[at], function, names, operands):
                self.log = other
                return self._taken(other.steps[at])
        self.turn_aside()
        return self.call(function, names, operands) if self.by_steps else called(function, names, operands)

    def on_fault(self, tensors: Sequence[Tensor], explain: Callable[..., Exception | None]) -> None:
        """As a tracer's: nothing."""

    def warned(self) -> None:
        """As a tracer's: the function warns at every call."""

    def arrived(self, leaves: Sequence[Any], structure: Any) -> Traced | None:
        """What was traced, if the function ended as it did in a log; None with all steps made if it did not."""
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        for log in (self.log, *self._alike()):
            start = len(self.given)
            if len(log.steps) == self.at and log.structure == structure and len(log.ends) == len(tensors):
                marks = [None if isinstance(leaf, Tensor) else Other(leaf) for leaf in leaves]
                same = [mark is None for mark in marks] == [mark is None for mark in log.traced.leaves]
                if same and all(map(self._is, log.ends, tensors)):
                    self.logs.found(log)
                    captured = [self.given[number] for number in log.captured]
                    self.given, self.literals = [], {}  # they point to this object, and may hold much
                    self.at, self.types = 0, ()  # whoever kept a tensor of this trace finds an empty one
                    return log.traced.again(captured, marks, structure)
            self._forget(start)
        self.turn_aside()
        return None

    def _alike(self) -> Iterator[Log]:
        """The other logs that have the steps that were taken."""
        at, own = self.at, self.log.steps
        for other in self.logs.kept:
            if other is not self.log and (not at or (len(other.steps) >= at and other.steps[at - 1] is own[at - 1])):
                yield other

    def _is_next(self, step: Step, function: Any, names: Any, operands: Sequence[Any]) -> bool:
        if step.function is not function or step.names != names or len(step.operands) != len(operands):
            return False
        if step.recording is not STATE.recording or step.dtype is not dtypes._DEFAULT[0]:
            return False
        given, start = self.given, len(self.given)
        for wanted, operand in zip(step.operands, operands):  # noqa: B905 - of one length
            if type(wanted) is Given and wanted.outside is None:
                if operand is given[wanted.number] and operand._requires_grad is wanted.requires_grad:
                    continue
            elif self._is(wanted, operand):
                continue
            self._forget(start)
            return False
        return True

    def _is(self, wanted: Any, found: Any) -> bool:
        """Whether an operand is the one that was written down; a tensor from outside joins those that are known."""
        kind = type(wanted)
        if kind is Given:
            if wanted.outside is None or wanted.number < len(self.given):
                return found is self.given[wanted.number] and found._requires_grad is wanted.requires_grad
            return isinstance(found, Tensor) and self._comes_from_outside(wanted, found)
        if kind is Several:
            if type(found) is not wanted.kind:
                return False
            items = items_of(found)
            return len(items) == len(wanted.items) and all(map(self._is, wanted.items, items))
        return type(found) is kind and found == wanted and (kind not in SIGNED or repr(found) == repr(wanted))

    def _comes_from_outside(self, wanted: Given, found: Tensor) -> bool:
        if found._tracer is self or id(found) in self.foreign or outside_of(found) != wanted.outside:  # type: ignore[comparison-overlap]
            return False
        self.foreign.add(id(found))
        self.given.append(found)
        return True

    def _forget(self, start: int) -> None:
        self.foreign.difference_update(map(id, self.given[start:]))
        del self.given[start:]

    def _taken(self, step: Step) -> Any:
        self.at += 1
        given = self.given
        for made in step.made:
            given.append(self._tensor(made))
        return given[-1] if step.form is None else rebuilt(step.form, given)

    def _tensor(self, made: Made) -> Tensor:
        type = made.type
        number = made.memory
        tensor: Tensor = object.__new__(Tensor)  # `_wrap` takes a call more
        tensor._array = tensor._base = tensor._grad = None
        tensor._seen = tensor._history = tensor._epoch = 0
        tensor._tracer = self  # type: ignore[assignment]
        tensor._type, tensor._dtype, tensor._strides = type, type.dtype, made.strides
        tensor._value, tensor._requires_grad, tensor._leaf = made.value, made.requires_grad, made.leaf
        tensor._chain = made.chain
        if number is None:
            tensor._memory = Memory(None, type.dtype)
        else:
            tensor._memory = self.given[number]._memory
            tensor._base = None if made.base is None else self.given[made.base]
        if made.known is not None:
            tensor.__dict__[KNOWN] = made.known
        return tensor

    def turn_aside(self) -> Writer:
        """Make the steps that were taken; from here on this is a trace as any other."""
        self.logs.failed()
        fields = dict(self.__dict__)
        steps, given = self.log.steps[: self.at], self.given
        around = STATE.tracer
        STATE.tracer = self.parent
        try:
            self.__dict__.clear()
            writer = written_down(self, fields["name"], fields["logs"], fields["keeps_rules"])
            writer.__dict__.update(parent=fields["parent"], literals=fields["literals"], _serial=fields["began"])
            STATE.tracer = writer
            with writer.within_step():
                _make_again(writer, steps, given, writer.arguments_of(fields["types"], fields["flags"], False))
        finally:
            STATE.tracer = around
        writer.note(steps, given)
        return writer


def _make_again(writer: Writer, steps: Sequence[Step], given: list[Tensor], arguments: Sequence[Tensor]) -> None:
    """Emit steps into a trace; the tensors that stood for its arguments and their results become these."""
    flags = [(tensor, tensor._requires_grad) for tensor in given if tensor._tracer is writer]
    before = STATE.recording, dtypes._DEFAULT[0]
    for index, argument in enumerate(arguments):
        _become(given[index], argument)
    count = len(arguments)
    try:
        for step in steps:
            count += sum(each.outside is not None for each in all_given(step.operands))
            for each in all_given(step.operands):
                if given[each.number]._tracer is writer:
                    given[each.number]._requires_grad = each.requires_grad
            STATE.recording, dtypes._DEFAULT[0] = step.recording, step.dtype
            start = len(writer.graph.nodes)
            found = called(step.function, step.names, [rebuilt(operand, given) for operand in step.operands])
            known = {id(tensor) for tensor in given[:count]}
            for tensor in new_among(tensors_of(found), known):
                _become(given[count], tensor)
                count += 1
            for node in writer.graph.nodes[start:]:
                node.location = step.location
    finally:
        STATE.recording, dtypes._DEFAULT[0] = before
    for tensor, flag in flags:
        tensor._requires_grad = flag


_SLOTS = [name for name in Tensor.__slots__ if not name.startswith("__")]


def _become(tensor: Tensor, other: Tensor) -> None:
    for name in _SLOTS:
        setattr(tensor, name, getattr(other, name))
    tensor.__dict__.update(other.__dict__)
