"""One call of a compiled function: its arguments, and whether a program serves it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adjit import trees
from adjit.autograd.record import hook_numbers
from adjit.captured import shared_gradient
from adjit.device import device
from adjit.ir.errors import ShapeError
from adjit.ir.frozen import frozen
from adjit.ir.shape import evaluate
from adjit.ir.types import F64, I64, DType, TensorType
from adjit.memory import Memory
from adjit.places import Place
from adjit.runtime.interpreter import bind_sizes
from adjit.state import STATE, epoch_here
from adjit.tensor import Chain, Tensor
from adjit.views import is_contiguous

if TYPE_CHECKING:
    from adjit.entry import Entry

@frozen
class Aliases:
    """Different tensor arguments on one memory: their positions, the memory's shape, and their ways from it."""

    members: tuple[int, ...]
    dims: tuple[int, ...]
    chains: tuple[Chain, ...]


class Facts(NamedTuple):
    """What of a tensor argument tells programs apart."""

    dtype: DType
    rank: int
    requires_grad: bool
    is_leaf: bool
    gradient: TensorType | None
    hooks: tuple[int, ...]


class Key(NamedTuple):
    """What of a call tells programs apart.

    `arguments` are the `Facts` of tensors, and the types and values, or identities, of all others.
    """

    structure: Any
    arguments: tuple[Any, ...]
    recording: bool
    repeats: tuple[tuple[int, int], ...]
    numbers: Collection[int]
    orders: tuple[Any, ...]  # a structure does not tell in which order a dict was filled, which its user may go by
    lifted: tuple[Any, ...] | None = None  # the place, the type, and what `arguments` say, of each
    lifted_repeats: tuple[tuple[int, int], ...] = ()


class Call:
    """The arguments of one call, split into tensors and the static rest.

    What stands at `lifted` places counts as arguments too, after the others: tensors, and numbers as tensors.
    `numbers` are the positions of arguments that are numbers and whose values the program reads at each call, `repeats`
    those of tensors that stand among the arguments before, and where.
    """

    __slots__ = (
        "aliases", "arguments", "arrays", "key", "leaves", "lifted", "numbers", "own_key", "repeats", "shapes",
        "structure", "tensors",
    )  # fmt: skip

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: Collection[int] = ()) -> None:
        self.arguments = (args, kwargs)
        self.numbers = numbers
        self.leaves: list[Any]
        self.leaves, self.structure = trees.flatten((args, kwargs), none_is_leaf=True)
        self.tensors: list[Tensor] = []
        self.lifted: list[tuple[Place, Any]] = []
        signature: list[Any] = []
        for index, leaf in enumerate(self.leaves):
            if isinstance(leaf, np.ndarray):
                from adjit.creation import from_numpy

                leaf = self.leaves[index] = from_numpy(leaf)
            elif isinstance(leaf, (np.floating, np.integer, np.bool_)):  # a number, as a schedule computes it
                leaf = self.leaves[index] = leaf.item()
            if index in numbers:
                leaf = self.leaves[index] = _as_tensor(leaf)
            signature.append(self._signature(leaf))
        self._settle()
        orders = tuple(order for item in (*args, *kwargs.values()) for order in _orders(item))
        self.own_key = Key(self.structure, tuple(signature), STATE.recording, self.repeats, numbers, orders)
        self.key = self.own_key

    def _signature(self, leaf: Any) -> Any:
        """What of a leaf tells programs apart; a tensor joins the tensors."""
        if not isinstance(leaf, Tensor):
            return type(leaf), _told_apart(leaf) if _is_value(leaf) else id(leaf)
        if leaf._array is None:
            from adjit.dispatch import leaked

            raise leaked(leaf)
        self.tensors.append(leaf)
        grad = None if leaf._grad is None else leaf._grad._tensor_type
        requires_grad = leaf.requires_grad
        hooks = hook_numbers(leaf) if requires_grad else ()
        return Facts(leaf._dtype, leaf._array.ndim, requires_grad, leaf._leaf, grad, hooks)

    def _settle(self) -> None:
        self.arrays = [tensor._array for tensor in self.tensors]
        self.shapes = tuple(array.shape for array in self.arrays if array is not None)
        self.aliases: tuple[Aliases, ...] = ()
        self.repeats: tuple[tuple[int, int], ...] = ()
        if len({id(tensor._memory) for tensor in self.tensors}) < len(self.tensors):
            first: dict[Tensor, int] = {}
            places = [(index, first.setdefault(tensor, index)) for index, tensor in enumerate(self.tensors)]
            self.repeats = tuple((index, before) for index, before in places if before != index)
            self.aliases = _aliases(first)

    def lift(self, places: Sequence[Place]) -> Call:
        """Take what stands at these places as arguments."""
        signature: list[Any] = []
        for place in places:
            item = place.read()
            kind = type(item)
            item = _as_tensor(item)
            self.lifted.append((place, item))
            signature.append((place.identity, kind, self._signature(item)))
        self._settle()
        self.key = self.own_key._replace(lifted=tuple(signature), lifted_repeats=self.repeats)
        return self


