"""Seeing what a function over tensors does: the operations that it applies, one after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit import dispatch
from adjit.composite import apply_callee
from adjit.heard_numbers import Heard
from adjit.ir.frozen import frozen
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.ir.types import DType
from adjit.runtime.host import CHECK_PREFIX
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trees import flatten, unflatten
from adjit.views import is_contiguous, view


@frozen
class Step:
    """One operation that was applied: what it took and what it gave."""

    op: Primitive
    operands: tuple[Any, ...]
    attributes: dict[str, Any]
    results: tuple[Tensor, ...]


@frozen
class Written:
    """A tensor that was overwritten: an operand, or a generator's key; by what, and in how many writes."""

    target: Tensor
    value: Tensor
    times: int


@frozen
class Seen:
    """What a call did: its steps, its result (a tensor or tuples of them), what it wrote to, arrays that it brought.

    `copies` are arrays that are overwritten, each with the copy that backward takes.

    Without steps the results are operands.  Of an operation in place, the result is what it writes to its operand.
    """

    steps: list[Step]
    result: Any
    written: tuple[Written, ...]
    literals: tuple[Tensor, ...]
    copies: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


def is_composite(op: Primitive, attributes: dict[str, Any]) -> bool:
    """Whether an operation is a composite, whose derivative is its body's; other calls record a rule of their own."""
    return op.name == "call" and not {"vjp", "jvp"} & attributes.keys()


class _Unwatchable(BaseException):
    """The function did what only Python can."""


class _Watcher:
    """Stands where a trace would, and lets operations run as they are, noting them.

    `literals` are small arrays of the function's own, `copies` of what is overwritten.
    """

    __slots__ = ("_operands", "_shown", "copies", "literals", "steps", "written")
    by_steps, is_eager = False, True

    def __init__(self, operands: Sequence[Any]) -> None:
        self.steps: list[Step] = []
        self.literals: dict[Any, Tensor] = {}
        self.written: dict[int, Written] = {}
        self.copies: list[tuple[np.ndarray, np.ndarray]] = []
        self._operands = {id(operand) for operand in operands}
        self._shown: set[int] = set()  # tensors of which there are views

    def _present(self, operand: Any) -> Any:
        """What stands for an operand since it was overwritten."""
        written = self.written.get(id(operand))
        return operand if written is None else written.value

    def apply(
        self, op: Primitive, operands: Sequence[Any], attributes: dict[str, Any], name: str, regions: Any = ()
    ) -> Any:
        if regions:
            raise _Unwatchable
        operands = [*map(self._present, operands)]
        if str(attributes.get("function", "")).startswith(CHECK_PREFIX):  # examples need not pass it
            self.steps.append(Step(op, tuple(operands), dict(attributes), ()))
            return ()
        STATE.tracer = None
        result: Any
        try:
            if is_composite(op, attributes):
                found = apply_callee(attributes["callee"], operands, name)
                result = found[0] if len(found) == 1 else tuple(found)
            else:
                result = dispatch.apply(op, operands, attributes, name=name)
        finally:
            STATE.tracer = self  # type: ignore[assignment]
        results = result if isinstance(result, tuple) else (result,)
        self.steps.append(Step(op, tuple(operands), dict(attributes), results))
        return result

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Any], name: str) -> Tensor:
        """A view is an operation like others, on memory that it shares.

        What `as_strided` shows depends on where its operand lies in memory, which no kind of call tells: the native
        entry asks for it where the view of an operand in order is the result.
        """
        if id(tensor) in self.written:
            raise _Unwatchable
        if op.name == "as_strided" and (id(tensor) not in self._operands or not is_contiguous(tensor)):
            raise _Unwatchable
        self._shown.add(id(tensor))
        STATE.tracer = None
        try:
            result = view(op, tensor, attributes, name)
        finally:
            STATE.tracer = self  # type: ignore[assignment]
        self.steps.append(Step(op, (tensor,), dict(attributes), (result,)))
        return result

    def write(self, target: Tensor, result: Tensor) -> Tensor:
        """What an in-place operation does last; its result is the target."""
        from adjit.generator import is_key

        if id(target) in self._shown or not (id(target) in self._operands or is_key(target)):
            raise _Unwatchable
        before = self.written.get(id(target))
        self.written[id(target)] = Written(target, result, 1 if before is None else before.times + 1)
        return target

    def copied(self, array: np.ndarray, copy: np.ndarray) -> None:
        """Backward takes a copy of what is overwritten."""
        self.copies.append((array, copy))

    def detach(self, tensor: Tensor) -> Tensor:
        """A tensor on the same memory, without history."""
        if id(tensor) in self.written:
            raise _Unwatchable
        self._shown.add(id(tensor))
        STATE.tracer = None
        try:
            result = tensor.detach()
        finally:
            STATE.tracer = self  # type: ignore[assignment]
        self.steps.append(Step(PRIMITIVES["detach"], (tensor,), {}, (result,)))
        return result

    def constant(self, value: int | float | complex | bool, dtype: DType) -> Tensor:
        """A number of the function's own."""
        STATE.tracer = None
        try:
            result = dispatch.literal(value, dtype)
        finally:
            STATE.tracer = self  # type: ignore[assignment]
        self.steps.append(Step(PRIMITIVES["const"], (), {"value": value, "dtype": dtype}, (result,)))
        return result

    def on_fault(self, *_: Any) -> None:
        """A call with a fault is left to Python, which explains it."""

    def __getattr__(self, name: str) -> Any:
        raise _Unwatchable


