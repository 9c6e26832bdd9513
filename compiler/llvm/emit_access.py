"""Memory of the loop level: `load`, `store`, `update`, and the ops that say where: `position`, `index`, `inside`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from adjit.compiler.llvm.emit_choice import WIDEST_STRIDE, is_regular
from adjit.compiler.llvm.emit_index import (
    Place,
    fits,
    integer_type,
    is_varying,
    place,
    uniform,
    vector,
)
from adjit.compiler.llvm.emit_state import ZEROS, Cluster, Register, StackPlace, Writer, memory_type, size_of
from adjit.compiler.llvm.emit_stream import stream
from adjit.compiler.llvm.sequences import masked_load, masked_store, offset, splat
from adjit.compiler.llvm.text import LLType, literal
from adjit.compiler.llvm.vecmath_lanes import Lanes, any_lane
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.graph import Node, Value
from adjit.ir.shape import Dim, Size, substitute
from adjit.ir.types import BOOL, I64, DType
from adjit.runtime.faults import Fault

# The metadata of a branch whose second way is hardly ever taken.
_RARELY = '!779 = !{!"branch_weights", i32 1048576, i32 1}'


def emit_scratch(w: Writer, node: Node) -> None:
    """`scratch`: room on the stack."""
    size = node.output.type.size
    assert isinstance(size, int)
    type = memory_type(LLType(node.output.type.dtype))
    w.buffers[node.output] = w.room(type, size)


def emit_listed(w: Writer, node: Node) -> None:
    """`listed`: a constant of the module, one for all tables with these numbers."""
    values: Sequence[float | int | bool] = node.attributes["values"]  # type: ignore[assignment]
    type = memory_type(LLType(node.output.type.dtype))
    numbers = ", ".join(f"{type.llvm} {literal(type.dtype, value)}" for value in values)
    text = f"[{len(values)} x {type.llvm}] [{numbers}]"
    name = w.buffers[node.output] = f"@adjit.listed.{sha256(text.encode()).hexdigest()[:32]}"
    w.module.declare(f"{name} = internal constant {text}, align 64")


def emit_load(w: Writer, node: Node) -> None:
    """`load`: one element, `lanes` elements that follow each other, or a gather."""
    buffer, *rest = node.inputs
    dtype = buffer.type.dtype
    if node in w.clusters and w.lanes >= WIDEST_STRIDE:
        w.registers[node.output] = _from_memory(w, dtype, _load_among(w, node, *w.clusters[node]))
        return
    where, mask = _address(w, node, buffer, rest)
    if mask is not None and mask.literal is False:
        type = memory_type(LLType(dtype))
        w.registers[node.output] = _from_memory(w, dtype, Register(type.constant(0), type, 0))
        return
    pointer = w.buffers[buffer]
    if mask is None and buffer in w.fixed and _is_column(w, pointer, where):
        # Elements apart from each other at a place that no loop around moves: they are put together once.
        key = ("column", pointer, dtype, w.lanes, where)
        name = w.hoisted((), key, lambda: _load(w, pointer, dtype, where, None).name)
        found = Register(name, memory_type(LLType(dtype, w.lanes)))
    else:
        found = _load(w, pointer, dtype, where, mask, buffer.type.size if is_regular(node) else 0)
    w.registers[node.output] = _from_memory(w, dtype, found)
    if node in w.fetched and w.lanes > 1 and where.stride == 1 and not where.scattered:
        type = memory_type(LLType(dtype, w.lanes))
        from adjit.compiler.llvm.emit_prefetch import fetch_ahead

        fetch_ahead(w, buffer, type, offset(w.f, type.element, pointer, where.base), w.fetched[node])


def _is_column(w: Writer, pointer: str, where: Place) -> bool:
    """Whether a whole vector's elements stand at equal distances from a place that is a number."""
    apart = isinstance(where.stride, int) and where.stride not in (0, 1, -1)
    return apart and where.base.isdigit() and not where.scattered and w.mask is None and pointer not in w.stack


