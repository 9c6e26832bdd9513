"""What a trace writes down of its steps, and the logs that are kept of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType, NoneType
from typing import Any

from adjit import dtypes
from adjit.device import device, layout, memory_format
from adjit.following import steps
from adjit.inner_trace import Traced
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Graph, Location, Value
from adjit.ir.primitive import Primitive
from adjit.ir.types import DType, TensorType
from adjit.size import Size
from adjit.state import STATE, user_location
from adjit.tensor import Tensor

# The types of operands that a step may have beside tensors: what equals them makes the same step.
PLAIN = {
    int, float, complex, bool, str, NoneType, EllipsisType, Primitive, DType, TensorType, Graph, dtypes.dtype, device,
    type, layout, memory_format,
}  # fmt: skip
# Numbers that may equal others of other bits.
SIGNED = (float, complex)
SEVERAL = {tuple, list, Size, slice}
# What a traced tensor may carry: the first is kept, the others are of the trace.
KNOWN, OF_TRACE = "_known", {"_made_by", "_trace_name"}


@frozen
class Given:
    """A tensor of the trace, by its number; `outside` is the type of one that comes from outside with this step."""

    number: int
    requires_grad: bool
    outside: tuple[Any, ...] | None = None


@frozen
class Several:
    """Operands in a tuple, a list or a slice."""

    kind: type
    items: tuple[Any, ...]


@frozen
class Made:
    """A tensor that a step makes."""

    type: TensorType
    value: Value | None
    requires_grad: bool = False
    leaf: bool = True
    strides: Any = None
    known: Any = None
    chain: Any = ()
    base: int | None = None
    memory: int | None = None  # the tensor whose memory it shares


class Step:
    """A call that a function made: of what, with what, and what it gave."""

    __slots__ = ("dtype", "form", "function", "location", "made", "names", "operands", "recording")

    def __init__(self, function: Any, names: Any, operands: tuple[Any, ...]) -> None:
        self.function, self.names, self.operands = function, names, operands
        self.recording, self.dtype = STATE.recording, dtypes.default_float()
        self.location: Location = user_location()
        self.made: tuple[Made, ...] = ()
        self.form: Any = None  # of the result; None for the one tensor that was made


@record
class Log:
    """A trace that was written down."""

    steps: list[Step]
    ends: list[Given]  # the tensors among the leaves of the result
    structure: Any
    traced: Traced
    captured: list[int]


class Unfit(Exception):
    """A step that cannot be followed."""


class Logs:
    """The logs of one function on tensors of some types, those that served last first."""

    def __init__(self) -> None:
        self.kept: list[Log] = []
        self._balance = 0

    @property
    def is_worth_it(self) -> bool:
        """Whether traces of the function often were alike."""
        return self._balance > -_PATIENCE

    def found(self, log: Log) -> None:
        """Note a trace that was followed to its end."""
        self._balance = min(self._balance + 1, _PATIENCE)
        if self.kept[0] is not log:
            self.add(log)

    def failed(self) -> None:
        """Note a trace that was another one."""
        self._balance -= 1

    def add(self, log: Log) -> None:
        """Keep a log."""
        self.kept = [log, *(other for other in self.kept if other is not log)][:_KEPT]


# Functions that make tensors of their own of some kinds of operands: their parts are steps.
BY_PARTS: dict[Any, set[tuple[type, ...]]] = {}


# What has no parts.
LEAST = {steps.apply, steps.view, steps.detach, steps.constant}


def go_by_parts(function: Callable[..., Any], operands: Sequence[Any]) -> None:
    """Let no call like this one be a step."""
    if function not in LEAST:
        BY_PARTS.setdefault(function, set()).add(tuple(map(type, operands)))


def goes_by_parts(function: Callable[..., Any], operands: Sequence[Any]) -> bool:
    """Whether a call is no step, but what it comes down to is."""
    kinds = BY_PARTS.get(function)
    return kinds is not None and tuple(map(type, operands)) in kinds


# So many traces more that were other ones than were alike, and so many logs.
_PATIENCE, _KEPT = 8, 4


def called(function: Callable[..., Any], names: tuple[str, ...] | None, operands: Sequence[Any]) -> Any:
    """The result of a call whose last operands have names."""
    split = len(operands) - (0 if names is None else len(names))
    return function(*operands[:split], **dict(zip(names or (), operands[split:], strict=True)))


def outside_of(tensor: Tensor) -> tuple[Any, ...]:
    """What a trace sees of a tensor from outside."""
    return (type(tensor), tensor._tensor_type, tensor.requires_grad, tensor._leaf, tensor._strides)


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """The tensors of a step's result."""
    if isinstance(tree, Tensor):
        yield tree
    elif type(tree) in SEVERAL:
        for item in items_of(tree):
            yield from tensors_of(item)


def items_of(several: Any) -> Sequence[Any]:
    """What a tuple, a list or a slice is made of."""
    return (several.start, several.stop, several.step) if type(several) is slice else several


def new_among(tensors: Iterator[Tensor], known: Any) -> list[Tensor]:
    """The tensors that are not known, each once."""
    return list({id(tensor): tensor for tensor in tensors if id(tensor) not in known}.values())


def all_given(pattern: Any) -> Iterator[Given]:
    """The tensors among operands as they are written down."""
    if type(pattern) is Given:
        yield pattern
    elif type(pattern) in (Several, tuple):
        for item in pattern.items if type(pattern) is Several else pattern:
            yield from all_given(item)


def rebuilt(pattern: Any, given: Sequence[Tensor]) -> Any:
    """What was written down, with the tensors of a trace."""
    if type(pattern) is Given:
        return given[pattern.number]
    if type(pattern) is Several:
        items = [rebuilt(item, given) for item in pattern.items]
        return slice(*items) if pattern.kind is slice else pattern.kind(items)
    return pattern
