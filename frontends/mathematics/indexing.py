"""The element of a value at given indices, as a formula over the values that have names."""

# ruff: noqa: RUF001
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adjit.ir.analysis import VIEWS
from adjit.ir.graph import Node, Value
from adjit.mathematics import notation
from adjit.mathematics.notation import Piece

Indices = Sequence["Piece | None"]  # None on an axis of size 1
PASSED = frozenset(("cast", "detach"))
SHOWN = VIEWS | PASSED
REDUCTIONS = {"reduce_sum": ("Σ", r"\sum"), "reduce_prod": ("Π", r"\prod"), "reduce_max": ("max", r"\max"),
              "reduce_min": ("min", r"\min")}  # fmt: skip
_UNTOLD = frozenset(("callee", "dtype", "shape", "wrt", "vjp", "jvp"))  # attributes that say nothing of the numbers
_ARITHMETIC: dict[str, Callable[..., Piece]] = {
    "add": notation.add, "sub": notation.subtract, "mul": notation.multiply, "div": notation.divide,
    "neg": notation.negate, "safe_mul": notation.multiply, "safe_div": notation.divide, "pow": notation.power,
    "square": lambda x: notation.power(x, notation.number(2)),
    "cube": lambda x: notation.power(x, notation.number(3)),
}  # fmt: skip


@dataclass(slots=True)
class Elements:
    """Values by name, the letter that each axis prefers, and how a call's element is written."""

    names: Mapping[Value, Piece | str]
    letters: Mapping[tuple[Value, int], str]
    aliases: Mapping[Value, Value] = field(default_factory=dict)  # values that are another's

    def free(self, value: Value, taken: Sequence[Piece | None] = (), axes: Sequence[int] | None = None) -> list[Any]:
        """An index for each axis of a value (or for `axes`), distinct and not among `taken`."""
        used = {piece.text for piece in taken if piece is not None}
        found: list[Piece | None] = []
        for axis in range(value.type.ndim) if axes is None else axes:
            if value.dims[axis] == 1:
                found.append(None)
                continue
            letter = self.letters.get((value, axis), "i")
            while letter in used:
                letter += "′"
            used.add(letter)
            found.append(Piece(letter, letter.replace("′", "'")))
        return found

    def at(self, value: Value, indices: Indices, scope: Indices = ()) -> Piece:
        """The element at `indices`; `scope` are the indices that have a meaning where it stands."""
        value, scope = self.aliases.get(value, value), (*scope, *indices)
        name = self.names.get(value)
        if isinstance(name, Piece):
            return name
        if name is not None:
            return notation.named(name, [index for index in indices if index is not None])
        if value.node is None:
            return notation.named(value.name or "?", [index for index in indices if index is not None])
        return self._made(value, value.node, list(indices), scope)

    def _made(self, value: Value, node: Node, indices: list[Any], scope: Indices) -> Piece:
        op, attributes, operands = node.op.name, node.attributes, node.inputs
        given: Any = attributes
        if op == "const":
            return notation.number(given["value"])
        if op in _ARITHMETIC or op in notation.RELATIONS or op in PASSED or node.op.family == "scalar":
            return self._scalar(op, [self.at(x, indices if x.type.ndim else (), scope) for x in operands])
        if op == "iota":
            return indices[given["axis"]] or notation.ZERO
        if op == "slice":
            steps = zip(indices, given["start"], given["step"], strict=True)
            return self.at(operands[0], [_moved(*step) for step in steps], scope)
        if op == "permute":
            moved = dict(zip(given["perm"], indices, strict=True))
            return self.at(operands[0], [moved[axis] for axis in range(len(indices))], scope)
        if op == "expand":
            kept = indices[len(indices) - operands[0].type.ndim :]
            ones = [None if size == 1 else i for size, i in zip(operands[0].dims, kept, strict=True)]
            return self.at(operands[0], ones, scope)
        if op == "reshape" and (rest := _same_but_ones(operands[0], value, indices)) is not None:
            return self.at(operands[0], rest, scope)
        if op in REDUCTIONS:
            bound = self.free(operands[0], scope, given["axes"])
            places = dict(zip(given["axes"], bound, strict=True))
            left = iter(indices)
            whole = [places[a] if a in places else next(left) for a in range(operands[0].type.ndim)]
            used = [index for index in bound if index is not None]
            return notation.over_indices(*REDUCTIONS[op], used, self.at(operands[0], whole, scope))
        if op == "dot":
            return self._dot(operands, given, indices, scope)
        if op == "call" and given["callee"].name in ("softmax", "log_softmax"):
            return self._softmax(given["callee"], operands[0], indices, scope)
        whole = [self.at(x, (), scope) if not x.type.ndim else self._array(x) for x in operands]
        name = given["callee"].name if op == "call" else op
        told = ", ".join(f"{key}={item}" for key, item in attributes.items() if key not in _UNTOLD)
        made = notation.applied(f"{name}[{told}]" if told else name, whole)
        return _subscripted(made, indices)

    def _array(self, value: Value) -> Piece:
        """A whole array, by its name or its element in braces."""
        name = self.names.get(value, value.name if value.node is None else None)
        if isinstance(name, str):
            return notation.named(name)
        element = self.at(value, self.free(value))
        return Piece(f"{{{element.text}}}", rf"\{{{element.latex}\}}")

    def _scalar(self, op: str, parts: list[Piece]) -> Piece:
        if op in PASSED:
            return parts[0]
        if op in _ARITHMETIC:
            return _ARITHMETIC[op](*parts)
        if op in notation.RELATIONS:
            return notation.relation(op, *parts)
        return notation.applied(op, parts)

    def _dot(self, operands: Sequence[Value], given: Any, indices: list[Any], scope: Indices) -> Piece:
        """Σ over the contracted axes of the product of two elements."""
        places: list[dict[int, Any]] = [{}, {}]
        left = iter(indices)
        for pair in zip(*given["batch"], strict=True):
            index = next(left)
            for side in (0, 1):
                places[side][pair[side]] = index
        bound = self.free(operands[0], scope, given["contract"][0])
        for side in (0, 1):
            places[side].update(zip(given["contract"][side], bound, strict=True))
            for axis in range(operands[side].type.ndim):
                if axis not in places[side]:
                    places[side][axis] = next(left)
        scope = (*scope, *bound)
        parts = [self.at(x, [places[s][a] for a in range(x.type.ndim)], scope) for s, x in enumerate(operands)]
        used = [index for index in bound if index is not None]
        return notation.over_indices("Σ", r"\sum", used, notation.multiply(*parts))

    def _softmax(self, callee: Any, operand: Value, indices: list[Any], scope: Indices) -> Piece:
        axis = softmax_axis(callee)
        bound = self.free(operand, scope, [axis])
        inside = self.at(operand, [*indices[:axis], *bound, *indices[axis + 1 :]], scope)
        used = [index for index in bound if index is not None]
        total = notation.over_indices("Σ", r"\sum", used, notation.applied("exp", [inside]))
        element = self.at(operand, indices, scope)
        if callee.name == "softmax":
            return notation.divide(notation.applied("exp", [element]), total)
        return notation.subtract(element, notation.applied("log", [total]))


