"""Straight-line kernels: scalars that are loaded from fixed places, computed and stored at fixed places, without loops.

Scalars of one form are computed together in the lanes of vectors: thirty sines of thirty unknowns take four calls of a
sine of eight lanes.  Two scalars have one form if their operations, and those of their operands in turn, are the same;
an expensive function has one form wherever as many expensive functions lie before it, whatever its operand is.
Scalars of one form never depend on each other, and forms in the order of `_Forms.rank` never on later ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.compiler.llvm.emit_choice import HEAVY
from adjit.compiler.llvm.emit_loops import fused_side, fused_sum, is_fused_product, operands_of
from adjit.compiler.llvm.emit_state import Register, Writer
from adjit.compiler.llvm.sequences import masked_load, masked_store, offset
from adjit.compiler.llvm.text import LLType, literal
from adjit.compiler.loops.ir import LOAD, STORE, address
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.types import BOOL

# Scalars below which a kernel is not worth looking at as a whole.
_FEWEST = 8
# Instructions that an expensive function takes.
_HEAVY_COST = 20
_COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "and", "or", "xor", "eq"})


def is_straight(region: Region, table: Mapping[Value, int]) -> bool:
    """Whether a kernel has no loops, and reads nothing that it writes."""
    nodes = region.nodes
    if len(nodes) < _FEWEST or not all(map(_is_straight, nodes)):
        return False
    stored = [(table[node.inputs[0]], _position(node)) for node in nodes if node.op is STORE]
    written = {slot for slot, _ in stored}
    return len({*stored}) == len(stored) and all(
        table[node.inputs[0]] not in written for node in nodes if node.op is LOAD
    )


def _is_straight(node: Node) -> bool:
    if node.op in (LOAD, STORE):
        fixed = not node.attributes["masked"] and len(node.inputs) == (1 if node.op is LOAD else 2)
        return fixed and isinstance(address(node.inputs[0].type, _at(node)), int)
    return not node.regions and (node.op.name == "const" or node.op.family == "scalar") and not node.output.dims


def _at(node: Node) -> Sequence[int]:
    found: Sequence[int] = node.attributes["at"]  # type: ignore[assignment]
    return found


def _position(node: Node) -> int:
    found = address(node.inputs[0].type, _at(node))
    assert isinstance(found, int)
    return found


def emit_straight(w: Writer, region: Region, table: Mapping[Value, int]) -> None:
    """All statements of a straight-line kernel."""
    packer = _Packer(w, table)
    for members in _in_forms(w, region):
        packer.emit(members)
    packer.store([node for node in region.nodes if node.op is STORE])


# -- forms ------------------------------------------------------------------------------------------------------------
Rank = tuple[int, int, int]


class _Forms:
    """The form of each scalar: a number, and a rank: expensive functions before it, then steps since the last one."""

    def __init__(self, w: Writer) -> None:
        self._w = w
        self._numbers: dict[object, int] = {}
        self.form: dict[Value, int] = {}
        self.rank: dict[Value, Rank] = {}

    def add(self, node: Node) -> None:
        value, dtype = node.output, node.output.type.dtype
        operands = self.operands(node)
        ranks = [self.rank[operand] for operand in operands if operand in self.rank]
        depth, _, height = max(ranks, default=(0, 0, 0))
        key: object
        if node.op is LOAD or node.op.name == "const":
            rank, key = (0, 0, 0), (node.op.name, dtype)
        elif node.op.name in HEAVY:
            rank = (depth + 1, 0, 0)
            key = (node.op.name, dtype, _attributes(node), depth)
        else:
            rank = (depth, 1, height + 1)
            forms = (self.form[operand] for operand in operands)
            key = (node.op.name, dtype, _attributes(node), fused_side(self._w, node), *forms)
        self.rank[value] = rank
        self.form[value] = self._numbers.setdefault(key, len(self._numbers))

    def operands(self, node: Node) -> list[Value]:
        """What a scalar is computed from; operands that may change places stand in the order of their forms."""
        if node.op is LOAD:
            return []
        operands = list(operands_of(self._w, node))
        if node.op.name in _COMMUTATIVE and len(operands) == 2:
            operands.sort(key=self.form.__getitem__)
        return operands


def _attributes(node: Node) -> tuple[tuple[str, object], ...]:
    return tuple(sorted((name, repr(item)) for name, item in node.attributes.items()))


@frozen
class _Member:
    """A scalar with its operands in the order in which it is computed."""

    node: Node
    operands: tuple[Value, ...]


def _in_forms(w: Writer, region: Region) -> list[list[_Member]]:
    """The scalars of a kernel, by form, every form after those that it reads."""
    forms = _Forms(w)
    groups: dict[int, list[Node]] = {}
    for node in region.nodes:
        if node.op is not STORE and not is_fused_product(w, node):
            forms.add(node)
            groups.setdefault(forms.form[node.output], []).append(node)
    place: dict[Value, tuple[int, int]] = {}
    found = []
    for number, nodes in enumerate(sorted(groups.values(), key=lambda nodes: forms.rank[nodes[0].output])):
        members = [_Member(node, tuple(forms.operands(node))) for node in nodes]
        if nodes[0].op is LOAD:
            buffers = {value: k for k, value in enumerate(region.inputs)}
            members.sort(key=lambda member: (buffers[member.node.inputs[0]], _position(member.node)))
        else:  # lane by lane as the operands stand, so that they need not be moved
            members.sort(key=lambda member: [place[operand] for operand in member.operands])
        place.update({member.node.output: (number, k) for k, member in enumerate(members)})
        found.append(members)
    return found


# -- emission ---------------------------------------------------------------------------------------------------------
@frozen
class _Lane:
    """Where a packed scalar is: a vector's name, how many lanes it has, and which of them."""

    vector: str
    lanes: int
    lane: int


