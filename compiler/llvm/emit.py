"""Kernels as LLVM functions: each statement of a kernel becomes a part, `void (buffers, sizes, begin, end)`.

`buffers` points to the table of addresses: the status word, the workspace, the arena, then the program's buffers;
`sizes` to the named sizes.  A part runs the iterations begin..end-1 of its outermost parallel loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from adjit.compiler.in_place import copied
from adjit.compiler.llvm.emit_access import (
    emit_index,
    emit_inside,
    emit_listed,
    emit_load,
    emit_position,
    emit_scratch,
    emit_store,
    emit_update,
)
from adjit.compiler.llvm.emit_choice import HEAVY, Dependence, blocks_of, extents_of, has_partials
from adjit.compiler.llvm.emit_loops import emit_const, emit_scalar
from adjit.compiler.llvm.emit_nest import emit_nest
from adjit.compiler.llvm.emit_state import Options, Rule, Uniform, Writer, size_of
from adjit.compiler.llvm.sequences import PARAMETERS
from adjit.compiler.llvm.text import Function, Module
from adjit.compiler.loops.affine import Bounds
from adjit.compiler.loops.ir import (
    BLOCK,
    BLOCKS,
    CONTRACT,
    FOR,
    LOAD,
    MATRICES,
    PARTIAL,
    POSITION,
    REDUCE,
    SORT_ROWS,
    STORE,
    TRANSFORM,
    UPDATE,
    used_values,
)
from adjit.compiler.loops.kinds import LAPACK_PREFIX
from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen
from adjit.ir.graph import Location, Node, Region, Value
from adjit.ir.shape import Size, product

STATUS, WORKSPACE, ARENA, FIRST = 0, 1, 2, 3
STATEMENTS = (BLOCKS, FOR, STORE, UPDATE, CONTRACT, MATRICES, SORT_ROWS, TRANSFORM)


def _emit_reduce(w: Writer, node: Node) -> None:
    from adjit.compiler.llvm.emit_reduce import emit_reduce  # which not every program needs

    emit_reduce(w, node)


def _emit_random_word(w: Writer, node: Node) -> None:
    from adjit.compiler.llvm.emit_random import emit_random_word  # nor this

    emit_random_word(w, node)


RULES: Mapping[str, Rule] = {
    "for": emit_nest, "load": emit_load, "store": emit_store, "update": emit_update, "index": emit_index,
    "inside": emit_inside, "position": emit_position, "reduce": _emit_reduce, "scratch": emit_scratch,
    "listed": emit_listed, "const": emit_const, "scalar": emit_scalar, "random_word": _emit_random_word,
}  # fmt: skip
# The unit of work is the time of one element of a cheap vector operation, some 1/64 ns; memory takes longer.
_MEMORY_WORK, _HEAVY_WORK, _SORT_WORK, _MATRIX_WORK, _KERNEL_WORK = 16, 8, 1024, 512, 300
# Work units worth a thread of its own: some 15 microseconds.
GRAIN = 1_000_000
# Tasks that were counted by their work are each worth a thread.
TASK_WORK = 1 << 40


@frozen
class Part:
    """A function that computes a statement of a kernel.

    It takes `extent` iterations, each of `work` units; where `tasks` is set, that function tells the extent.
    `workspace` is the bytes of scratch memory it needs.
    """

    name: str
    extent: Size
    work: Size
    tasks: str = ""
    workspace: Size = 0

    def is_whole(self, threads: int) -> bool:
        """Whether one call takes all iterations, in whatever way it is run."""
        if threads == 1 or self.tasks:
            return threads == 1
        if isinstance(self.extent, int) and isinstance(self.work, int):
            return self.extent == 1 or self.extent * self.work < 2 * GRAIN
        return False


@frozen
class Program:
    """What all kernels of a program share: its module, the order of the named sizes, their least values."""

    module: Module
    sizes: tuple[str, ...]
    least: Mapping[str, int]
    options: Options
    tasks: int = 1


def emit_kernel(program: Program, name: str, kernel: Node, slots: Sequence[int]) -> list[Part]:
    """The parts of a `kernel` node, to be run in order; `slots` are the table entries of its region's inputs."""
    (region,) = kernel.regions
    table = dict(zip(region.inputs, slots, strict=True))
    dependence = Dependence(region)
    if _is_straight(region, table):
        with program.module.at(kernel.location, name):
            return [_emit_straight(program, name, region, table, dependence)]
    return emit_parts(program, name, region, table, dependence, kernel.location)