def softmax_axis(callee: Any) -> int:
    """The axis along which a softmax or its logarithm sums."""
    (axis,) = next(node.attributes["axes"] for node in callee.nodes if node.op.name == "reduce_sum")
    return int(axis)


def _same_but_ones(operand: Value, value: Value, indices: list[Any]) -> list[Any] | None:
    """The operand's indices where a reshape adds or drops axes of size 1 only."""
    if [size for size in operand.dims if size != 1] != [size for size in value.dims if size != 1]:
        return None
    left = iter([index for index, size in zip(indices, value.dims, strict=True) if size != 1])
    return [None if size == 1 else next(left) for size in operand.dims]


def _moved(index: Any, start: Any, step: Any) -> Any:
    """The index of the whole axis for one of a part: start + step index."""
    if index is None:
        return None if start == 0 else notation.number(start)
    scaled = index if step == 1 else notation.multiply(notation.number(step), index)
    return scaled if start == 0 else notation.add(scaled, notation.number(start))


def _subscripted(made: Piece, indices: Indices) -> Piece:
    used = [index for index in indices if index is not None]
    if not used:
        return made
    texts, latex = "".join(index.text for index in used), "".join(index.latex for index in used)
    return Piece(f"{made.text}_{texts}", f"{made.latex}_{{{latex}}}")
