"""What a trace keeps count of: where inputs come from, what memory holds, how faults are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from adjit.ir.frozen import frozen, record
from adjit.ir.graph import UNKNOWN, Attribute, Location, Value
from adjit.ir.primitive import Primitive
from adjit.ir.types import TensorType
from adjit.memory import Memory
from adjit.symbolic_size import as_dim
from adjit.tensor import Chain, Tensor


@record
class Source:
    """Where an input's array comes from at a call: `kind` is argument, memory (of one), tensor, grad or scalar.

    `writes` counts how often a call writes to it, and to that is added what the output `more_writes` of the program
    holds; `requires_grad` and `chain` are what the trace left a captured tensor as.
    """

    kind: str
    index: int = -1
    tensor: Tensor | None = None
    memory: Memory | None = None
    read: Callable[[], float] | None = None
    writes: int = 0
    more_writes: int = -1
    requires_grad: bool = False
    chain: Chain = ()


@frozen
class ItemCheck:
    """What a trace relied on: `holder[key]` is, or equals, `value`."""

    holder: Any
    key: str
    value: Any

    def __call__(self) -> bool:
        return self.holder[self.key] is self.value or bool(self.holder[self.key] == self.value)


@frozen
class ItemReader:
    """A number that a program reads at every call: `holder[key]`."""

    holder: Any
    key: str

    def __call__(self) -> float:
        return float(self.holder[self.key])


@frozen
class GradientType:
    """What a trace relied on: the type of a captured tensor's gradient, None for none."""

    tensor: Tensor
    type: TensorType | None

    def __call__(self) -> bool:
        gradient = self.tensor._grad
        return self.type == (None if gradient is None else gradient._tensor_type)


@frozen
class Explanation:
    """How a fault of the running program is told: `explain` looks at the numbers of `values`, and returns the error or
    None where they are sound."""

    values: tuple[Value, ...]
    explain: Callable[..., Exception | None]
    location: Location = UNKNOWN


@record
class Cell:
    """The current symbolic value of one piece of memory; `epoch` counts the values, `version` the writes.

    After a write outside autograd, `history` is the value through which gradients still go.  `lines` are those of the
    writes; `more_writes` is computed where a branch decides how many there are.  `links` tie it to memory that it may
    be (links.py), with which it `agreed` after so many writes.
    """

    value: Value
    original: Value | None
    epoch: int = 0
    version: int = 0
    first: int = 0
    history: Value | None = None
    more_writes: Tensor | None = None
    lines: list[Location] = field(default_factory=list)
    links: tuple[Any, ...] = ()
    agreed: int = -1
    unsure: set[int] = field(default_factory=set)  # versions after which a write is not made in every call

    def is_written_since(self, version: int) -> bool:
        """Whether every call writes to the memory after it had a version."""
        return any(number not in self.unsure for number in range(version, self.version))

    def add_writes(self, more: Tensor) -> None:
        """Add a computed number, which may be negative, to the count of writes."""
        self.more_writes = more if self.more_writes is None else self.more_writes + more


def more_writes(
    cells: Iterable[Cell], sources: Sequence[Source], inputs: Sequence[Value]
) -> list[tuple[Source, Tensor]]:
    """The inputs of which the program computes how often they are written, with what is added to the count."""
    counts = {cell.original: cell.more_writes for cell in cells if cell.original is not None}
    pairs = zip(sources, map(counts.get, inputs), strict=True)
    return [(source, more) for source, more in pairs if more is not None]


def static_attributes(op: Primitive, attributes: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes of an operation as the IR has them.  NumbersNeeded for a number that is not known yet."""
    for key, value in attributes.items():
        if isinstance(value, Tensor):
            from adjit.dispatch import numbers_needed

            raise numbers_needed(value, f"the {key} of {op.name}")
    return {key: as_dim(value) for key, value in attributes.items()}