def emit_parts(
    program: Program,
    name: str,
    region: Region,
    table: Mapping[Value, int],
    dependence: Dependence,
    location: Location,
) -> list[Part]:
    """The parts of the statements of a region, in order."""
    parts: list[Part] = []
    for number, nodes in enumerate(split(region, table)):
        last = nodes[-1]
        own = name if number == 0 else f"{name}.{number}"
        with program.module.at(last.location if last.location.line else location, own):
            if last.op is CONTRACT:
                parts += _emit_contract(program, own, last, table, dependence)
            elif last.op is BLOCKS:
                from adjit.compiler.llvm.emit_blocks import emit_blocks

                parts.append(emit_blocks(program, own, nodes, table, dependence))
            else:
                parts.append(_emit_part(program, own, nodes, table, dependence))
    return parts


def inline_kernel(
    program: Program, outer: Writer, kernel: Node, slots: Sequence[int], places: Mapping[int, str]
) -> None:
    """A kernel's code where `outer` stands; `places` are the addresses of its table entries.

    A fault ends the function around it, which returns whether the program must stop.
    """
    (region,) = kernel.regions
    table = dict(zip(region.inputs, slots, strict=True))
    dependence = Dependence(region)
    straight = _is_straight(region, table)
    if straight:
        from adjit.compiler.llvm.emit_straight import emit_straight

        w = inlined_writer(program, outer, region.nodes, used_buffers(region.nodes, table), places, dependence)
        emit_straight(w, region, table)
        w.flush_faults(stop=True)
        return
    for nodes in split(region, table):
        inline_nodes(program, outer, nodes, used_buffers(nodes, table), places, dependence)


def inline_nodes(
    program: Program,
    outer: Writer,
    nodes: Sequence[Node],
    entries: dict[Value, int],
    places: Mapping[int, str],
    dependence: Dependence,
) -> None:
    """The code of nodes where `outer` stands, as in `inlined_writer`; a fault ends the function around it."""
    w = inlined_writer(program, outer, nodes, entries, places, dependence)
    for node in nodes:
        w.emit_node(node)
    w.flush_faults(stop=True)


def inlined_writer(
    program: Program,
    outer: Writer,
    nodes: Sequence[Node],
    entries: dict[Value, int],
    places: Mapping[int, str],
    dependence: Dependence,
) -> Writer:
    """A writer of nodes where `outer` stands; `entries` are their buffers', and `places` these entries' addresses."""
    buffers = {value: places[slot] for value, slot in entries.items()}
    w = Writer(outer.f, program.options, RULES, buffers, Bounds(program.least), dependence)
    w.entries, w.stops = entries, True
    w.variables.update(outer.variables)
    w.stack = outer.stack
    _note_buffers(w, nodes)
    return w


def work_of(kernel: Node) -> Size:
    """The units of work (see `Part`) of all statements of a kernel."""
    return _work(kernel.regions[0])


def split(region: Region, table: Mapping[Value, int]) -> list[list[Node]]:
    """The nodes of each statement: the scalars it needs, then itself.

    Scalars that several statements need are computed again; where these read what the kernel writes, so that the
    moment of reading matters, all statements stay together.  Two buffers may have one entry in the table: a result that
    is computed in the place of an operand.  Positions that no statement uses, in axes of one element, are checked with
    the first.
    """
    statements = [node for node in region.nodes if node.op in STATEMENTS and not is_idle(node, table)]
    groups = [_needed(region, statement) for statement in statements]
    needed = _all_needed(groups)
    checks = [node for node in region.nodes if node.op is POSITION and node not in needed]
    if checks and statements:
        groups[0] = _needed(region, statements[0], checks)
    if len(statements) == 1:
        return groups
    written = {table.get(buffer, buffer) for node in region.walk() for buffer in written_buffers(node)}
    for group in groups:
        for node in group[:-1]:
            if any(table.get(value, value) in written for value in _reads(node)):
                return [[node for node in region.nodes if node in _all_needed(groups)]]
    return groups


def is_idle(node: Node, table: Mapping[Value, int]) -> bool:
    """Whether a statement copies a buffer to itself: a result that stands where the operand was."""
    found = copied(node)
    return found is not None and found[0] in table and table[found[0]] == table[found[1]]


def _all_needed(groups: Iterable[Iterable[Node]]) -> set[Node]:
    return {node for group in groups for node in group}


def _needed(region: Region, statement: Node, checks: Sequence[Node] = ()) -> list[Node]:
    """The scalars outside that a statement and `checks` use, directly or not, in order, and the statement."""
    wanted = set(used_values(statement)).union(*(node.outputs for node in checks))
    found = [statement]
    for node in reversed(region.nodes):
        if node.op not in STATEMENTS and not wanted.isdisjoint(node.outputs):
            found.append(node)
            wanted.update(used_values(node))
    return found[::-1]