def emit_store(w: Writer, node: Node) -> None:
    """`store`: the counterpart of `load`; stores that share vectors are made with the last of them."""
    buffer, scalar, *rest = node.inputs
    if node in w.clusters and w.lanes >= WIDEST_STRIDE:
        cluster, _ = w.clusters[node]
        if node is cluster.last:
            _store_together(w, buffer, cluster)
        return
    where, mask = _address(w, node, buffer, rest)
    _store(w, w.buffers[buffer], _to_memory(w, w.register(scalar)), where, mask)


def _load_among(w: Writer, node: Node, cluster: Cluster, shift: int) -> Register:
    """A load that shares vectors with others, and means what stands `shift` after the first one's elements."""
    from adjit.compiler.llvm.emit_spaced import load_strided

    (buffer,) = node.inputs
    type = memory_type(LLType(buffer.type.dtype, w.lanes))
    base = uniform(w, cluster.first)
    name = load_strided(w, w.buffers[buffer], type, base, cluster.stride, w.mask, shift, cluster.reach)
    return Register(name, type)


def _store_together(w: Writer, buffer: Value, cluster: Cluster) -> None:
    """What all stores of a cluster say, as whole vectors."""
    from adjit.compiler.llvm.emit_spaced import store_side_by_side

    registers = [_to_memory(w, w.register(node.inputs[1])) for node in cluster.nodes]
    type = memory_type(LLType(buffer.type.dtype, w.lanes))
    values = [w.spread(register) for register in registers]
    store_side_by_side(w, w.buffers[buffer], type, values, uniform(w, cluster.first), w.mask)


def emit_update(w: Writer, node: Node) -> None:
    """`update`: load, combine, store.  Lanes of one vector never meet in an element: see `emit_choice`."""
    buffer, scalar, *rest = node.inputs
    where, mask = _address(w, node, buffer, rest)
    kind, dtype = str(node.attributes["kind"]), buffer.type.dtype
    register = w.register(scalar)
    if kind != "set":
        old = _from_memory(w, dtype, _load(w, w.buffers[buffer], dtype, where, mask))
        lanes = max(old.type.lanes, register.type.lanes)
        type = LLType(dtype, lanes)
        name = combine(w, kind, type, w.spread(old, lanes), w.spread(register, lanes))
        register = Register(name, type)
    _store(w, w.buffers[buffer], _to_memory(w, register), where, mask)


def combine(w: Writer, kind: str, type: LLType, left: str, right: str) -> str:
    """left (kind) right, of two registers of `type`: sum or add, prod or mul, max, min, any, all."""
    f, dtype = w.f, type.dtype
    if kind in ("any", "all") or dtype is BOOL:
        verb = "or" if kind in ("any", "max", "sum", "add") else "and"
        return f.let(f"{verb} {type.llvm} {left}, {right}")
    if kind in ("max", "min"):
        if dtype.is_float:
            from adjit.compiler.llvm.scalar_extreme import extreme

            return extreme(f, "maximum" if kind == "max" else "minimum", type, left, right)
        return f.intrinsic(f"{'u' if dtype.kind == 'uint' else 's'}{kind}", type, left, right)
    verb = "add" if kind in ("sum", "add") else "mul"
    # Partial results that stand in a fixed order must not be contracted into others.
    return f.let(f"{'f' if dtype.is_float else ''}{verb} {type.llvm} {left}, {right}")