def watch(
    function: Callable[..., Any],
    given: Sequence[Any],
    named: dict[str, Any],
    operands: Sequence[Any],
    *,
    in_place: bool,
) -> Seen | None:
    """What a call does with its operands, the leaves of its arguments.

    None if the call fails, warns, or does more than apply operations.
    """
    watcher = _Watcher(operands)
    STATE.tracer, STATE.watching = watcher, True  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = function(*given, **named)
    except (_Unwatchable, Exception):  # the call itself says what is wrong
        return None
    finally:
        STATE.tracer, STATE.watching = None, False
    results, _ = flatten(result)
    if not results or not all(isinstance(tensor, Tensor) for tensor in results):
        return None
    if in_place:
        last = watcher.written.pop(id(result), None)
        if last is None or last.times != 1 or result is not operands[0]:
            return None
        result = last.value
        results = [result]
    elif any(id(tensor) in watcher.written and all(tensor is not x for x in operands) for tensor in results):
        return None
    written = tuple(watcher.written.values())
    steps = _leading_to([*results, *(each.value for each in written)], watcher.steps)
    if not steps and not all(any(tensor is operand for operand in operands) for tensor in results):
        return None
    return Seen(steps, result, written, tuple(watcher.literals.values()), tuple(watcher.copies))


def replayed(
    calls: Sequence[tuple[str, Primitive, Sequence[Any], dict[str, Any], str, Sequence[Tensor]]],
    known: dict[int, Any],
    operands: Sequence[Any],
    result: Any,
) -> tuple[Seen, list[tuple[int, Step]]] | None:
    """What a traced call does, done on operands: with the number of the call that each step was.

    A call is what it is to a watcher, and the traced tensors that it made; `known` is what these are, by identity.
    None if a call fails.
    """
    watcher = _Watcher(operands)
    steps: list[tuple[int, Step]] = []
    STATE.tracer, STATE.watching = watcher, True  # type: ignore[assignment]
    try:
        for place, (kind, op, given, attributes, name, made) in enumerate(calls):
            given = [known[id(x)] if isinstance(x, Tensor) else x for x in given]
            match kind:
                case "apply":
                    found = watcher.apply(op, given, attributes, name)
                case "view":
                    found = watcher.view(op, given[0], attributes, name)
                case "detach":
                    found = watcher.detach(given[0])
                case _:
                    found = watcher.constant(*given)
            results = found if isinstance(found, tuple) else (found,)
            known.update((id(tensor), own) for tensor, own in zip(made, results, strict=True))
            steps.append((place, watcher.steps[-1]))
    except (_Unwatchable, Exception):
        return None
    finally:
        STATE.tracer, STATE.watching = None, False
    leaves, structure = flatten(result)
    if not leaves or not all(isinstance(tensor, Tensor) and id(tensor) in known for tensor in leaves):
        return None
    found = [known[id(tensor)] for tensor in leaves]
    if any(own.requires_grad != tensor.requires_grad for own, tensor in zip(found, leaves, strict=True)):
        return None  # the function itself said so
    return Seen(_leading_to(found, watcher.steps), unflatten(structure, found), (), ()), steps