def _orders(tree: Any) -> list[tuple[Any, ...]]:
    """The keys of the dicts in a tree, in the order in which they were put there."""
    if isinstance(tree, dict):
        return [tuple(tree), *(order for item in tree.values() for order in _orders(item))]
    return [order for item in tree for order in _orders(item)] if isinstance(tree, (tuple, list)) else []


def _as_tensor(number: Any) -> Any:
    """A Python number as a tensor that keeps all its digits; anything else as it is."""
    if type(number) is float:
        return Tensor._wrap(np.array(number, np.float64), F64)
    if type(number) is int and -(2**63) <= number < 2**63:
        return Tensor._wrap(np.array(number, np.int64), I64)
    return number


def _aliases(places: Mapping[Tensor, int]) -> tuple[Aliases, ...]:
    """The groups of different tensors, each with its position, that share memory."""
    groups: dict[Memory, list[Tensor]] = {}
    for tensor in places:
        groups.setdefault(tensor._memory, []).append(tensor)
    found = []
    for memory, group in groups.items():
        if len(group) > 1:
            assert memory.array is not None
            members, chains = tuple(places[tensor] for tensor in group), tuple(tensor._chain for tensor in group)
            found.append(Aliases(members, memory.array.shape, chains))
    return tuple(found)


def aliases_among(call: Call, relied: Collection[int]) -> tuple[Aliases, ...]:
    """The groups of a call's arguments with one at a position in `relied`."""
    return tuple(group for group in call.aliases if any(index in relied for index in group.members))


def _is_value(leaf: Any) -> bool:
    """Whether equality says that two static arguments are the same; others are told apart by identity."""
    if isinstance(leaf, (tuple, frozenset)):
        return all(_is_value(item) for item in leaf)
    return leaf is None or isinstance(leaf, (bool, int, float, complex, str, bytes, device))


def _told_apart(leaf: Any) -> Any:
    """What is equal for static arguments that are the same value: zeros have signs, and `1 == 1.0 == True` in sets."""
    if isinstance(leaf, complex) or (isinstance(leaf, float) and (leaf == 0 or leaf != leaf)):
        return repr(leaf)
    if isinstance(leaf, (tuple, frozenset)):
        return type(leaf)((type(item), _told_apart(item)) for item in leaf)
    return leaf


def fits(entry: Entry, call: Call) -> bool:
    """Whether a traced program serves a call: sizes, guards, captured state."""
    for value, source in zip(entry.graph.inputs, entry.sources, strict=True):
        if source.kind == "argument":
            shape = call.shapes[source.index]
            if any(isinstance(d, int) and d != extent for d, extent in zip(value.dims, shape, strict=True)):
                return False
    if (call.aliases or entry.aliases) and aliases_among(call, entry.changed) != entry.aliases:
        return False
    if not captured_are_as_traced(entry):
        return False
    if entry.memories:
        memories = entry.memories
        if [i for i, tensor in enumerate(call.tensors) if tensor._memory in memories] != entry.coinciding:
            return False
    if any((call.tensors[t] if isinstance(t, int) else t)._grad is not gradient for t, gradient in entry.fixed):
        return False
    if any(is_contiguous(call.tensors[index]) != found for index, found in entry.layouts.items()):
        return False
    if entry.graph.size_names:
        try:
            bind_sizes(entry.graph, _all_shapes(entry, call))
        except ShapeError:
            return False
    if not all(check() for check in entry.checks):
        return False
    if entry.asked:
        from adjit.told_numbers import hold

        if not hold(entry.asked, [array if array is None or array.ndim else array.item() for array in call.arrays]):
            return False
    if entry.graph.writes and shared_gradient(entry.sources, call.tensors, entry.memories) is not None:
        return False
    now = epoch_here()
    if entry.epoch != now or entry.environment.is_compared:
        if not entry.environment.holds():
            return False
        entry.epoch = now
    return True


def captured_are_as_traced(entry: Entry) -> bool:
    """Whether captured tensors show the memories, and require grad, as when the program was traced."""
    return all(
        source.tensor is None
        or (
            source.tensor._memory is source.memory
            and source.tensor.requires_grad is source.requires_grad
            and source.tensor._chain == source.chain
        )
        for source in entry.sources
        if source.kind == "tensor"
    )


def _all_shapes(entry: Entry, call: Call) -> list[Sequence[int]]:
    return [
        call.shapes[source.index] if source.kind == "argument" else tuple(evaluate(dim, {}) for dim in v.dims)
        for v, source in zip(entry.graph.inputs, entry.sources, strict=True)
    ]