def emit_position(w: Writer, node: Node) -> None:
    """`position`: the operand as i64 where it is in [0, extent), else a fault and 0."""
    f, operand = w.f, w.register(node.inputs[0])
    mask = w.register(node.inputs[1]) if node.attributes["masked"] else None
    lanes = max(operand.type.lanes, mask.type.lanes if mask else 1)
    type = LLType(I64, lanes)
    name = convert_integer(w, w.spread(operand, lanes), operand.type.dtype, type)
    certain = bool(node.attributes["certain"])
    if certain and lanes == 1:
        w.registers[node.output] = Register(name, type)
        return
    extent = uniform(w, size_of(node.attributes["extent"]))
    limit = splat(f, type, extent) if extent.startswith("%") else type.constant(int(extent))
    good = f.let(f"icmp ult {type.llvm} {name}, {limit}")  # lanes that do not exist may hold anything
    bools = LLType(BOOL, lanes)
    if lanes == 1 and mask is None:
        w.registers[node.output] = Register(_foretold(w, name, good), type)
        return
    if not certain:
        bad = f.let(f"xor {bools.llvm} {good}, {bools.constant(True)}")
        if mask is not None:
            bad = f.let(f"and {bools.llvm} {bad}, {w.spread(mask, lanes)}")
        w.fault(Fault.INDEX, bad, lanes)
    value = f.let(f"select {bools.llvm} {good}, {type.llvm} {name}, {type.llvm} {type.constant(0)}")
    w.registers[node.output] = Register(value, type)


def _foretold(w: Writer, name: str, good: str) -> str:
    """An i64 where the i1 `good` holds, else a fault: the function ends where it may, or 0 stands for it.

    The machine goes on as foretold, with the address at hand: what an element is added to may be that of a store before
    it, which is waited for if its address comes late.
    """
    f = w.f
    before, bad, after = f.block, f.label("bad"), f.label("good")
    f.module.declare(_RARELY)
    f.line(f"br i1 {good}, label %{after}, label %{bad}, !prof !779")
    f.start(bad)
    if w.may_stop:  # what comes after knows that the index is good
        w.stop(Fault.INDEX)
        f.start(after)
        return name
    w.fault(Fault.INDEX, "true", 1)
    f.jump(after)
    f.start(after)
    return f.let(f"phi i64 [ {name}, %{before} ], [ 0, %{bad} ]")


def convert_integer(w: Writer, name: str, dtype: DType, type: LLType) -> str:
    """An integer of `dtype` as the integer `type`: cut, or extended by its sign."""
    source = LLType(dtype, type.lanes)
    if dtype.bits == type.dtype.bits:
        return name
    verb = "trunc" if dtype.bits > type.dtype.bits else "zext" if dtype.kind in ("uint", "bool") else "sext"
    return w.f.let(f"{verb} {source.llvm} {name} to {type.llvm}")


def emit_index(w: Writer, node: Node) -> None:
    """`index`: the value of an index expression."""
    with _positions(w, node.inputs) as renamed:
        value = substitute(size_of(node.attributes["value"]), renamed)
        dtype = node.attributes["dtype"]
        assert isinstance(dtype, DType)
        if is_varying(w, value):
            bits = 32 if fits(w, value) else 64
            source, name = integer_type(w, bits), vector(w, value, bits)
        else:
            source, name = LLType(I64), uniform(w, value)
    type = LLType(dtype, source.lanes)
    if dtype.is_float:
        from adjit.compiler.llvm.scalar_cast import cast

        name = cast(Lanes(w.f, source, name), dtype).text
    else:
        name = convert_integer(w, name, source.dtype, type)
    w.registers[node.output] = Register(name, type)


def emit_inside(w: Writer, node: Node) -> None:
    """`inside`: one unsigned comparison for each pair, as no extent is negative."""
    f, total, lanes = w.f, "", 1
    with _positions(w, node.inputs) as renamed:
        pairs: tuple[tuple[Size, Size], ...] = node.attributes["of"]  # type: ignore[assignment]
        if any(w.decided.get(pair) is False for pair in pairs):
            type = LLType(BOOL)
            w.registers[node.output] = Register(type.constant(False), type, False)
            return
        for expression, extent in pairs:
            if (expression, extent) in w.decided:
                continue
            low, high = substitute(expression, renamed), substitute(extent, renamed)
            one, wide = _is_inside(w, low, high)
            if not total:
                total, lanes = one, wide
                continue
            if wide != lanes:
                both = LLType(BOOL, max(wide, lanes))
                total, one = (
                    x if have > 1 else splat(f, both, x) for x, have in ((total, lanes), (one, wide))
                )
                lanes = both.lanes
            total = f.let(f"and {LLType(BOOL, lanes).llvm} {total}, {one}")
    literal = None if total else True
    w.registers[node.output] = Register(total or "true", LLType(BOOL, lanes), literal)


