"""Signatures open in their sizes, for operations whose operands' shapes change from call to call.

What a function does is traced with names for the sizes that changed, then done on examples, step by step, so that what
it records can be looked at.  The words of the signature are those of the example; its opening says which are sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from adjit.autograd.tape import Open, Recorded
from adjit.compiler.nodewise import literal_of, pullback_of, with_any_number
from adjit.compiler.particular import common_form, particular, with_sizes_told, without_carriers
from adjit.ir.errors import AdjitError
from adjit.ir.graph import Graph, Node
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.ir.rewrite import clone
from adjit.ir.shape import Dim, Size, evaluate, map_sizes
from adjit.ir.types import TensorType
from adjit.native.opening import Opening, has_names
from adjit.native.watching import Seen, Step, is_composite, replayed
from adjit.native.words import address
from adjit.symbolic_size import Respecialize, SymbolicSize, as_dim
from adjit.tensor import Tensor
from adjit.trace import Tracer
from adjit.view_strides import offset_of_chain
from adjit.views import strides

# So many calls with different sizes show which change; a kind of call gets so many signatures.
_CHANGES, _MOST = 6, 4
# So many of them must have no size of 0 or 1; after so many in vain it begins anew.
_ENOUGH, _TOO_MANY = 4, 24


class History:
    """The sizes of the calls of each kind that came to Python since its last signature."""

    def __init__(self, *, free: bool) -> None:
        self.free = free  # whether numbers are never sizes
        self._sizes: dict[Any, dict[tuple[int, ...], None]] = {}
        self._tried: dict[Any, int] = {}

    def forget(self) -> None:
        """Begin anew."""
        self._sizes.clear()
        self._tried.clear()

    def note(self, kind: Any, operands: Sequence[Any]) -> list[tuple[Size, ...] | None] | None:
        """The sizes of the operands, with names for those that change, when a call of a kind shows enough of them."""
        tried = self._tried.get(kind, 0)
        if tried >= _MOST:
            return None
        counts = [self._count(x) for x in operands]
        own = tuple(size for x, count in zip(operands, counts, strict=True) if count is not None for size in _sizes(x))
        seen = self._sizes.setdefault(kind, {})
        seen[own] = None
        if len(seen) < _CHANGES:
            return None
        names = _names([*seen])
        if names is None:
            if len(seen) >= _TOO_MANY:
                seen.clear()
            return None
        del self._sizes[kind]
        self._tried[kind] = tried + 1
        found: list[tuple[Size, ...] | None] = []
        rest = iter(names)
        for count in counts:
            found.append(None if count is None else tuple(next(rest) for _ in range(count)))
        return found

    def _count(self, x: Any) -> int | None:
        """How many sizes an operand has."""
        return len(_sizes(x)) if isinstance(x, Tensor) or (is_size(x) and not self.free) else None


def is_size(x: Any) -> bool:
    """Whether an operand is a number that may be a size; smaller ones count axes, or say whether."""
    return type(x) is int and x > 1


def _sizes(x: Any) -> tuple[int, ...]:
    """The sizes of a tensor, or what a number may be."""
    if not isinstance(x, Tensor):
        return (x,)
    assert x._array is not None
    return x._array.shape


def _names(calls: Sequence[tuple[int, ...]]) -> list[Size] | None:
    """A name for each size that changes between calls, one for those that change alike; None where too few tell.

    Calls where one of these is 0 or 1 are others' matter: those sizes broadcast.
    """
    changing = [len({*column}) > 1 for column in zip(*calls, strict=True)]
    told = [call for call in calls if all(size > 1 for size, changes in zip(call, changing, strict=True) if changes)]
    if len(told) < _ENOUGH:
        return None
    names: dict[tuple[int, ...], Dim] = {}
    found: list[Size] = []
    for column in zip(*told, strict=True):
        is_one = len({*column}) == 1
        found.append(column[0] if is_one else names.setdefault(column, Dim.named(f"n{len(names)}")))
    return found if names else None


# -- the trace --------------------------------------------------------------------------------------------------------
class _Recorder(Tracer):
    """A trace that notes what is applied, one thing after another."""

    def __init__(self, hints: dict[str, int]) -> None:
        super().__init__("eager", hints)
        self.lent_arguments: list[Tensor] = []
        self.applied: list[tuple[str, Primitive, Sequence[Any], dict[str, Any], str, tuple[Tensor, ...]]] = []

    def lend(self, type: TensorType, place: int, example: Tensor) -> Tensor:
        """A traced tensor for an operand."""
        tensor = self.argument(type, f"a{place}", place)
        tensor._requires_grad = example.requires_grad
        self.lent_arguments.append(tensor)
        return tensor

    def apply(
        self, op: Primitive, operands: Sequence[Any], attributes: dict[str, Any], name: str, regions: Any = ()
    ) -> Any:
        """Emit an operation, and note it."""
        if regions:
            raise NotImplementedError("operations with regions")
        result = super().apply(op, operands, attributes, name)
        results = result if isinstance(result, tuple) else (result,)
        if not all(map(_is_open_alike, self.graph.nodes[-1:])):
            raise NotImplementedError("programs that are worth knowing their sizes")
        self.applied.append(("apply", op, tuple(operands), _as_dims(attributes), name, results))
        return result

    def view(self, op: Primitive, tensor: Tensor, attributes: dict[str, Any], name: str) -> Tensor:
        """Show a tensor's memory, and note it."""
        if op.name == "as_strided":
            raise NotImplementedError("views by strides")
        result = super().view(op, tensor, attributes, name)
        self.applied.append(("view", op, (tensor,), _as_dims(attributes), name, (result,)))
        return result

    def constant(self, value: Any, dtype: Any) -> Tensor:
        """Make a number of the function's own, and note it."""
        result = super().constant(value, dtype)
        self.applied.append(("constant", None, (value, dtype), {}, "", (result,)))  # type: ignore[arg-type]
        return result

    def detach(self, tensor: Tensor) -> Tensor:
        """A tensor on the same memory, noted."""
        result = super().detach(tensor)
        self.applied.append(("detach", PRIMITIVES["detach"], (tensor,), {}, "", (result,)))
        return result

    def write(self, target: Tensor, result: Tensor) -> Tensor:
        """What only fixed sizes have."""
        raise NotImplementedError("writes")