def _note_buffers(w: Writer, nodes: Iterable[Node]) -> None:
    """What these nodes read, and what of that they do not write."""
    every = [inner for node in nodes for inner in _inside(node)]
    written = {w.memory_of(buffer) for node in every for buffer in written_buffers(node)}
    w.sources = frozenset(buffer for node in nodes for buffer in _reads(node))
    w.fixed = frozenset(buffer for buffer in w.sources if w.memory_of(buffer) not in written)


def _reads(node: Node) -> Iterable[Value]:
    return (inner.inputs[0] for inner in _inside(node) if inner.op is LOAD)


def _inside(node: Node) -> Iterator[Node]:
    """The node and those in its regions."""
    yield node
    for region in node.regions:
        yield from region.walk()


def written_buffers(node: Node) -> tuple[Value, ...]:
    """The buffers that a statement writes itself."""
    if node.op in (STORE, UPDATE, PARTIAL, CONTRACT):
        return node.inputs[:1]
    if node.op is MATRICES:
        return node.inputs[len(node.inputs) - int(node.attributes["results"]) :]  # type: ignore[arg-type]
    return node.inputs[1:] if node.op in (SORT_ROWS, TRANSFORM) else ()


def open_function(
    program: Program,
    name: str,
    parameters: str,
    buffers: Mapping[Value, int],
    dependence: Dependence,
    result: str = "void",
) -> Writer:
    """A function with the addresses of `buffers` and the named sizes loaded."""
    f = Function(program.module, name, parameters, result=result)
    return attach(program, f, buffers, dependence)


def attach(program: Program, f: Function, buffers: Mapping[Value, int], dependence: Dependence) -> Writer:
    """A writer in `f`, with the addresses of `buffers` and the named sizes loaded where `f` stands."""
    pointers = {value: load_entry(f, "ptr", "%buffers", slot) for value, slot in buffers.items()}
    w = Writer(f, program.options, RULES, pointers, Bounds(program.least), dependence)
    w.entries = buffers
    for number, size in enumerate(program.sizes):
        w.variables[size] = Uniform(load_entry(f, "i64", "%sizes", number))
    return w


def load_entry(f: Function, type: str, table: str, index: int) -> str:
    """Entry `index` of a table."""
    place = f.let(f"getelementptr {type}, ptr {table}, i64 {index}")
    return f.let(f"load {type}, ptr {place}, align 8")


def used_buffers(nodes: Iterable[Node], table: Mapping[Value, int]) -> dict[Value, int]:
    """The part of the table that `nodes` touch."""
    used = {value for node in nodes for value in used_values(node)}
    return {value: slot for value, slot in table.items() if value in used}


def _emit_part(
    program: Program, name: str, nodes: Sequence[Node], table: Mapping[Value, int], dependence: Dependence
) -> Part:
    w = open_function(program, name, PARAMETERS, used_buffers(nodes, table), dependence)
    _note_buffers(w, nodes)
    last = nodes[-1]
    alone = sum(node.op in STATEMENTS for node in nodes) == 1
    if alone and last.op is SORT_ROWS:
        from adjit.compiler.llvm.emit_sort import emit_sort_rows, scratch_bytes  # few programs sort

        emit_sort_rows(w, last, load_entry(w.f, "ptr", "%buffers", WORKSPACE))
        w.finish()
        rows, length = size_of(last.attributes["rows"]), size_of(last.attributes["length"])
        return Part(name, rows, _SORT_WORK * length, workspace=scratch_bytes(w, last))
    if alone and last.op is MATRICES:
        from adjit.compiler.llvm.emit_matrices import emit_matrices  # or factorize

        batch, rows, columns = (size_of(last.attributes[name]) for name in ("batch", "rows", "columns"))
        memory: Size = 0
        if str(last.attributes["algorithm"]).startswith(LAPACK_PREFIX):
            from adjit.compiler.llvm.emit_lapack import emit_lapack

            memory = batch * emit_lapack(w, last, load_entry(w.f, "ptr", "%buffers", WORKSPACE))
        else:
            emit_matrices(w, last)
        w.finish()
        return Part(name, batch, _MATRIX_WORK * rows * (rows + columns), workspace=memory)
    if alone and last.op is TRANSFORM:
        from adjit.compiler.llvm.emit_fourier import emit_transforms, plan_of, tasks_of  # or transform

        plan = plan_of(last, w.options.target)
        emit_transforms(w, last, plan, load_entry(w.f, "ptr", "%buffers", WORKSPACE))
        w.finish()
        count, work = tasks_of(last, plan)
        return Part(name, count, work, workspace=0 if plan.on_stack else count * plan.scratch)
    for node in nodes[:-1]:
        w.emit_node(node)
    if alone and last.op is FOR and last.attributes["parallel"]:
        extent, *rest = (blocks_of(last), BLOCK) if has_partials(last) else extents_of(last)
        part = Part(name, extent, product(rest) * _work(last.regions[0]))
        emit_nest(w, last, None if part.is_whole(program.tasks) else ("%begin", "%end"))
    else:
        w.emit_node(last)
        part = Part(name, 1, sum((_work_of(node) for node in nodes), start=0))
    w.finish()
    return part