def _is_inside(w: Writer, expression: Size, extent: Size) -> tuple[str, int]:
    if not is_varying(w, expression) and not is_varying(w, extent):
        return w.f.let(f"icmp ult i64 {uniform(w, expression)}, {uniform(w, extent)}"), 1
    bits = 32 if fits(w, expression) and fits(w, extent) else 64
    type = integer_type(w, bits)
    return w.f.let(f"icmp ult {type.llvm} {vector(w, expression, bits)}, {vector(w, extent, bits)}"), w.lanes


# -- addresses --------------------------------------------------------------------------------------------------------
@contextmanager
def _positions(w: Writer, values: Sequence[Value]) -> Iterator[dict[str, Size]]:
    """Names for `_0`, `_1`, ... that tell the positions of one node from those of another."""
    yield {f"_{number}": Dim.named(w.position_name(value)) for number, value in enumerate(values)}


def _address(w: Writer, node: Node, buffer: Value, rest: Sequence[Value]) -> tuple[Place, Register | None]:
    """Where an access goes, and the mask it stands under."""
    mask = None
    if node.attributes["masked"]:
        *rest, condition = rest
        mask = w.register(condition)
        mask = None if mask.literal is True else mask
    with _positions(w, rest) as renamed:
        at: tuple[Size, ...] = tuple(node.attributes["at"])  # type: ignore[arg-type]
        return place(w, substitute(address(buffer.type, at), renamed), repeating=node.op is LOAD), mask


def _load(
    w: Writer, pointer: str, dtype: DType, where: Place, mask: Register | None, size: Size = 0
) -> Register:
    """What stands at a place; lanes that stand apart are looked for near each other in memory of `size` elements."""
    scalar = memory_type(LLType(dtype))
    if not where.scattered and where.stride == 0:
        return _load_one(w, pointer, scalar, where.base, mask)
    type = LLType(scalar.dtype, w.lanes)
    lanes = _lane_mask(w, mask)
    on_stack = pointer in w.stack and where.base.isdigit() and mask is None
    if on_stack and isinstance(where.stride, int) and not where.scattered and where.repeat == 1 and where.stride != 1:
        return Register(_load_elements(w, w.stack[pointer], type, where.base, where.stride), type)
    if where.repeat > 1:
        from adjit.compiler.llvm.emit_spaced import load_repeated

        return Register(load_repeated(w, pointer, type, where, mask, lanes), type)
    if where.stride in (1, -1):
        return Register(_load_row(w, pointer, type, where, mask, lanes), type)
    if isinstance(where.stride, int) and 1 < where.stride <= WIDEST_STRIDE and w.lanes >= where.stride:
        from adjit.compiler.llvm.emit_spaced import load_strided

        return Register(load_strided(w, pointer, type, where.base, where.stride, lanes), type)
    if where.offsets and lanes is None and max(where.offsets) - min(where.offsets) < 2 * w.lanes:
        from adjit.compiler.llvm.emit_spaced import load_pattern

        return Register(load_pattern(w, pointer, type, where), type)
    from adjit.compiler.llvm.emit_near import load_near, may_be_near

    pointers = _pointers(w, pointer, type, where)
    if isinstance(size, int) and may_be_near(w, type, where, size):
        return Register(load_near(w, pointer, type, where, lanes, size, pointers), type)
    return Register(w.f.gather(type, pointers, lanes, type.constant(0)), type)


