"""What a call records, as words: templates of its nodes, made by looking at nodes that Python recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.autograd.record import literal
from adjit.autograd.tape import Recorded, Saved
from adjit.compiler.entry import known as k
from adjit.execute import number_array
from adjit.heard_numbers import Heard
from adjit.ir.graph import Location, Node, Value
from adjit.ir.types import DType, TensorType
from adjit.native.any_size import AnySize
from adjit.native.signature import is_plain
from adjit.native.view_words import array_words
from adjit.native.watching import Step
from adjit.native.words import address, words_of
from adjit.tensor import Tensor


class Templates:
    """The templates of the nodes of one call.

    `operands` are the call's, `results` the tensors that it makes, `captured` others that its nodes may take.  `arrays`
    are arrays of the program's, with their numbers.  One that is none of these becomes a result of the program, after
    `results`: then it joins `extra`; where `steps` made it as a view of an operand, the template makes it so too.  With
    `any_size` the templates are for all sizes; they are for any float among the operands that is heard, and with
    `any_whole` for any integer.
    """

    def __init__(
        self,
        operands: Sequence[Any],
        results: Sequence[Tensor],
        steps: Sequence[Step] = (),
        *,
        captured: Sequence[Tensor] = (),
        arrays: Sequence[tuple[np.ndarray, int]] | None = None,
        any_size: AnySize | None = None,
        any_whole: bool = False,
    ) -> None:
        self.operands = operands
        self.results = results
        self.steps = steps
        self.captured = captured
        self.arrays = arrays
        self.any_size = any_size
        self.any_whole = any_whole
        self.extra: list[tuple[np.ndarray, TensorType]] = []
        self._kept: list[Any] = []

    def block(self, nodes: Sequence[Node]) -> np.ndarray | None:
        """The templates of nodes in order, which have the results; None for nodes that only Python makes."""
        if not nodes or len(nodes) > k.MOST_NODES:
            return None
        wanted = [r._value for r in self.results if r.requires_grad]
        if any(value is None or value.node not in nodes for value in wanted):
            return None
        outputs = {node.outputs[0]: number for number, node in enumerate(nodes) if len(node.outputs) == 1}
        templates = []
        for node in nodes:
            words = self._template(node, outputs)
            if words is None:
                return None
            templates.append(words)
        # What was looked at may hold data; the words only point to what was kept.
        self.operands = self.results = self.steps = self.captured = ()
        self.arrays = None
        found = self._block([len(templates), *map(address, templates)])
        self.any_size = None
        return found

    def _template(self, node: Node, outputs: dict[Value, int]) -> np.ndarray | None:
        assert isinstance(node, Recorded)
        if node.hooks or node.fault is not None or node.regions:
            return None
        inputs: list[Any] = [len(node.inputs)]
        for value in node.inputs:
            found = self._input(node, value, outputs)
            if found is None:
                return None
            inputs += found
        lists = [self._kept_words(node, *kept) for kept in ((node.kept, node.saved), (node.kept_full, node.full))]
        if any(found is None for found in lists):
            return None
        shared = self._shared(node)
        if shared is None:
            return None
        attributes, pullback, types, sizes = shared
        words: list[Any] = [0] * k.RECORD_LIST
        parts = (node.op, attributes, node.name, pullback, node.seeded, node.reached, node.custom)
        words[: len(parts)] = [id(part) for part in parts]
        words[k.L_INPUTS] = address(self._block(inputs))
        words[k.L_KEPT], words[k.L_KEPT_FULL] = (address(found) for found in lists if found is not None)
        words[k.L_REGIONS], words[k.L_TYPES], words[k.L_SIZES] = id(node.regions), self._types(types), sizes
        words[k.L_RESULTS] = address(self._block([len(node.types), *self._results(node, types)]))
        self._kept += [*parts, node.regions, types]
        return self._block(words)

    def _shared(self, node: Recorded) -> tuple[Any, Any, tuple[TensorType, ...], Any] | None:
        """The attributes, pullback and types of nodes like this one, and the word of their sizes; None where these
        depend on sizes in other ways."""
        if self.any_size is None:
            return node.attributes, node.pullback, node.types, id(None)
        step = next(step for step in self.steps if node_of(step) is node)
        pullback = self.any_size.shared_pullback(node, step)
        types = tuple(map(self.any_size.type_of, step.results))
        sizes = self.any_size.opening.all_sizes
        return None if pullback is None else (self.any_size.shared_attributes(step), pullback, types, sizes)

    def _type(self, type: TensorType) -> Any:
        """The word of a type."""
        return id(type) if self.any_size is None else self.any_size.opening.type(type)

    def _types(self, types: tuple[TensorType, ...]) -> Any:
        """The word of a tuple of types."""
        return id(types) if self.any_size is None else self.any_size.opening.content(types)

    def _results(self, node: Recorded, types: Sequence[TensorType]) -> list[Any]:
        """For each result of a node its type, and which of the call's tensors has it."""
        words: list[Any] = []
        for index, type in enumerate(types):
            has = (t._value is not None and t._value.node is node and t._value.index == index for t in self.results)
            words += [self._type(type), next((number for number, found in enumerate(has) if found), -1)]
        return words

    def _input(self, node: Recorded, value: Value, outputs: dict[Value, int]) -> list[Any] | None:
        self._kept.append(value.type)
        if value.constant is not None:
            number = self._number(node, value)
            self._kept.append(value if number is None else partial(_literal, value.dtype))
            kind = k.A_LITERAL if number is None else k.OF_LITERAL
            return [kind, number or 0, id(self._kept[-1])]
        if value in outputs:
            return [k.OF_NODE, outputs[value], 0]
        for position, x in enumerate(self.operands):
            if isinstance(x, Tensor) and x._value is value:
                type = value.type if self.any_size is None else self.any_size.type_of(x)
                return [k.OF_OPERAND, position, self._type(type)]
        for tensor in self.captured:
            if tensor._value is value:
                return [k.WANTED if tensor.requires_grad else k.CAPTURED, id(tensor), id(value.type)]
        if value.node is not None:
            return None
        if self.any_size is None:
            return [k.A_FRESH_VALUE, 0, id(value.type)]
        made = next((x for step in self.steps for x in step.results if x._value is value), None)
        return None if made is None else [k.A_FRESH_VALUE, 0, self._type(self.any_size.type_of(made))]

    def _number(self, node: Recorded, value: Value) -> int | None:
        """Which operand of the call a literal is, where that may be any number."""
        step = next((step for step in self.steps if node_of(step) is node), None)
        if step is None:
            return None
        operand = step.operands[next(index for index, own in enumerate(node.inputs) if own is value)]
        if not isinstance(operand, Heard) and not self.any_whole:
            return None
        return next((position for position, x in enumerate(self.operands) if x is operand), None)

    def _kept_words(
        self, node: Recorded, kept: tuple[Any, ...], items: Sequence[Saved]
    ) -> np.ndarray | None:
        """What a node saves; None where an array comes from nowhere."""
        if not items:
            return self._block([0])
        words = [len(items), id(kept[0])]
        self._kept.append(kept[0])
        for item in items:
            is_number = item.memory is None and isinstance(item.held, Value) and item.held.constant is not None
            source = self._number_source(node, item) if is_number else self._array_source(item)
            if source is None:
                return None
            words += source
        return self._block(words)

    def _number_source(self, node: Recorded, item: Saved) -> list[int]:
        number = self._number(node, item.value)
        self._kept.append(item.array if number is None else partial(number_array, dtype=item.dtype))
        made = id(self._kept[-1])
        return [k.OF_CONSTANT, made, 0, 0] if number is None else [k.OF_NUMBER, number, made, 0]

    def _array_source(self, item: Saved) -> list[int] | None:
        """Where the array of a saved value comes from."""
        array = item.array
        for position, x in enumerate(self.operands):
            if isinstance(x, Tensor) and x._array is array:
                return [k.OF_TENSOR, position, 0, 0]
        for tensor in self.captured:
            if tensor._array is array:
                return [k.OF_CAPTURED, id(tensor), 0, 0]
        if self.arrays is not None:
            found = next((number for known, number in self.arrays if known is array), None)
            return None if found is None else [k.OF_ARRAY, found, 0, 0]
        for number, tensor in enumerate(self.results):
            if tensor._array is array:
                return [k.OF_RESULT, number, 0, 0]
        for number, (known, _) in enumerate(self.extra, len(self.results)):
            if known is array:
                return [k.OF_ARRAY, number, 0, 0]
        seen = self._view(array)
        if seen is not None:
            position, makers = seen
            if self.any_size is not None:
                return self._open_view(array, position)
            maker = partial(_view_of, tuple(makers))
            self._kept.append(maker)
            base = self.operands[position]._array
            view = array_words(array, base, self._kept) if is_plain(base) else None
            return [k.OF_TENSOR, position, id(maker), 0 if view is None else address(view)]
        if array.base is not None or len(self.extra) + len(self.results) == k.MOST_RESULTS:
            return None
        self.extra.append((array, TensorType(item.dtype, array.shape)))
        return [k.OF_ARRAY, len(self.results) + len(self.extra) - 1, 0, 0]

    def _view(self, array: np.ndarray) -> tuple[int, list[Callable[..., Any]]] | None:
        """The operand that an array is a view of, and the functions that made it so."""
        for step in self.steps:
            result = step.results[0] if len(step.results) == 1 else None
            if result is not None and result._array is array and result._base is not None:
                (source,) = step.operands
                maker = partial(step.op.reference, **step.attributes)
                position = next((i for i, x in enumerate(self.operands) if x is source), None)
                if position is not None:
                    return position, [maker]
                before = self._view(source._array)
                return None if before is None else (before[0], [*before[1], maker])
        return None

    def _open_view(self, array: np.ndarray, position: int) -> list[Any]:
        """The source of an array that is a view of an operand, for all sizes."""
        assert self.any_size is not None
        opening = self.any_size.opening
        tensor = next(x for step in self.steps for x in step.results if x._array is array)
        functions = [(op.reference, dict(items)) for op, items in self.any_size.traced(tensor)._chain]
        words: list[Any] = [0] * (k.VIEW_WRITEABLE + 1)
        words[k.VIEW_RANK], words[k.VIEW_NUMBER], words[k.VIEW_WRITEABLE] = array.ndim, array.dtype.num, True
        found = self.any_size.places_of(tensor, self.operands[position])
        words[k.VIEW_SIZES], words[k.VIEW_STRIDES], words[k.VIEW_OFFSET] = found
        return [k.OF_TENSOR, position, opening.calls(_view_of, functions), address(opening.block(words))]

    def _block(self, words: Sequence[Any]) -> np.ndarray:
        if self.any_size is not None:
            return self.any_size.opening.block(words)
        block = words_of(words)
        self._kept.append(block)
        return block


def node_of(step: Step) -> Node | None:
    """The node that a step recorded."""
    values = [result._value for result in step.results if result.requires_grad]
    node = values[0].node if values and values[0] is not None else None
    return node if node is not None and isinstance(node.attached, Recorded) else None


def _literal(dtype: DType, number: float, location: Location) -> Value:
    """The value of a number that stands at a line."""
    return literal(number, dtype, location)


def _view_of(makers: tuple[Callable[..., Any], ...], array: np.ndarray) -> np.ndarray:
    """A view of a view of ... an array."""
    for maker in makers:
        array = maker(array)
    return array