def _leading_to(results: Sequence[Tensor], steps: Sequence[Step]) -> list[Step]:
    """The steps that the results depend on, and the host's checks; others only looked at something."""
    needed = {*map(id, results)}
    found: list[Step] = []
    for step in reversed(steps):
        if needed & {id(tensor) for tensor in step.results} or not step.results:
            found.append(step)
            needed |= {id(operand) for operand in step.operands}
    return found[::-1]


def example(operand: Any, *, as_it_lies: bool = False, shape: tuple[int, ...] | None = None) -> Any:
    """A leaf tensor of an operand's type, each its own; anything else as it is.

    Square matrices are positive definite.  `as_it_lies` gives it the operand's strides, too; `shape` is another one.
    """
    if not isinstance(operand, Tensor):
        return operand
    assert operand._array is not None
    array = np.ones(operand._array.shape if shape is None else shape, operand._array.dtype)
    if array.ndim > 1 and array.shape[-1] == array.shape[-2] and operand._dtype.is_continuous:
        array += array.shape[-1] * np.eye(array.shape[-1], dtype=array.dtype)
    if as_it_lies:
        array = _lying_as(array, operand._array)
    made = Tensor._wrap(array, operand._dtype)
    made._requires_grad = operand.requires_grad
    return made


def unlikely(number: float, place: int, *, free: bool) -> Heard:
    """A number's example: another object at each place; unlike those that functions look for, where it is `free`."""
    return Heard(0.7390851332151607 + 0.01 * place if free else number)


def does_the_same(seen: Seen, operands: Sequence[Any], again: Seen, others: Sequence[Any]) -> bool:
    """Whether a call did with other operands what it did with these."""
    same = {id(x): id(other) for x, other in zip(operands, others, strict=True)}
    if len(seen.steps) != len(again.steps) or seen.literals or again.literals:
        return False
    for step, other in zip(seen.steps, again.steps, strict=True):
        if step.op is not other.op or len(step.operands) != len(other.operands):
            return False
        same |= {id(x): id(y) for x, y in zip(step.results, other.results, strict=True)}
        pairs = [*zip(step.operands, other.operands, strict=True)]
        if step.attributes.keys() != other.attributes.keys():
            return False
        pairs += [(value, other.attributes[key]) for key, value in step.attributes.items()]
        if not all(same.get(id(x)) == id(y) or _are_equal(x, y) for x, y in pairs):
            return False
    return True


def _are_equal(one: Any, other: Any) -> bool:
    """Whether constants of two calls are equal, to the sign of a zero."""
    if isinstance(one, (Tensor, Heard)) or isinstance(other, (Tensor, Heard)):
        return False
    return one is other or (type(one) is type(other) and one == other and repr(one) == repr(other))


def _lying_as(array: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The same elements, as far from each other as those of another array; some may share a place."""
    ends = [stride * (extent - 1) for extent, stride in zip(other.shape, other.strides, strict=True)]
    start, stop = (abs(sum(end for end in ends if (end < 0) == below)) for below in (True, False))
    memory = np.zeros(start + stop + array.itemsize, np.uint8)
    made = np.ndarray(other.shape, other.dtype, memory, start, other.strides)
    made[...] = array
    return made
