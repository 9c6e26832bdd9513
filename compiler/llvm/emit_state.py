"""`Writer`: one kernel function under construction, and what its names stand for at the place where code is written.

A scalar of the loop level is uniform (one LLVM scalar) or varies along the loop variable that is cut into vectors (one
LLVM vector).  Values that change in loops stand in stack slots; LLVM turns these into registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from adjit.compiler.llvm.emit_choice import Dependence
from adjit.compiler.llvm.sequences import splat, streaming_fence
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.compiler.loops.affine import Bounds
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, I64, U8, DType

# More bytes than the widest vector that is emitted: what a masked-off plain load reads.
ZEROS = "@adjit.zeros = internal constant [1024 x i8] zeroinitializer, align 64"


@frozen
class Register:
    """A scalar as it was emitted: its LLVM name, its type, and its value where that is a literal."""

    name: str
    type: LLType
    literal: float | int | bool | None = None

    @property
    def varies(self) -> bool:
        return self.type.lanes > 1


@frozen
class Uniform:
    """A variable with one value in all lanes: an i64."""

    name: str


@frozen
class Ramp:
    """A variable that is `base + l` in lane l; `base` is an i64, and a multiple of `multiple`."""

    base: str
    multiple: int = 1


@frozen
class Pattern:
    """A variable that is `base + offsets[l]` in lane l; `base` is an i64, and the offset of lane 0 is 0."""

    base: str
    offsets: tuple[int, ...]


@frozen
class Lanes:
    """A variable with any values in the lanes: a vector of i64."""

    name: str


Variable: TypeAlias = "Uniform | Ramp | Pattern | Lanes"
VARYING = (Ramp, Pattern, Lanes)
Rule: TypeAlias = "Callable[[Writer, Node], None]"


@frozen
class Slot:
    """A place on the stack that holds one value of `type`."""

    pointer: str
    type: LLType


@frozen
class StackPlace:
    """A buffer on the function's stack: `size` elements, and room for `room`, so that whole vectors fit."""

    pointer: str
    size: int
    room: int

    def holds(self, start: str, lanes: int) -> bool:
        """Whether vectors of `lanes` at this index are within the room."""
        return start.isdigit() and int(start) + lanes <= self.room

    def ends(self, start: str, count: int) -> bool:
        """Whether `count` elements from this index on are the last ones."""
        return start.isdigit() and int(start) + count == self.size


@record
class Frame:
    """A scope of the code being written: what was computed in it, and the line before which code outside it can go.

    `mark` is None where the code just before the scope may not run, or is not straight.
    """

    memo: dict[object, str]
    mark: int | None = None


@frozen
class Cluster:
    """Accesses to one buffer, `stride` elements from lane to lane; the place of each is less than that after `first`'s.

    `reach` is the greatest of these shifts.  Stores stand at all shifts, in order; `last` is the last in the code.
    """

    first: Size
    stride: int
    reach: int
    nodes: tuple[Node, ...]
    last: Node


@frozen
class Options:
    """How kernels are emitted: `lanes` forces vectors of that many elements (None: as the target has them)."""

    target: Target
    strict: bool = True
    lanes: int | None = None


