"""The tape of eager mode: nodes of the IR, with what their pullbacks take.

A recorded operation makes one `Recorded` node; `Value.attached` is a `Watch` (hooks, retained gradient, the leaf that a
gradient is accumulated into).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from adjit.ir.graph import UNKNOWN, Attribute, Graph, Location, Node, Region, Value
from adjit.ir.primitive import Primitive
from adjit.ir.types import DType, TensorType
from adjit.memory import Memory
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks

_sequence = count()


def next_sequence() -> int:
    """The next number in the order of recording."""
    return next(_sequence)


class Watch:
    """What happens when a value's cotangent is complete."""

    __slots__ = ("hooks", "leaf", "post_hooks", "retained")

    def __init__(self) -> None:
        self.hooks = Hooks()
        self.post_hooks = Hooks()
        self.retained: ReferenceType[Tensor] | None = None
        self.leaf: ReferenceType[Tensor] | None = None

    def hooked(self, cotangent: Tensor) -> Tensor:
        """What the hooks, one after the other, make of the complete cotangent."""
        for hook in tuple(self.hooks.values()):
            replaced = hook(cotangent)
            if replaced is not None:
                if not isinstance(replaced, Tensor):
                    raise RuntimeError(f"hook returned a {type(replaced).__name__}; expected Tensor or None")
                cotangent = replaced
        return cotangent


def move_retained(before: Value | None, after: Value | None) -> None:
    """A tensor takes another value in place: if its gradient is kept, that is the gradient of the new one."""
    watch = None if before is None else before.attached
    if isinstance(watch, Watch) and watch.retained is not None and after is not None:
        if after.attached is None:
            after.attached = Watch()
        assert isinstance(after.attached, Watch)
        after.attached.retained, watch.retained = watch.retained, None


class Saved:
    """A forward value kept for the pullback, with the version its memory had.

    `held` is the value; or, for a result of the node that saves it, a reference to the node, with the result's number
    where the node has several.
    """

    __slots__ = ("array", "dtype", "held", "memory", "requires_grad", "version")

    def __init__(
        self, array: np.ndarray, dtype: DType, held: Any, requires_grad: bool, memory: Memory | None, version: int
    ) -> None:
        self.array = array
        self.dtype = dtype
        self.held = held
        self.requires_grad = requires_grad
        self.memory = memory
        self.version = version

    @property
    def value(self) -> Value:
        """The value in the recorded graph."""
        if isinstance(self.held, Value):
            return self.held
        reference, index = self.held if type(self.held) is tuple else (self.held, 0)
        node: Recorded = reference()
        return node.outputs[index]


class Packed(Saved):
    """A saved value in the form that hooks gave it, unpacked whenever it is read."""

    __slots__ = ("form", "unpack")

    def __init__(self, form: Any, unpack: Callable[[Any], np.ndarray], kept: Saved) -> None:
        self.form = form
        self.unpack = unpack
        self.dtype, self.held, self.requires_grad = kept.dtype, kept.held, kept.requires_grad
        self.memory, self.version = None, 0

    @property
    def array(self) -> np.ndarray:  # type: ignore[override]
        return self.unpack(self.form)


class Open:
    """What nodes that native code recorded hold in common, open in sizes: attributes of an operation, or a pullback.

    `sizes` are the names of the numbers in a node's `sizes`; `make` makes what it is for these.
    """

    __slots__ = ("_made", "content", "make", "names")

    def __init__(self, content: Any, names: Sequence[str], make: Callable[[Any, dict[str, int]], Any]) -> None:
        self.content = content
        self.names = tuple(names)
        self.make = make
        self._made: dict[tuple[int, ...], Any] = {}

    def particular(self, node: TapeNode) -> Any:
        """What this is for a node's sizes."""
        sizes = getattr(node, "sizes", None)
        assert sizes is not None
        found = self._made.get(sizes)
        if found is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            found = self._made[sizes] = self.make(self.content, dict(zip(self.names, sizes, strict=True)))
        return found


