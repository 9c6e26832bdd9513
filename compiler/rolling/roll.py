"""The pass: long runs of equal turns become scans.

A Python loop is traced turn by turn, so a thousand turns are a thousand times the nodes, to differentiate, to fuse and
to compile.  After simplification equal turns are equal again, forward as well as backward, whose turns read what the
forward ones kept: their loop stacks it, and slices of the stack are what the next loop goes through.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.legalize import WIDEST_CONCAT, in_a_row
from adjit.compiler.rolling.checks import with_one_check
from adjit.compiler.rolling.line import Line
from adjit.compiler.rolling.ordering import in_turns
from adjit.compiler.rolling.periods import Run, runs
from adjit.compiler.rolling.pieces import with_rows
from adjit.compiler.rolling.scanning import Scan
from adjit.compiler.rolling.turns import Carried, Result, Turns, read_turns
from adjit.compiler.simplify import simplify
from adjit.ir.analysis import VIEWS
from adjit.ir.builder import Builder
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.graph import Graph, Node, Region, Value
from adjit.ir.journal import is_recorded, note
from adjit.ir.rewrite import renewed, rewrite

# Elements up to which arrays stay in the first cache from turn to turn; how many ops one kernel does on larger ones.
_SMALL = 4096
_LONG = 256
# How often loops are looked for again, in what is left and in what loops have become.
_ROUNDS = 16


def roll(graph: Graph, *, strict: bool = False) -> Graph:
    """The program with loops in place of long runs of equal turns; the same graph where there are none."""
    found, is_simple = with_one_check(with_rows(graph, strict=strict)), True
    for number in range(_ROUNDS):
        rolled = _rolled_once(in_turns(found))
        if rolled is not None:
            found, is_simple = eliminate_dead(rolled), False
        elif not is_simple:  # what is left is short by now, and may have equal turns only then
            found, is_simple = simplify(found, strict=strict), True
        elif number == 0:
            return graph
        else:
            break
    return rewrite(found if is_simple else simplify(found, strict=strict), _in_a_row, follow_calls=False)


def _in_a_row(builder: Builder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    """A concat of more rows than a kernel takes, which would be taken for turns itself, is one of concats only here."""
    if node.op.name != "concat" or len(operands) <= WIDEST_CONCAT:
        return None
    return [in_a_row(builder.exprs(operands), int(node.attributes["axis"])).value]  # type: ignore[arg-type]


def _rolled_once(graph: Graph) -> Graph | None:
    """The graph with the runs of one period as loops; None if there are none."""
    line = Line(graph)
    for each in runs(line):
        loops = _loops(line, graph.outputs, each)
        if loops:
            return _with_loops(graph, line, loops)
    return None


def _loops(line: Line, outputs: Sequence[Value], found: Sequence[Run]) -> list[tuple[Scan, dict[Carried, Value]]]:
    loops: list[tuple[Scan, dict[Carried, Value]]] = []
    place = {value: (index, value.index) for index, node in enumerate(line.nodes) for value in node.outputs}
    ends = [place[value] for value in outputs if value in place]
    for run in found:
        loop = _loop(line, run, ends)
        if loop is not None and _goes_through_memory(line, loop[0]):
            together = -(-_LONG // run.period)  # none where these are few: they stay kernels
            loop = _loop(line, Run(run.start, run.period * together, run.turns // together), ends)
        if loop is not None:
            loops.append(loop)
    return loops


def _loop(line: Line, run: Run, outputs: Sequence[tuple[int, int]]) -> tuple[Scan, dict[Carried, Value]] | None:
    if all(node.op.name in (*VIEWS, "concat") for node in line.nodes[run.start : run.start + run.period]):
        return None  # nothing is computed
    turns = read_turns(line, run)
    if turns is None:
        return None
    used = _used(line, turns, outputs)
    scan = Scan(line, turns, used)
    starts = scan.starts()
    return None if starts is None or scan.wastes(used) else (scan, starts)


def _goes_through_memory(line: Line, scan: Scan) -> bool:
    """Whether a turn is nothing but arithmetic on large arrays that it stores or loads: kernels of many turns do less.

    A loop that keeps its arrays to itself is cut into blocks, whose state stays in registers.
    """
    run = scan.turns.run
    template = line.nodes[run.start : run.start + run.period]
    sizes = [value.type.size for node in template for value in node.outputs]
    is_small = all(isinstance(size, int) and size <= _SMALL for size in sizes)
    is_pointwise = all(node.op.family == "scalar" or node.op.name in VIEWS for node in template)
    return is_pointwise and not is_small and bool(scan.stacked or scan.turns.rows)


def _used(line: Line, turns: Turns, outputs: Sequence[tuple[int, int]]) -> dict[Result, set[int]]:
    """The results of turns that something after the loop uses, with the turns."""
    run = turns.run
    after = slice(int(line.first[run.stop]), None)
    made, place = line.made[after], line.place[after]
    inside = (made >= run.start) & (made < run.stop)
    found: dict[Result, set[int]] = {}
    theirs = [(node, number) for node, number in outputs if run.start <= node < run.stop]
    for node, number in {*zip(made[inside].tolist(), place[inside].tolist(), strict=True), *theirs}:
        turn, index = divmod(node - run.start, run.period)
        found.setdefault(Result(index, number), set()).add(turn)
    return found


def _with_loops(graph: Graph, line: Line, loops: Sequence[tuple[Scan, dict[Carried, Value]]]) -> Graph:
    """The graph with each of `loops` in the place of its run."""
    result = Region(graph.inputs)
    builder = Builder(result)
    new: dict[Value, Value] = {}
    places: dict[Node, tuple[Scan, int]] = {}  # of nodes in loops

    def resolve(value: Value) -> Value:
        place = None if value.node is None else places.get(value.node)
        if place is None:
            return new.get(value, value)
        scan, number = place
        turn, index = divmod(number, scan.turns.run.period)
        return scan.value(builder, Result(index, value.index), turn)

    for node in graph.nodes:
        if node.op.name == "const":
            builder.append(node)
    starting = {scan.turns.run.start: (scan, starts) for scan, starts in loops}
    index = 0
    while index < len(line.nodes):
        node = line.nodes[index]
        builder.location = node.location
        if index in starting:
            scan, starts = starting[index]
            run = scan.turns.run
            body = scan.emit(builder, starts, resolve)
            inside = line.nodes[run.start : run.stop]
            places.update((each, (scan, number)) for number, each in enumerate(inside))
            if is_recorded():
                for number, each in enumerate(inside):
                    new.update((value, body[Result(number % run.period, value.index)]) for value in each.outputs)
            index = run.stop
            continue
        operands = {value: resolve(value) for value in node.inputs}
        result.nodes.append(renewed(node, operands, node.regions))
        new.update((value, operands[value]) for value in node.outputs if value in operands)
        index += 1
    outputs = [resolve(value) for value in graph.outputs]
    note(new)
    return graph.with_parts(graph.inputs, result.nodes, outputs)