class _Packer:
    """Emission of forms, each as vectors where that takes fewer instructions."""

    def __init__(self, w: Writer, table: Mapping[Value, int]) -> None:
        self.w, self.f, self.table = w, w.f, table
        self.packed: dict[Value, _Lane] = {}

    def emit(self, members: Sequence[_Member]) -> None:
        """All scalars of one form."""
        first = members[0].node
        if first.op is LOAD:
            self._load(members)
            return
        lanes = 1 if first.op.name == "const" else self._lanes(first)
        for start in range(0, len(members), lanes):
            some = members[start : start + lanes]
            if len(some) > 1 and self._pays(some, lanes):
                self._emit_vector(some, lanes)
            else:
                for member in some:
                    for operand in member.operands:
                        self._scalar(operand)
                    self.w.emit_node(member.node)

    def _lanes(self, node: Node) -> int:
        """Lanes of the widest operand's registers."""
        return min(self.w.native_lanes(value.type.dtype) for value in (*node.inputs, node.output)
                   if value.type.dtype is not BOOL or value is node.output)  # fmt: skip

    def _pays(self, members: Sequence[_Member], lanes: int) -> bool:
        """Whether one vector instruction, with what brings its operands together, is cheaper than scalars."""
        cost = _HEAVY_COST if members[0].node.op.name in HEAVY else 1
        taken = sum(operand in self.packed for member in members for operand in member.operands)
        columns = zip(*(member.operands for member in members), strict=True)
        gathered = sum(self._gather_cost(column, lanes) for column in columns)
        return cost + gathered < cost * len(members) + taken

    # -- operands -----------------------------------------------------------------------------------------------------
    def _scalar(self, value: Value) -> Register:
        """A scalar by itself."""
        if value not in self.w.registers:
            at = self.packed[value]
            type = LLType(value.type.dtype)
            name = self.f.let(f"extractelement {LLType(type.dtype, at.lanes).llvm} {at.vector}, i32 {at.lane}")
            self.w.registers[value] = Register(name, type)
        return self.w.registers[value]

    def _sources(self, values: Sequence[Value], lanes: int) -> dict[str, None] | None:
        """The vectors, of as many lanes, that all values stand in; None where one does not."""
        found: dict[str, None] = {}
        for value in values:
            at = self.packed.get(value)
            if at is None or at.lanes != lanes:
                return None
            found[at.vector] = None
        return found

    def _gather_cost(self, values: Sequence[Value], lanes: int) -> int:
        if len({*values}) == 1 or all(self._literal(value) is not None for value in values):
            return 0
        sources = self._sources(values, lanes)
        if sources is None or len(sources) > 2:
            return 2 * len(values)
        return 0 if self._stands(values) else 2

    def _stands(self, values: Sequence[Value]) -> bool:
        """Whether values of one vector are its lanes from the first on."""
        return all(self.packed[value].lane == lane for lane, value in enumerate(values)) and (
            len({self.packed[value].vector for value in values}) == 1
        )

    def _literal(self, value: Value) -> float | int | bool | None:
        register = self.w.registers.get(value)
        return None if register is None else register.literal

    def _gathered(self, values: Sequence[Value], lanes: int) -> Register:
        """Values as the lanes of a vector; lanes beyond them repeat the last, or hold what is there."""
        f = self.f
        type = LLType(values[0].type.dtype, lanes)
        if len({*values}) == 1:
            return self._scalar(values[0])
        literals = [self._literal(value) for value in values]
        sources = self._sources(values, lanes)
        if sources is not None and len(sources) <= 2:
            if self._stands(values):
                return Register(next(iter(sources)), type)
            one, other = [*sources, "poison"][:2]
            numbers = [self.packed[v].lane + lanes * (self.packed[v].vector != one) for v in values]
            numbers += numbers[-1:] * (lanes - len(numbers))
            return Register(f.shuffle(type, numbers, one, other), type)
        texts = ["poison" if item is None else literal(type.dtype, item) for item in literals]
        texts += texts[-1:] * (lanes - len(texts))
        name = f"<{', '.join(f'{type.element} {text}' for text in texts)}>"
        repeated = [*values, *[values[-1]] * (lanes - len(values))]
        for lane, value in enumerate(repeated):
            if texts[lane] == "poison":
                name = f.let(f"insertelement {type.llvm} {name}, {type.element} {self._scalar(value).name}, i32 {lane}")
        return Register(name, type)

    # -- vectors ------------------------------------------------------------------------------------------------------
    def _emit_vector(self, members: Sequence[_Member], lanes: int) -> None:
        """The scalars of one form as one vector, by a node that stands for them all."""
        w, first = self.w, members[0].node
        columns = [*zip(*(member.operands for member in members), strict=True)]
        operands = [Value(column[0].type) for column in columns]
        for operand, column in zip(operands, columns, strict=True):
            w.registers[operand] = self._gathered(column, lanes)
        index = fused_side(w, first)
        with w.vector(lanes, None), w.f.at(first.location):
            if index is not None:
                found = fused_sum(w, first, index, [w.register(operand) for operand in operands])
            else:
                whole = Node(first.op, operands, first.attributes, [first.output.type], first.location)
                w.emit_node(whole)
                found = w.register(whole.output)
        for lane, member in enumerate(members):
            if found.varies:
                self.packed[member.node.output] = _Lane(found.name, lanes, lane)
            else:
                w.registers[member.node.output] = found

    # -- memory -------------------------------------------------------------------------------------------------------
    def _load(self, members: Sequence[_Member]) -> None:
        for run in _runs([member.node for member in members]):
            dtype = run[0].output.type.dtype
            lanes = self.w.native_lanes(dtype)
            for start in range(0, len(run), lanes):
                some = run[start : start + lanes]
                partly = len(some) < lanes and self._on_stack(some[0])
                if dtype is BOOL or lanes == 1 or len(some) < min(4, lanes) or partly:
                    for node in some:
                        self.w.emit_node(node)
                    continue
                type, place = LLType(dtype, lanes), self._place(some[0])
                if len(some) == lanes:
                    name = self.f.let(f"load {type.llvm}, ptr {place}, align {dtype.itemsize}")
                else:  # lanes beyond the last hold what arithmetic does not mind
                    name = masked_load(self.f, type, place, _first(len(some), lanes), type.constant(1))
                self.packed.update({node.output: _Lane(name, lanes, lane) for lane, node in enumerate(some)})

    def _on_stack(self, node: Node) -> bool:
        """Whether a load or store goes to the function's own stack, where elements may become registers."""
        return self.w.buffers[node.inputs[0]] in self.w.stack

    def _place(self, node: Node) -> str:
        type = LLType(node.inputs[0].type.dtype)
        return offset(self.f, type.element, self.w.buffers[node.inputs[0]], _position(node))

    def store(self, nodes: Sequence[Node]) -> None:
        """All stores; vectors where packed scalars go to places that follow each other."""
        ordered = sorted(nodes, key=lambda node: (self.table[node.inputs[0]], _position(node)))
        for run in _runs(ordered):
            while run:
                count = self._together(run)
                if count and (count == self.packed[run[0].inputs[1]].lanes or not self._on_stack(run[0])):
                    at, type = self.packed[run[0].inputs[1]], run[0].inputs[1].type
                    wide, place = LLType(type.dtype, at.lanes), self._place(run[0])
                    if count == at.lanes:
                        self.f.line(f"store {wide.llvm} {at.vector}, ptr {place}, align {type.dtype.itemsize}")
                    else:
                        masked_store(self.f, wide, at.vector, place, _first(count, at.lanes))
                else:
                    for node in run[: max(1, count)]:
                        self._scalar(node.inputs[1])
                        self.w.emit_node(node)
                run = run[max(1, count) :]

    def _together(self, run: Sequence[Node]) -> int:
        """How many of a run's first values are the first lanes of one vector; 0 where storing it so does not pay."""
        count, vector = 0, ""
        for node in run:
            at = self.packed.get(node.inputs[1])
            if at is None or at.lane != count or (count and at.vector != vector) or node.inputs[1].type.dtype is BOOL:
                break
            count, vector = count + 1, at.vector
        return count if count > 2 else 0


def _runs(nodes: Sequence[Node]) -> list[list[Node]]:
    """Loads or stores in order, cut where a place does not follow the one before."""
    found: list[list[Node]] = []
    for node in nodes:
        last = found[-1][-1] if found else None
        if last is not None and last.inputs[0] is node.inputs[0] and _position(node) == _position(last) + 1:
            found[-1].append(node)
        else:
            found.append([node])
    return found


def _first(count: int, lanes: int) -> str:
    """The mask of the first lanes."""
    return f"<{', '.join(f'i1 {str(lane < count).lower()}' for lane in range(lanes))}>"