_attributes: Any = vars(Node)["attributes"].__get__
_set_attributes: Any = vars(Node)["attributes"].__set__
_MOST_MADE = 256


class TapeNode(Node):
    """A node whose results hold it, and which only refers to them: a tape goes with its last tensor.

    `results` are references to the results' values, which may be gone, or the one itself; `types` are their types.
    """

    __slots__ = ("results", "types")

    def __init__(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        types: Sequence[TensorType],
        location: Location = UNKNOWN,
        regions: Sequence[Region] = (),
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.attributes = attributes
        self.regions = tuple(regions)
        self.location = location
        self.types = tuple(types)
        self.results: Any = (None,) * len(types)

    @property
    def attached(self) -> object:  # type: ignore[override]
        """A node of the tape has nothing beside what it is."""
        return None

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The attributes of the operation, for the node's sizes."""
        found: Any = _attributes(self)
        own: dict[str, Attribute] = found.particular(self) if isinstance(found, Open) else found
        return own

    @attributes.setter
    def attributes(self, attributes: dict[str, Attribute]) -> None:
        _set_attributes(self, attributes)

    @property
    def outputs(self) -> tuple[Value, ...]:  # type: ignore[override]
        """The values of the results; one that nobody holds is made anew."""
        references = self.results if type(self.results) is tuple else (self.results,)
        found: list[Value | None] = [None if reference is None else reference() for reference in references]
        made = tuple(value or Value(self.types[i], None, self, i) for i, value in enumerate(found))
        if None in found:
            self.results = ref(made[0]) if len(made) == 1 else tuple(map(ref, made))
        return made


class Recorded(TapeNode):
    """A node that autograd goes back through.

    `name` is PyTorch's name of the operation without `Backward0`, or empty for a step that the user did not write (a
    broadcast, a promotion).  `saved` is what the pullback takes, nothing after the graph was `freed`.  `full` holds
    operands and results of a composite, which a recorded backward pass (`create_graph`) needs instead of `saved`; both
    stand folded in `kept` and `kept_full`.  `custom` runs the pullback in its own way: natively for a compiled
    function, as a `Rule` where the user wrote it.  `sizes` are those of a node whose attributes and pullback native
    code shares with others.  `hooks` see what the pullback took and gave.  `fault` says why the
    node cannot be gone back through.
    """

    __slots__ = (
        "_pullback", "custom", "fault", "freed", "hooks", "kept", "kept_full", "leaves", "name", "reached", "seeded",
        "sequence", "sizes",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        types: Sequence[TensorType],
        location: Location = UNKNOWN,
        regions: Sequence[Region] = (),
    ) -> None:
        super().__init__(op, inputs, attributes, types, location, regions)
        self.name = name
        self.sequence = next_sequence()
        self.pullback = None
        self.sizes: tuple[int, ...] | None = None
        self.kept: tuple[Any, ...] = ()
        self.kept_full: tuple[Any, ...] = ()
        self.seeded: tuple[int, ...] = ()
        self.reached: tuple[int, ...] = ()
        self.leaves: tuple[Tensor, ...] = ()
        self.freed = False
        self.fault: str | None = None
        self.custom: Any = None
        self.hooks: Hooks | None = None  # made when the first one comes

    @property
    def pullback(self) -> Graph | None:
        """The program of the cotangents."""
        found = self._pullback
        own: Graph | None = found.particular(self) if isinstance(found, Open) else found
        return own

    @pullback.setter
    def pullback(self, pullback: Graph | None) -> None:
        self._pullback: Graph | Open | None = pullback

    @property
    def open_pullback(self) -> Open | None:
        """The program for all sizes, of which `pullback` is one."""
        return self._pullback if isinstance(self._pullback, Open) else None

    @property
    def attached(self) -> Recorded:  # type: ignore[override]
        """Autograd's part of the node, which is the node."""
        return self

    @property
    def saved(self) -> tuple[Saved, ...]:
        """What the pullback takes."""
        return _unfolded(self, self.kept)

    @saved.setter
    def saved(self, items: Sequence[Saved]) -> None:
        self.kept = _folded(self, items)

    @property
    def full(self) -> tuple[Saved, ...]:
        """What a recorded pass through a composite takes."""
        return _unfolded(self, self.kept_full)

    @full.setter
    def full(self, items: Sequence[Saved]) -> None:
        self.kept_full = _folded(self, items)


def result_of(node: TapeNode, index: int) -> Any:
    """What a node's own saved values hold of its results."""
    return ref(node) if len(node.types) == 1 else (ref(node), index)


def _folded(node: Recorded, items: Sequence[Saved]) -> tuple[Any, ...]:
    """Saved values as one tuple: what they are, which nodes of a kind share, then each one's array, memory, version.

    What hooks gave another form stays as it is.
    """
    if not items or any(type(item) is not Saved for item in items):
        return tuple(items)
    what = tuple((item.dtype, item.requires_grad, _place(node, item.held)) for item in items)
    return (what, *(part for item in items for part in (item.array, item.memory, item.version)))


def _place(node: Recorded, held: Any) -> int | Value:
    """What a saved value is to its node: the number of an operand, the inverted number of a result, or the value."""
    if not isinstance(held, Value):
        return ~held[1] if type(held) is tuple else ~0
    return next((index for index, value in enumerate(node.inputs) if value is held), held)


def _unfolded(node: Recorded, kept: tuple[Any, ...]) -> tuple[Saved, ...]:
    """The saved values that stand in a node."""
    if not kept or type(kept[0]) is not tuple:
        return kept
    return tuple(
        Saved(array, dtype, _held(node, place), requires_grad, memory, version)
        for (dtype, requires_grad, place), array, memory, version in zip(
            kept[0], kept[1::3], kept[2::3], kept[3::3], strict=True
        )
    )


def _held(node: Recorded, place: int | Value) -> Any:
    if isinstance(place, Value):
        return place
    return node.inputs[place] if place >= 0 else result_of(node, ~place)


class Rule:
    """A pullback in Python: what stands in `Recorded.custom` for a user's function."""

    __slots__ = ()

    def pull_back(
        self, node: Node, arriving: Sequence[Tensor | None], create_graph: bool
    ) -> tuple[Sequence[Tensor | None], Sequence[int]]:
        """The cotangents of the operands that need one, and which these are."""
        raise NotImplementedError(f"{type(self).__name__} says how cotangents pass")

    def release(self) -> None:
        """Free what was saved."""


class TraceNode:
    """Autograd's part of a node in a trace, which keeps no record: PyTorch's name of the operation, and hooks."""

    __slots__ = ("hooks", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.hooks = Hooks()


# Of a sum and its like, PyTorch takes a number beside a tensor as an operand; of these layers, all that may be given.
_TAKING_NUMBERS = ("Add", "Sub", "Mul", "Div")
_OPERANDS = {"Convolution": 3, "NativeBatchNorm": 3, "NativeLayerNorm": 3, "NativeGroupNorm": 3}


def edges_of(node: Node) -> list[int | None]:
    """The operands to which a function of the backward graph has edges, as PyTorch has them, by their places.

    None is an edge that leads nowhere: for a number, or for an operand that was left out.
    """
    record = node.attached
    name = record.name.removesuffix("Backward0") if isinstance(record, (Recorded, TraceNode)) else ""
    if isinstance(record, Recorded) and isinstance(record.custom, Rule):
        return [place for place, value in enumerate(node.inputs) if value.constant is None]
    found: list[int | None] = []
    for place, value in enumerate(node.inputs):
        if value.constant is not None:
            found += [None] * (name == "Where")  # which has either number in its place
        elif value.dtype.is_continuous:
            found.append(place)
    if name in _TAKING_NUMBERS:
        found += [None] * (len(node.inputs) - len(found))
    return found + [None] * (_OPERANDS.get(name, 0) - len(found))