def _work(region: Region) -> Size:
    total: Size = 0
    for node in region.nodes:
        total = total + _work_of(node)
    return total


def _work_of(node: Node) -> Size:
    if node.op in (FOR, REDUCE):
        return product(extents_of(node)) * _work(node.regions[0])
    if node.op in (LOAD, STORE, UPDATE, POSITION):
        return _MEMORY_WORK
    return _HEAVY_WORK if node.op.name in HEAVY else 1


def _is_straight(region: Region, table: Mapping[Value, int]) -> bool:
    if any(node.regions for node in region.nodes):  # the loops that most kernels have
        return False
    from adjit.compiler.llvm.emit_straight import is_straight

    return is_straight(region, table)


def _emit_straight(
    program: Program, name: str, region: Region, table: Mapping[Value, int], dependence: Dependence
) -> Part:
    from adjit.compiler.llvm.emit_straight import emit_straight

    w = open_function(program, name, PARAMETERS, used_buffers(region.nodes, table), dependence)
    _note_buffers(w, region.nodes)
    emit_straight(w, region, table)
    w.finish()
    return Part(name, 1, _work(region))


def _emit_contract(
    program: Program, name: str, node: Node, table: Mapping[Value, int], dependence: Dependence
) -> list[Part]:
    from adjit.compiler.llvm.emit_contract import emit_contract, has_masked_windows, has_square, is_narrow

    if not table.keys() >= set(node.inputs):
        raise CompileError("a contraction writes a buffer that is none of its kernel's")
    buffers = used_buffers([node], table)

    def writer(f: Function) -> Writer:
        return attach(program, f, buffers, dependence)

    if has_square(node, "k"):
        from adjit.compiler.llvm.emit_winograd import emit_winograd, winograd_of

        if (convolution := winograd_of(node, program.options, program.tasks)) is not None:
            workspace, tasks = emit_winograd(program.module, name, node, convolution, WORKSPACE, writer)
            plan = convolution.plan
            work = plan.channels * plan.tile.nr * _KERNEL_WORK
            kernel = Part(f"{name}.kernel", plan.panels, work, workspace=workspace)
            return [kernel, _counted_part(name, tasks, workspace)]
    if has_square(node, "n"):
        from adjit.compiler.llvm.emit_winograd_gradient import emit_kernel_gradient, kernel_gradient_of

        if (gradient := kernel_gradient_of(node, program.options, program.tasks)) is not None:
            emit_kernel_gradient(program.module, name, node, gradient, WORKSPACE, writer)
            tasks, workspace = gradient.plan.tasks, gradient.plan.workspace_bytes
            return [_counted_part(part, tasks, workspace) for part in (name, f"{name}.last")]
    if has_masked_windows(node):
        from adjit.compiler.llvm.emit_samples import by_samples_of, emit_by_samples

        if (turned := by_samples_of(node, program.options, program.tasks)) is not None:
            emit_by_samples(program.module, f"{name}.samples", node, turned, WORKSPACE, writer)
            return [_counted_part(f"{name}.samples", turned.tasks, turned.workspace_bytes)]
    if is_narrow(node):
        from adjit.compiler.llvm.emit_row_products import emit_row_product, row_product_of

        if (rows := row_product_of(node, program.options, program.tasks)) is not None:
            emit_row_product(program.module, name, node, rows, WORKSPACE, writer)
            workspace = rows.workspace_bytes
            return [_counted_part(name, rows.tasks, workspace), _counted_part(f"{name}.last", 1, workspace)]
    workspace, tasks = emit_contract(program.module, name, node, program.options, program.tasks, WORKSPACE, writer)
    return [_counted_part(name, tasks, workspace)]


def _counted_part(name: str, tasks: int | None, workspace: int) -> Part:
    """The tasks of a product; without a number, its function `tasks` tells it."""
    if tasks is None:
        return Part(name, 1, 0, f"{name}.tasks", workspace)
    return Part(name, tasks, TASK_WORK, workspace=workspace)