class Writer:
    """Emission of one kernel function: its lines, and the registers, buffers and variables in scope."""

    def __init__(
        self,
        function: Function,
        options: Options,
        rules: Mapping[str, Rule],
        buffers: dict[Value, str],
        bounds: Bounds,
        dependence: Dependence,
    ) -> None:
        self.f = function
        self.options = options
        self.rules = rules
        self.buffers = buffers  # pointers to the first element
        self.bounds = bounds
        self.dependence = dependence
        self.entries: Mapping[Value, int] = {}  # of buffers in the program's table
        self.registers: dict[Value, Register] = {}
        self.variables: dict[str, Variable] = {}
        self.lanes = 1  # of the vectors in the present scope
        self.mask: str | None = None  # the lanes that exist; None: all
        self.sources: frozenset[Value] = frozenset()  # buffers that the function reads
        self.fixed: frozenset[Value] = frozenset()  # those of them that it does not write
        # Buffers (pointers) whose vectors go past the caches: all, or where a condition (i1) holds.
        self.streamed: Mapping[str, str | None] = {}
        self.streams = False  # whether any do
        self.decided: Mapping[tuple[Size, Size], bool] = {}  # bounds tests of which the answers are known here
        self.stack: Mapping[str, StackPlace] = {}  # buffers (pointers) on the function's own stack
        self.fetched: Mapping[Node, int] = {}  # loads that fetch ahead, and by how many elements
        self.clusters: Mapping[Node, tuple[Cluster, int]] = {}  # accesses that share vectors, and their places in them
        self._early: frozenset[Node] = frozenset()  # nodes that are computed further out
        self._body = function.lines
        self._every = self._frames = [Frame({})]
        self._depths: dict[str, int] = {}  # of variables: the frame that binds them
        self._faults: Slot | None = None
        self.stops = False  # whether the function returns that the program must stop
        self._positions: dict[Value, str] = {}

    @property
    def module(self) -> Module:
        return self.f.module

    def native_lanes(self, dtype: DType) -> int:
        """Lanes of one vector register of `dtype`, at most 64; the number that the options force, if they do."""
        return self.options.lanes or max(1, min(64, self.options.target.lanes(dtype)))

    def memory_of(self, buffer: Value) -> object:
        """What tells buffers apart: two may be one entry of the program's table."""
        return self.entries.get(buffer, buffer)

    # -- scopes -------------------------------------------------------------------------------------------------------
    @contextmanager
    def scope(self, mark: int | None = None) -> Iterator[None]:
        """What is computed inside is not known outside: the code may not run.

        `mark` is the line (of the function) of the branch into the scope, if the scope is the body of a loop.
        """
        self._frames.append(Frame({}, mark))
        try:
            yield
        finally:
            self._frames.pop()

    @contextmanager
    def vector(self, lanes: int, mask: str | None) -> Iterator[None]:
        """Code for `lanes` elements at once, of which those in `mask` exist."""
        before = self.lanes, self.mask
        self.lanes, self.mask = lanes, mask
        try:
            with self.scope():
                yield
        finally:
            self.lanes, self.mask = before

    @contextmanager
    def bound(self, variables: Mapping[str, Variable], mark: int | None = None) -> Iterator[None]:
        """Code in which variables have these values; `mark` as in `scope`."""
        before = {name: (self.variables.get(name), self._depths.get(name, 0)) for name in variables}
        self.variables.update(variables)
        self._depths.update(dict.fromkeys(variables, len(self._frames)))
        try:
            with self.scope(mark):
                yield
        finally:
            for name, (old, depth) in before.items():
                self._depths[name] = depth
                if old is None:
                    del self.variables[name]
                else:
                    self.variables[name] = old

    def depth(self, name: str) -> int:
        """The scope that binds a variable, counted from the function's own."""
        return self._depths.get(name, 0)

    def once(self, key: object, make: Callable[[], str]) -> str:
        """The name that `make` emitted under this key, here or in a scope around."""
        for frame in reversed(self._frames):
            if (found := frame.memo.get(key)) is not None:
                return found
        name = self._frames[-1].memo[key] = make()
        return name

    def hoisted(self, names: Iterable[str], key: object, make: Callable[[], str]) -> str:
        """The same for arithmetic on the variables `names`, which is put before all loops that bind none of them."""
        for frame in reversed(self._frames):
            if (found := frame.memo.get(key)) is not None:
                return found
        deepest = max((self._depths.get(name, 0) for name in names), default=0)
        depth = next((d for d in range(deepest, len(self._frames) - 1) if self._frames[d + 1].mark is not None), None)
        if depth is None:
            name = self._frames[-1].memo[key] = make()
            return name
        frames, lines = self._frames, self.f.lines
        self._frames, self.f.lines = frames[: depth + 1], []
        try:
            name = make()
            new = self.f.lines
        finally:
            self._frames, self.f.lines = frames, lines
        self._insert(frames[depth + 1].mark or 0, new)
        frames[depth].memo[key] = name
        return name

    def _insert(self, place: int, lines: Sequence[str]) -> None:
        """Put lines into the function before line `place`."""
        self._body[place:place] = lines
        for frame in self._every:
            if frame.mark is not None and frame.mark >= place:
                frame.mark += len(lines)

    def run(self, region: Region) -> None:
        """Emit the nodes of a region."""
        for node in region.nodes:
            self.emit_node(node)

    @contextmanager
    def without(self, early: Mapping[int, Iterable[Node]]) -> Iterator[None]:
        """Code around which the nodes `early` are computed already."""
        before = self._early
        self._early = before.union(*early.values())
        try:
            yield
        finally:
            self._early = before

    def emit_node(self, node: Node) -> None:
        """Emit one node, unless it is computed further out."""
        if node in self._early:
            return
        rule = self.rules.get(node.op.name)
        if rule is None and node.op.family != "scalar":
            raise CompileError(f"{node.op.name} is no op of the loop level")
        if self.module.debug is None:
            (rule or self.rules["scalar"])(self, node)
            return
        with self.f.at(node.location):
            (rule or self.rules["scalar"])(self, node)

    # -- registers ----------------------------------------------------------------------------------------------------
    def register(self, value: Value) -> Register:
        found = self.registers.get(value)
        if found is None:
            raise CompileError(f"{value!r} is used before its place in the kernel")
        return found

    def spread(self, register: Register, lanes: int | None = None) -> str:
        """The name of a register at `lanes` lanes (those of the scope if None): a uniform one is repeated."""
        lanes = self.lanes if lanes is None else lanes
        if register.type.lanes == lanes:
            return register.name
        if register.type.lanes != 1:
            raise CompileError(f"a scalar of {register.type.lanes} lanes is used at {lanes}")
        wide = LLType(register.type.dtype, lanes)
        if register.literal is not None:
            return wide.constant(register.literal)
        return self.once(("spread", register.name, lanes), lambda: splat(self.f, wide, register.name))

    # -- stack slots --------------------------------------------------------------------------------------------------
    def slot(self, type: LLType, count: int = 1) -> Slot:
        """Room on the stack for `count` values of `type`."""
        size = type.lanes * type.dtype.itemsize
        return Slot(self.room(type, count, min(64, 1 << max(0, size - 1).bit_length())), type)

    def room(self, type: LLType, count: int, align: int = 64) -> str:
        """The address of memory on the stack for `count` values of `type`."""
        name = self.f.reserve()
        many = type.llvm if count == 1 else f"[{count} x {type.llvm}]"
        self._insert(1, [f"  {name} = alloca {many}, align {align}"])
        return name

    def read(self, slot: Slot) -> str:
        return self.f.let(f"load {slot.type.llvm}, ptr {slot.pointer}")

    def write(self, slot: Slot, value: str) -> None:
        self.f.line(f"store {slot.type.llvm} {value}, ptr {slot.pointer}")

    # -- faults -------------------------------------------------------------------------------------------------------
    def fault(self, code: int, where: str, lanes: int) -> None:
        """Remember fault `code` if the bool(s) `where` hold in a lane that exists."""
        f = self.f
        if lanes > 1:
            if self.mask is not None and lanes == self.lanes:
                where = f.let(f"and <{lanes} x i1> {where}, {self.mask}")
            where = any_lane(f, lanes, where)
        if self._faults is None:
            self._faults = self.slot(LLType(I64))
            self._insert(2, [f"  store i64 0, ptr {self._faults.pointer}"])
        flags = f.let(f"select i1 {where}, i64 {code}, i64 0")
        self.write(self._faults, f.let(f"or i64 {self.read(self._faults)}, {flags}"))

    def flush_faults(self, *, stop: bool = False) -> None:
        """Tell the remembered faults to the status word, and, if `stop`, leave the function with `true` then."""
        f = self.f
        if self._faults is None:
            return
        flags = self.read(self._faults)
        bad, done = f.label("fault"), f.label("done")
        f.branch(f.let(f"icmp ne i64 {flags}, 0"), bad, done)
        f.start(bad)
        self._tell(flags)
        if stop:
            f.line("ret i1 true")
        else:
            f.jump(done)
        f.start(done)

    def _tell(self, flags: str) -> None:
        status = self.f.let("load ptr, ptr %buffers, align 8")
        self.f.line(f"atomicrmw or ptr {status}, i64 {flags} monotonic, align 8")

    @property
    def may_stop(self) -> bool:
        """Whether a fault may end the function at once: it says so to its caller, and no loop waits for its end."""
        return self.stops and len(self._frames) == 1

    def stop(self, code: int) -> None:
        """Leave the function with fault `code`."""
        self._tell(str(code) if self._faults is None else self.f.let(f"or i64 {self.read(self._faults)}, {code}"))
        self.f.line("ret i1 true")

    def finish(self) -> None:
        """Tell the faults, and return."""
        self.flush_faults()
        if self.streams:  # other threads see what went past the caches only after a fence
            streaming_fence(self.f)
        self.f.line("ret void")
        self.f.finish()

    # -- positions ----------------------------------------------------------------------------------------------------
    def position_name(self, value: Value) -> str:
        """The variable that stands for a dynamic position in index expressions."""
        name = self._positions.setdefault(value, f"@{len(self._positions)}")
        register = self.register(value)
        self.variables[name] = Lanes(register.name) if register.varies else Uniform(register.name)
        self._depths[name] = len(self._frames) - 1
        extent = value.node.attributes.get("extent") if value.node is not None else None
        if isinstance(extent, (int, Dim)):
            self.bounds.extents[name] = extent
        return name


def memory_type(type: LLType) -> LLType:
    """The type that stands in memory: a bool is a byte."""
    return type.with_dtype(U8) if type.dtype is BOOL else type


def size_of(attribute: object) -> Size:
    """An attribute that is a size."""
    assert isinstance(attribute, (int, Dim))
    return attribute