def _is_open_alike(node: Node) -> bool:
    """Whether a program for all sizes is as good as one for some: of convolutions only the count of images is open."""
    bodies = [value for value in node.attributes.values() if isinstance(value, Graph)]
    if not all(_is_open_alike(inner) for body in bodies for inner in body.nodes):
        return False
    if node.op.name != "conv":
        return True
    images, *others = (value.dims for value in node.inputs)
    return not has_names((images[1:], *others))


def _as_dims(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: as_dim(value) for key, value in attributes.items()}


class AnySize:
    """A call with open sizes, beside the same call on examples.

    `seen` is what it does on the examples; `type_of` and `attributes_of` say which are the types of its tensors, and
    the attributes of its steps, whatever the sizes.
    """

    def __init__(self, tracer: _Recorder, inputs: dict[int, Any], result: Any, examples: Sequence[Any]) -> None:
        self.tracer = tracer
        self.opening = Opening(tracer.hints)
        self.names = tuple(tracer.hints)
        self._callees: dict[Graph, Graph] = {}
        self._traced: dict[int, Tensor] = {}
        self._attributes: dict[int, dict[str, Any]] = {}
        self.seen = self._seen(inputs, result, examples)

    def _seen(self, known: dict[int, Any], result: Any, examples: Sequence[Any]) -> Seen | None:
        calls = []
        for kind, op, operands, attributes, name, results in self.tracer.applied:
            if any(isinstance(x, (SymbolicSize, Dim)) for x in operands):
                return None
            closed = {key: self._closed(value) for key, value in attributes.items()}
            calls.append((kind, op, operands, closed, name, results))
        traced = [tensor for *_, results in calls for tensor in results]
        found = replayed(calls, known, examples, result)
        if found is None:
            return None
        seen, steps = found
        self._attributes = {id(step): self.tracer.applied[place][3] for place, step in steps}
        self._kept = [step for _, step in steps]
        self._traced = {id(known[id(tensor)]): tensor for tensor in [*self._arguments(), *traced]}
        return seen

    def _arguments(self) -> list[Tensor]:
        return [tensor for tensor in self.tracer.lent_arguments]

    def _closed(self, value: Any) -> Any:
        """An attribute for the example."""
        if isinstance(value, Graph):
            if value not in self._callees:
                self._callees[value] = with_sizes_told(particular(value, self.tracer.hints))
            return self._callees[value]
        return map_sizes(value, lambda size: evaluate(size, self.tracer.hints))

    def traced(self, tensor: Tensor) -> Tensor:
        """The traced tensor that one of the example stands for."""
        return self._traced[id(tensor)]

    def type_of(self, tensor: Tensor) -> TensorType:
        """The type of a tensor of the example, open in its sizes."""
        return self._traced[id(tensor)]._tensor_type

    def attributes_of(self, step: Step) -> dict[str, Any]:
        """The attributes of a step, open in their sizes."""
        if step.op.name == "const":
            return step.attributes
        return self._attributes[id(step)]

    def places_of(self, view: Tensor, operand: Tensor) -> tuple[int, int, Size]:
        """Where a view of an operand in order shows it: its sizes, its strides in bytes, and how far in it begins.

        Errors: ValueError where that is told otherwise.
        """
        traced, array = self.traced(view), view._array
        base = self.type_of(operand)
        assert array is not None
        assert operand._array is not None
        if operand._dtype is not view._dtype:
            raise ValueError("a view in another dtype")
        steps = tuple(step * array.itemsize for step in strides(traced))
        offset = offset_of_chain(base.dims, base.dtype, traced._chain) * array.itemsize
        hints = self.opening.hints
        if tuple(evaluate(step, hints) for step in steps) != array.strides:
            raise ValueError("a view of other strides")
        if evaluate(offset, hints) != address(array) - address(operand._array):
            raise ValueError("a view of another place")
        return self.opening.sizes(traced._tensor_type.dims), self.opening.sizes(steps), offset

    # -- what is recorded ---------------------------------------------------------------------------------------------
    def shared_attributes(self, step: Step) -> Any:
        """What nodes of a step have for attributes, whatever their sizes."""
        found = self.attributes_of(step)
        if any(isinstance(value, Graph) or has_names(value) for value in found.values()):
            return Open(found, self.names, _particular_attributes)
        return step.attributes

    def shared_pullback(self, node: Recorded, step: Step) -> Open | None:
        """The pullback of nodes of a step, whatever their sizes; None where the example's keeps other values."""
        if is_composite(step.op, step.attributes):
            assert node.pullback is not None
            found = common_form(node.pullback)
            graph = None if found is None else found[0]
        else:
            graph = self._bare_pullback(node, step)
        return None if graph is None else Open(graph, self.names, _for_sizes)

    def _bare_pullback(self, node: Recorded, step: Step) -> Graph | None:
        operands = zip(step.operands, node.inputs, strict=True)
        types = [self.type_of(x) if isinstance(x, Tensor) else value.type for x, value in operands]
        literals = with_any_number(step.op, types, [literal_of(value.constant) for value in node.inputs])  # type: ignore[arg-type]
        needs = [isinstance(x, Tensor) and x.requires_grad for x in step.operands]
        results = [self.type_of(x) for x in step.results]
        found = pullback_of(step.op, types, self.attributes_of(step), literals, needs, results)
        graph, kept = without_carriers(found.graph, len(found.seeded))
        if (found.seeded, found.reached) != (node.seeded, node.reached):
            return None
        places = [_place_in(node, *found.saved[number]) for number in kept]
        own = [place for _, _, place in node.kept[0]] if node.kept else []
        return graph if places == own else None