def _load_one(w: Writer, pointer: str, type: LLType, base: str, mask: Register | None) -> Register:
    """An element that all lanes share; where no lane may read, a zero is read in its place."""
    f = w.f
    at = offset(f, type.llvm, pointer, base)
    if mask is None:
        return Register(_plain_load(w, type, at), type)
    w.module.declare(ZEROS)
    condition = any_lane(f, mask.type.lanes, _lane_mask(w, mask) or "") if mask.varies else mask.name
    at = f.let(f"select i1 {condition}, ptr {at}, ptr @adjit.zeros")
    name = _plain_load(w, type, at)
    if not mask.varies:
        return Register(name, type)
    wide = LLType(type.dtype, mask.type.lanes)
    spread = w.spread(Register(name, type), wide.lanes)
    bools = LLType(BOOL, wide.lanes).llvm
    zero = wide.constant(0)
    return Register(f.let(f"select {bools} {mask.name}, {wide.llvm} {spread}, {wide.llvm} {zero}"), wide)


def _load_row(
    w: Writer, pointer: str, type: LLType, where: Place, mask: Register | None, lanes: str | None
) -> str:
    """Elements that follow each other, forwards or backwards."""
    f = w.f
    backward = where.stride == -1
    base = f.let(f"sub nsw i64 {where.base}, {type.lanes - 1}") if backward else where.base
    at = offset(f, type.element, pointer, base)
    if lanes is None or (mask is None and pointer in w.stack and w.stack[pointer].holds(base, type.lanes)):
        name = _plain_load(w, type, at)
    elif w.mask is None and mask is not None and not mask.varies:
        w.module.declare(ZEROS)
        name = _plain_load(w, type, f.let(f"select i1 {mask.name}, ptr {at}, ptr @adjit.zeros"))
    else:
        if backward:
            lanes = reverse(w, LLType(BOOL, type.lanes), lanes)
        name = masked_load(f, type, at, lanes, type.constant(0))
    return reverse(w, type, name) if backward else name


def _load_elements(w: Writer, place: StackPlace, type: LLType, base: str, stride: int) -> str:
    """Elements at equal distances on the stack, one by one: LLVM makes registers of memory that is read so."""
    f, name = w.f, type.constant(0)
    for lane in range(type.lanes):
        at = int(base) + lane * stride
        if 0 <= at < place.size:
            element = _plain_load(w, LLType(type.dtype), offset(f, type.element, place.pointer, str(at)))
            name = f.let(f"insertelement {type.llvm} {name}, {type.element} {element}, i32 {lane}")
    return name


def reverse(w: Writer, type: LLType, name: str) -> str:
    """A vector with its lanes in reversed order."""
    return w.f.shuffle(type, range(type.lanes)[::-1], name)


def _plain_load(w: Writer, type: LLType, at: str) -> str:
    return w.f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")


def _store(w: Writer, pointer: str, register: Register, where: Place, mask: Register | None) -> None:
    f = w.f
    scalar = LLType(register.type.dtype)
    if not where.scattered and where.stride == 0:
        _store_one(w, pointer, register, where.base, mask)
        return
    type = LLType(scalar.dtype, w.lanes)
    value, lanes = w.spread(register), _lane_mask(w, mask)
    if where.stride in (1, -1):
        backward = where.stride == -1
        base = f.let(f"sub nsw i64 {where.base}, {type.lanes - 1}") if backward else where.base
        at = offset(f, type.element, pointer, base)
        if backward:
            value = reverse(w, type, value)
            lanes = reverse(w, LLType(BOOL, type.lanes), lanes) if lanes else None
        if lanes is None and pointer in w.streamed and not backward:
            stream(w, type, value, at, w.streamed[pointer])
        elif lanes is None:
            f.line(f"store {type.llvm} {value}, ptr {at}, align {scalar.dtype.itemsize}")
        elif mask is None and not backward and pointer in w.stack and lanes.startswith("<"):
            _store_on_stack(w, w.stack[pointer], Register(value, type), base, lanes.count("true"))
        else:
            masked_store(f, type, value, at, lanes)
        return
    if isinstance(where.stride, int) and 1 < where.stride <= WIDEST_STRIDE and w.lanes >= where.stride:
        from adjit.compiler.llvm.emit_spaced import store_strided

        store_strided(w, pointer, type, value, where.base, where.stride, lanes)
        return
    pointers = _pointers(w, pointer, type, where)
    name = f"@llvm.masked.scatter.{type.suffix}.v{w.lanes}p0"
    ptrs, bools = f"<{w.lanes} x ptr>", f"<{w.lanes} x i1>"
    w.module.declare(f"declare void {name}({type.llvm}, {ptrs}, i32, {bools})")
    operands = f"{type.llvm} {value}, {ptrs} {pointers}, i32 {scalar.dtype.itemsize}, {bools}"
    f.line(f"call void {name}({operands} {lanes or 'splat (i1 true)'})")


