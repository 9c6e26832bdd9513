"""`blocks`: a function that calls the parts of its statements for one block after another.

To the parts, the variables of the block are named sizes, and what they hand to each other stands in the workspace: each
task has tables of addresses and sizes of its own, on its stack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from adjit.compiler.llvm.emit import (
    FIRST,
    TASK_WORK,
    WORKSPACE,
    Part,
    Program,
    emit_parts,
    load_entry,
    open_function,
    used_buffers,
)
from adjit.compiler.llvm.emit_choice import Dependence, extents_of, variables_of
from adjit.compiler.llvm.emit_domain import split_flat
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_loops import total_of
from adjit.compiler.llvm.emit_state import Uniform, Writer, memory_type
from adjit.compiler.llvm.gemm_plan import round_up
from adjit.compiler.llvm.sequences import PARAMETERS, counted, offset
from adjit.compiler.llvm.text import LLType
from adjit.compiler.loops.ir import SCRATCH
from adjit.compiler.memory import LINE
from adjit.ir.graph import Node, Region, Value
from adjit.ir.types import I64


def emit_blocks(
    program: Program, name: str, nodes: Sequence[Node], table: Mapping[Value, int], dependence: Dependence
) -> Part:
    """`@name(buffers, sizes, begin, end)`: the tasks begin..end-1 of the last of `nodes`; the others are scalars."""
    *around, node = nodes
    (body,) = node.regions
    shared = [n.output for n in body.nodes if n.op is SCRATCH and n.attributes["shared"]]
    entries = used_buffers(nodes, table)
    inner_table = {value: FIRST + number for number, value in enumerate((*entries, *shared))}
    region = Region((), [*around, *(n for n in body.nodes if n.op is not SCRATCH or not n.attributes["shared"])])
    sizes = (*program.sizes, *variables_of(node))
    inner = Program(program.module, sizes, program.least, program.options)
    parts = emit_parts(inner, f"{name}.part", region, inner_table, dependence, node.location)
    places, used = _places(shared)
    own = max(part.workspace for part in parts if isinstance(part.workspace, int))
    slot = round_up(used + own + LINE, LINE)
    w = open_function(program, name, PARAMETERS, entries, dependence)
    tables = _tables(w, len(program.sizes), len(sizes), inner_table, places, used, slot)
    task = _Task(w, node, parts, tables, len(program.sizes))
    task.emit(program.tasks)
    w.finish()
    return Part(name, program.tasks, TASK_WORK, workspace=slot * program.tasks + LINE)


def _places(values: Sequence[Value]) -> tuple[dict[Value, int], int]:
    """Where values stand in a task's workspace, and the bytes of all."""
    places: dict[Value, int] = {}
    used = 0
    for value in values:
        size = value.type.size
        assert isinstance(size, int)
        places[value] = used
        used += round_up(size * memory_type(LLType(value.dtype)).dtype.itemsize, LINE)
    return places, used


def _tables(
    w: Writer, known: int, count: int, table: Mapping[Value, int], places: Mapping[Value, int], used: int, slot: int
) -> tuple[str, str]:
    """The tables that the parts are given: of addresses, and of `count` sizes, the first `known` of them filled in.

    `places` are the offsets of scratch memory in the task's part, of `slot` bytes, of the workspace; the parts' own
    begins after `used` bytes.
    """
    f = w.f
    buffers = w.room(LLType(I64), FIRST + len(table))
    sizes = w.room(LLType(I64), count)
    workspace = load_entry(f, "ptr", "%buffers", WORKSPACE)
    address = f.let(f"add i64 {f.let(f'ptrtoint ptr {workspace} to i64')}, {LINE - 1}")
    skipped = f.let(f"sub i64 {f.let(f'and i64 {address}, {-LINE}')}, {f.let(f'ptrtoint ptr {workspace} to i64')}")
    start = f.let(f"add i64 {skipped}, {f.let(f'mul nsw i64 %begin, {slot}')}")
    own = offset(f, "i8", workspace, start)
    pointers = [load_entry(f, "ptr", "%buffers", number) for number in range(FIRST)]
    pointers[WORKSPACE] = offset(f, "i8", own, used)
    pointers += [offset(f, "i8", own, places[v]) if v in places else w.buffers[v] for v in table]
    for number, pointer in enumerate(pointers):
        f.line(f"store ptr {pointer}, ptr {offset(f, 'ptr', buffers, number)}, align 8")
    for number in range(known):
        size = load_entry(f, "i64", "%sizes", number)
        f.line(f"store i64 {size}, ptr {offset(f, 'i64', sizes, number)}, align 8")
    return buffers, sizes


class _Task:
    """The loops over the blocks of tasks."""

    def __init__(self, w: Writer, node: Node, parts: Sequence[Part], tables: tuple[str, str], first: int) -> None:
        self.w, self.parts, self.tables, self.first = w, parts, tables, first
        self.pairs = tuple(zip(variables_of(node), extents_of(node), strict=True))
        self.independent = int(node.attributes["independent"])  # type: ignore[arg-type]

    def emit(self, tasks: int) -> None:
        """The blocks of the tasks begin..end-1 of `tasks`."""
        w, f = self.w, self.w.f
        apart, rest = self.pairs[: self.independent], self.pairs[self.independent :]
        total = total_of(w, tuple(extent for _, extent in apart))
        first, stop = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {at}, {total}')}, {tasks}") for at in ("%begin", "%end"))
        with counted(f, first, stop, 1) as flat, w.bound(split_flat(w, apart, flat)), ExitStack() as loops:
            for name, extent in rest:
                loops.enter_context(self._loop(name, uniform(w, extent)))
            self._run()

    @contextmanager
    def _loop(self, name: str, extent: str) -> Iterator[None]:
        with counted(self.w.f, "0", extent, 1) as i, self.w.bound({name: Uniform(i)}):
            yield

    def _run(self) -> None:
        """All parts for the block that the variables say."""
        w, f = self.w, self.w.f
        buffers, sizes = self.tables
        for number, (name, _) in enumerate(self.pairs):
            variable = w.variables[name]
            assert isinstance(variable, Uniform)
            f.line(f"store i64 {variable.name}, ptr {offset(f, 'i64', sizes, self.first + number)}, align 8")
        for part in self.parts:
            extent = "1" if part.tasks else uniform(w, part.extent)
            f.line(f"call void @{part.name}(ptr {buffers}, ptr {sizes}, i64 0, i64 {extent})")