def _place_in(node: Recorded, side: str, index: int) -> int:
    """A saved value as a node's `kept` says which it is."""
    if side == "out":
        return ~index
    return next(place for place, value in enumerate(node.inputs) if value is node.inputs[index])


def _for_sizes(graph: Graph, sizes: dict[str, int]) -> Graph:
    return clone(graph, sizes=sizes)


def _particular_attributes(attributes: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    def own(value: Any) -> Any:
        if isinstance(value, Graph):
            return particular(value, sizes)
        return map_sizes(value, lambda size: evaluate(size, sizes))

    return {key: own(value) for key, value in attributes.items()}


def at_any_size(
    call: Callable[[Sequence[Any]], Any],
    examples: Sequence[Any],
    sizes: Sequence[tuple[Size, ...] | None],
    hints: dict[str, int],
) -> AnySize | None:
    """A call with open sizes, and on examples for `hints`; `call` does it with leaves in their places.

    None where its course depends on sizes, or it does more than apply operations, such as to warn.
    """
    tracer = _Recorder(hints)
    inputs: dict[int, Any] = {}
    leaves: list[Any] = []
    try:
        with tracer:
            for place, (x, own) in enumerate(zip(examples, sizes, strict=True)):
                leaves.append(x)
                if isinstance(x, Tensor):
                    assert own is not None
                    leaves[-1] = tracer.lend(TensorType(x._dtype, own), place, x)
                    inputs[id(leaves[-1])] = x
                elif own is not None and isinstance(own[0], Dim):
                    leaves[-1] = SymbolicSize(own[0], tracer)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                result = call(leaves)
        if len(tracer.sources) != len(inputs):
            return None
        found = AnySize(tracer, inputs, result, examples)
    except (Respecialize, NotImplementedError, AdjitError, ArithmeticError, LookupError, RuntimeError, ValueError,
            TypeError, AttributeError, AssertionError, Warning):  # fmt: skip
        return None  # the call itself says what is wrong
    return None if found.seen is None else found