def _store_on_stack(w: Writer, place: StackPlace, register: Register, base: str, count: int) -> None:
    """The first `count` lanes of a vector, by plain stores: LLVM makes registers of memory that sees no others."""
    f, type = w.f, register.type
    if place.holds(base, type.lanes) and place.ends(base, count):
        at = offset(f, type.element, place.pointer, base)
        f.line(f"store {type.llvm} {register.name}, ptr {at}, align {type.dtype.itemsize}")
        return
    for lane in range(count):
        element = f.let(f"extractelement {type.llvm} {register.name}, i32 {lane}")
        at = offset(f, type.element, offset(f, type.element, place.pointer, base), str(lane))
        f.line(f"store {type.element} {element}, ptr {at}, align {type.dtype.itemsize}")


def _store_one(w: Writer, pointer: str, register: Register, base: str, mask: Register | None) -> None:
    f, type = w.f, register.type
    at = offset(f, type.element, pointer, base)
    if mask is None:
        f.line(f"store {type.llvm} {register.name}, ptr {at}, align {type.dtype.itemsize}")
        return
    then, after = f.label("store"), f.label("stored")
    f.branch(mask.name, then, after)
    f.start(then)
    f.line(f"store {type.llvm} {register.name}, ptr {at}, align {type.dtype.itemsize}")
    f.jump(after)
    f.start(after)


def _pointers(w: Writer, pointer: str, type: LLType, where: Place) -> str:
    """The addresses of the lanes."""
    f = w.f
    if where.scattered:
        index = f"<{w.lanes} x i{where.bits}> {where.scattered}"
        return f.let(f"getelementptr {type.element}, ptr {pointer}, {index}")
    base = offset(f, type.element, pointer, where.base)
    numbers = LLType(I64, w.lanes)
    if isinstance(where.stride, int):
        steps = numbers.numbers(where.stride)
    else:
        stride = w.once(("stride", where.stride, w.lanes), lambda: splat(f, numbers, str(where.stride)))
        steps = f.let(f"mul nsw {numbers.llvm} {stride}, {numbers.numbers()}")
    return f.let(f"getelementptr {type.element}, ptr {base}, {numbers.llvm} {steps}")


def _lane_mask(w: Writer, mask: Register | None) -> str | None:
    """The lanes that exist and for which the access's own mask holds; None: all."""
    if mask is None:
        return w.mask
    own = w.spread(mask)
    if w.mask is None:
        return own
    return w.once(("both", own, w.mask), lambda: w.f.let(f"and <{w.lanes} x i1> {own}, {w.mask}"))


def _from_memory(w: Writer, dtype: DType, register: Register) -> Register:
    """What was read, as it stands in registers: a byte of a bool becomes a bit."""
    if dtype is not BOOL:
        return register
    bits = LLType(BOOL, register.type.lanes)
    return Register(w.f.let(f"icmp ne {register.type.llvm} {register.name}, {register.type.constant(0)}"), bits)


def _to_memory(w: Writer, register: Register) -> Register:
    """A register as it stands in memory: a bool is widened to a byte."""
    if register.type.dtype is not BOOL:
        return register
    wide = memory_type(register.type)
    return Register(w.f.let(f"zext {register.type.llvm} {register.name} to {wide.llvm}"), wide)
