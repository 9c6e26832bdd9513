"""Products whose operands are read where they stand, by tables: A at rows[i] + steps[k][0], B at steps[k][1] + j.

Windows of an image are such operands: which pixel a tap sees is a sum of a place that belongs to the window and a shift
that belongs to the tap.  So a convolution copies nothing but its sums.  Tiles put them into a block of workspace that
L2 holds, whole tiles only; when the last run of k is in, the part of the block that exists goes to C or an epilogue.

Windows that follow each other in memory do so along the rows of the image, and between two rows of windows stand some
that are none, astride the image's edge: B has columns for them too (`grid_pitch` a row, of which the first `grid_row`
are windows), which are summed like the others and not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.emit_spaced import spread_vectors
from adjit.compiler.llvm.gemm_loops import Loops, Span
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import (
    below,
    counted,
    masked_load,
    masked_store,
    maximum,
    minimum,
    offset,
    prefetch,
    when,
)
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.transposition import emit_transpose
from adjit.compiler.memory import LINE


class PlacedLoops(Loops):
    """Blocks of C, runs of k inside, tiles inside: the sums of a block stay in workspace until they are complete."""

    def begin(self) -> None:
        f, plan = self.f, self.plan
        self.windows = plan.order == "windows"
        self.line = LINE // plan.dtype.itemsize
        self.rows_table = self.a_panels
        self.steps, self.panel_steps = (
            offset(f, "i64", self.rows_table, plan.mc + 2 * plan.steps * table) for table in range(2)
        )
        self.sums = offset(f, "i8", self.rows_table, plan.table_bytes)
        # Tables of all k serve all batches; where there are many batches, to fill them anew takes longer than the sums.
        if plan.steps != plan.kc:
            self._fill_steps("0", "%k")

    def _fill_steps(self, first: str, count: str) -> None:
        """The steps of `count` k from `first` on, in pairs: for B in place, and for panels of runs of k."""
        f = self.f
        self._table("a_steps", first, count, self.panel_steps, 2)
        with counted(f, "0", count, 1) as k:
            entry = offset(f, "i64", offset(f, "[2 x i64]", self.panel_steps, k), 1)
            within = f.let(f"urem i64 {k}, {self.run}")
            f.line(f"store i64 {f.let(f'mul nsw i64 {within}, %nr')}, ptr {entry}, align 8")
        if self.windows:
            self._table("a_steps", first, count, self.steps, 2)
            self._table("b_steps", first, count, offset(f, "i64", self.steps, 1), 2)

    def span(self, span: Span) -> None:
        f, plan, windows = self.f, self.plan, self.windows
        rows_table, sums = self.rows_table, self.sums
        a = f.let(f"call ptr %a_place(ptr %buffers, ptr %sizes, i64 {span.batch})")
        b = f.let(f"call ptr %b_place(ptr %buffers, ptr %sizes, i64 {span.batch})") if windows else ""
        if windows:
            self._fetch_columns(offset(f, self.element, b, span.n0))
        with counted(f, span.n0, span.n1, "%nc") as n0:
            if windows:
                self._fetch_columns(offset(f, self.element, b, f.let(f"add nsw i64 {n0}, %nc")))
            columns = minimum(f, f.let(f"sub nsw i64 {span.n1}, {n0}"), "%nc")
            with counted(f, span.m0, span.m1, "%mc") as m0:
                rows = minimum(f, f.let(f"sub nsw i64 {span.m1}, {m0}"), "%mc")
                self._table("a_rows", m0, rows, rows_table, 1)
                with counted(f, rows, str(plan.mc), 1) as beyond:  # what these rows give is not stored
                    f.line(f"store i64 0, ptr {offset(f, 'i64', rows_table, beyond)}, align 8")
                with counted(f, "0", self.k_stop, self.run) as k0:
                    depth = self._depth(k0)
                    if plan.steps == plan.kc:
                        self._fill_steps(k0, depth)
                        at_k = "0"
                    else:
                        at_k = k0
                    steps, panel_steps = (offset(f, "[2 x i64]", t, at_k) for t in (self.steps, self.panel_steps))
                    if not windows:
                        with when(f, f.let("icmp eq i64 %beside, 0")):
                            self._fetch_rows(a, rows, steps, depth)
                        self._pack("b", span, n0, columns, k0, depth, self.b_panels)
                    if self.epilogue:
                        last = f.let(f"icmp sge i64 {f.let(f'add nsw i64 {k0}, {depth}')}, %k")
                        with when(f, last):
                            self._finish("fetch", span, m0, rows, n0, columns)
                    again = f.let(f"icmp sgt i64 {k0}, 0")
                    with counted(f, "0", columns, "%nr") as j:
                        if windows:
                            width = minimum(f, f.let(f"sub nsw i64 {columns}, {j}"), "%nr")
                            at = f.let(f"add nsw i64 {n0}, {j}")
                            stands = offset(f, self.element, b, at)
                            panel, table = self._columns(stands, steps, panel_steps, width, depth)
                        else:
                            panel = offset(f, self.element, self.b_panels, f.let(f"mul nsw i64 {j}, {depth}"))
                            table = panel_steps
                        with counted(f, "0", rows, "%mr") as i:
                            place = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {i}, %nc')}, {j}")
                            if not windows:
                                first = f.let(f"icmp eq i64 {j}, 0")
                                with when(f, f.let(f"and i1 {first}, {f.let('icmp sgt i64 %beside, 0')}")):
                                    self._fetch_beside(a, f.let(f"add nsw i64 {i}, %mr"), rows, table, depth)
                            f.line(
                                f"call void %tile(i64 {depth}, ptr {a}, ptr {panel}, "
                                f"ptr {offset(f, 'i64', rows_table, i)}, ptr {table}, "
                                f"ptr {offset(f, self.element, sums, place)}, i64 %nc, i1 {again})"
                            )
                if self.epilogue:
                    self._finish("epilogue", span, m0, rows, n0, columns)
                else:
                    c = offset(f, self.element, span.c, f.let(f"mul nsw i64 {m0}, %c_row_stride"))
                    f.line(
                        f"call void %copy(ptr {sums}, i64 %nc, ptr {c}, i64 {rows}, i64 {n0}, i64 {columns}, "
                        "i64 %c_row_stride, i64 %c_column_stride, i64 %grid_pitch, i64 %grid_row, i64 %grid_stride, "
                        "i64 %grid_group, i64 %group_stride)"
                    )

    def _finish(self, function: str, span: Span, m0: str, rows: str, n0: str, columns: str) -> None:
        """Hand a block of sums to a function of the epilogue, by the rows of the grid."""
        f = self.f
        with _grid_rows(f, n0, columns) as (y, begin, count, at):
            column = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {y}, %grid_row')}, {begin}")
            self._after(function, span, m0, column, rows, count, offset(f, self.element, self.sums, at), "%nc")

    def _fetch_columns(self, b: str) -> None:
        """Ask for what a block of columns reads of B in place, for the last of each `taps` of k."""
        f = self.f
        with counted(f, f.let("sub nsw i64 %taps, 1"), "%k" if self.plan.steps != self.plan.kc else "0", "%taps") as k:
            entry = offset(f, "i64", offset(f, "[2 x i64]", self.steps, k), 1)
            place = offset(f, self.element, b, f.let(f"load i64, ptr {entry}, align 8"))
            with counted(f, "0", "%nc", self.line) as j:
                prefetch(f, offset(f, self.element, place, j))

    def _fetch_rows(self, a: str, rows: str, steps: str, depth: str) -> None:
        """Ask for what a run of k reads of A, for the last of each `taps` of its rows."""
        f = self.f
        with counted(f, f.let("sub nsw i64 %taps, 1"), rows, "%taps") as i:
            row = f.let(f"load i64, ptr {offset(f, 'i64', self.rows_table, i)}, align 8")
            place = offset(f, self.element, a, row)
            with counted(f, "0", depth, self.line) as k:
                step = f.let(f"load i64, ptr {offset(f, '[2 x i64]', steps, k)}, align 8")
                prefetch(f, offset(f, self.element, place, step))

    def _fetch_beside(self, a: str, i: str, rows: str, steps: str, depth: str) -> None:
        """Ask for what the tile of rows i.. reads of A: memory does not foresee the jumps of k."""
        f = self.f
        with when(f, f.let(f"icmp slt i64 {i}, {rows}")):
            row = f.let(f"load i64, ptr {offset(f, 'i64', self.rows_table, i)}, align 8")
            place = offset(f, self.element, a, row)
            with counted(f, f.let("sub nsw i64 %taps, 1"), depth, "%taps") as k:
                step = f.let(f"load i64, ptr {offset(f, '[2 x i64]', steps, k)}, align 8")
                lines = offset(f, self.element, place, step)
                with counted(f, "0", "%beside", self.line) as line:
                    prefetch(f, offset(f, self.element, lines, line))

    def _table(self, name: str, first: str, count: str, table: str, pitch: int) -> None:
        self.f.line(f"call void %{name}(ptr %buffers, ptr %sizes, i64 {first}, i64 {count}, ptr {table}, i64 {pitch})")

    def _columns(self, b: str, steps: str, panel_steps: str, width: str, depth: str) -> tuple[str, str]:
        """Where a tile finds B, and its steps: in place, but copied where vectors would read beyond its last column."""
        f = self.f
        before, part, ready = f.block, f.label("part"), f.label("ready")
        f.branch(f.let(f"icmp slt i64 {width}, %nr"), part, ready)
        f.start(part)
        f.line(f"call void %pack_tail(ptr {b}, ptr {steps}, i64 {width}, i64 {depth}, ptr {self.b_panels})")
        f.jump(ready)
        f.start(ready)
        panel = f.let(f"phi ptr [ {b}, %{before} ], [ {self.b_panels}, %{part} ]")
        return panel, f.let(f"phi ptr [ {steps}, %{before} ], [ {panel_steps}, %{part} ]")


@contextmanager
def _grid_rows(f: Function, first: str, columns: str) -> Iterator[tuple[str, str, str, str]]:
    """The rows of the grid that a block of columns, from `first` on, meets: what is stored of each.

    Yields the row, the place in it of what is stored, how many that are, and their place in the block.
    """
    stop = f.let(f"add nsw i64 {first}, {columns}")
    above = f.let(f"add nsw i64 {stop}, {f.let('sub nsw i64 %grid_pitch, 1')}")
    rows = f.let(f"udiv i64 {first}, %grid_pitch"), f.let(f"udiv i64 {above}, %grid_pitch")
    with counted(f, rows[0], rows[1], 1) as y:
        base = f.let(f"mul nsw i64 {y}, %grid_pitch")
        begin = maximum(f, base, first)
        end = minimum(f, f.let(f"add nsw i64 {base}, %grid_row"), stop)
        count, at = f.let(f"sub nsw i64 {end}, {begin}"), f.let(f"sub nsw i64 {begin}, {first}")
        yield y, f.let(f"sub nsw i64 {begin}, {base}"), count, at


def emit_pack_tail(module: Module, plan: GemmPlan) -> str:
    """`void @...(b, steps, width, depth, panel)`: the `width` columns of B in place that exist, zeros after them."""
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.tail.{plan.nr}.{vector.suffix}")
    if module.has(name):
        return name
    parameters = "ptr readonly %b, ptr readonly %steps, i64 %width, i64 %depth, ptr noalias %panel"
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    masks = [below(f, vector.lanes, f.let(f"sub nsw i64 %width, {at}")) for at in range(0, plan.nr, plan.lanes)]
    with counted(f, "0", "%depth", 1) as k:
        entry = offset(f, "i64", offset(f, "[2 x i64]", "%steps", k), 1)
        step = f.let(f"load i64, ptr {entry}, align 8")
        row = offset(f, vector.element, "%b", step)
        to = offset(f, vector.element, "%panel", f.let(f"mul nsw i64 {k}, {plan.nr}"))
        for number, mask in enumerate(masks):
            value = masked_load(f, vector, offset(f, vector.element, row, number * plan.lanes), mask, "zeroinitializer")
            place = offset(f, vector.element, to, number * plan.lanes)
            f.line(f"store {vector.llvm} {value}, ptr {place}, align {plan.dtype.itemsize}")
    f.line("ret void")
    f.finish()
    return name


# The steps between columns in C for which vectors are spread in registers; at others, elements are stored one by one.
_SPREADS = (2, 3, 4)


def emit_copy(module: Module, plan: GemmPlan, step: int) -> str:
    """`void @...(...)`: columns first.. of a block of sums to rows of C, those between the grid's rows left out.

    Columns stand `step` apart in C, `%column_stride` if that is 0.
    """
    vector = LLType(plan.dtype, plan.lanes)
    kind = f".{step}" if step == 1 or step in _SPREADS else ""
    name = module.shared(f"gemm.copy.{vector.suffix}{kind}")
    if module.has(name):
        return name
    parameters = (
        "ptr readonly %sums, i64 %pitch, ptr noalias %c, i64 %rows, i64 %first, i64 %columns, i64 %row_stride, "
        "i64 %column_stride, i64 %grid_pitch, i64 %grid_row, i64 %grid_stride, i64 %grid_group, i64 %group_stride"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    element = vector.element
    align = plan.lanes * plan.dtype.itemsize
    square = "" if kind else f.let(f"alloca [{plan.lanes**2} x {element}], align {align}")
    with _grid_rows(f, "%first", "%columns") as (y, begin, count, at):
        source = offset(f, element, "%sums", at)
        along = f.let(f"mul nsw i64 {begin}, %column_stride")
        groups, within = f.let(f"udiv i64 {y}, %grid_group"), f.let(f"urem i64 {y}, %grid_group")
        stands = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {within}, %grid_stride')}, {along}")
        stands = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {groups}, %group_stride')}, {stands}")
        target = offset(f, element, "%c", stands)
        if kind:
            _copy_vectors(f, plan, source, target, count, step)
        else:
            _copy_columns(f, plan, source, target, count, square)
    f.line("ret void")
    f.finish()
    return name


def _copy_columns(f: Function, plan: GemmPlan, source: str, target: str, count: str, square: str) -> None:
    """`count` columns down the rows: squares of them are transposed where rows follow each other, others go singly."""
    scalar, align = LLType(plan.dtype), plan.dtype.itemsize
    follow = f.let("icmp eq i64 %row_stride, 1")
    whole = f.let(f"select i1 {follow}, i64 {f.let(f'and i64 {count}, {-plan.lanes}')}, i64 0")
    _copy_squares(f, plan, source, target, whole, square)
    with counted(f, whole, count, 1) as j:
        column_of = offset(f, scalar.element, source, j)
        to = offset(f, scalar.element, target, f.let(f"mul nsw i64 {j}, %column_stride"))
        with counted(f, "0", "%rows", 1) as i:
            place = offset(f, scalar.element, column_of, f.let(f"mul nsw i64 {i}, %pitch"))
            value = f.let(f"load {scalar.llvm}, ptr {place}, align {align}")
            at = offset(f, scalar.element, to, f.let(f"mul nsw i64 {i}, %row_stride"))
            f.line(f"store {scalar.llvm} {value}, ptr {at}, align {align}")


def _copy_squares(f: Function, plan: GemmPlan, source: str, target: str, count: str, square: str) -> None:
    """`count` columns, whole vectors of them, each to memory without gaps."""
    vector, lanes, align = LLType(plan.dtype, plan.lanes), plan.lanes, plan.dtype.itemsize
    transpose = emit_transpose(f.module, vector)
    with counted(f, "0", "%rows", lanes) as i:
        height = minimum(f, f.let(f"sub nsw i64 %rows, {i}"), lanes)
        rows = offset(f, vector.element, source, f.let(f"mul nsw i64 {i}, %pitch"))
        with counted(f, "0", count, lanes) as j:
            with counted(f, "0", height, 1) as r:
                row = offset(f, vector.element, offset(f, vector.element, rows, j), f.let(f"mul nsw i64 {r}, %pitch"))
                value = f.let(f"load {vector.llvm}, ptr {row}, align {align}")
                place = offset(f, vector.element, square, f.let(f"mul nsw i64 {r}, {lanes}"))
                f.line(f"store {vector.llvm} {value}, ptr {place}, align {lanes * align}")
            to = offset(f, vector.element, target, f.let(f"mul nsw i64 {j}, %column_stride"))
            to = offset(f, vector.element, to, i)
            f.line(f"call void @{transpose}(ptr {square}, ptr {to}, i64 %column_stride, i64 {height})")


def _copy_vectors(f: Function, plan: GemmPlan, source: str, target: str, count: str, step: int) -> None:
    """`count` columns a vector at a time, row by row."""
    element = LLType(plan.dtype).llvm
    with counted(f, "0", "%rows", 1) as i:
        row = offset(f, element, source, f.let(f"mul nsw i64 {i}, %pitch"))
        to = offset(f, element, target, f.let(f"mul nsw i64 {i}, %row_stride"))
        with counted(f, "0", count, plan.lanes) as j:
            _copy_vector(f, plan, offset(f, element, row, j), to, j, count, step)


def _copy_vector(f: Function, plan: GemmPlan, source: str, row: str, j: str, count: str, step: int) -> None:
    """The vector of sums at `source` to columns j.. of those at `row` that are below `count`, `step` apart."""
    vector, lanes = LLType(plan.dtype, plan.lanes), plan.lanes
    value = f.let(f"load {vector.llvm}, ptr {source}, align {plan.dtype.itemsize}")
    left = f.let(f"sub nsw i64 {count}, {j}")
    if step == 1:
        masked_store(f, vector, value, offset(f, vector.element, row, j), below(f, lanes, left))
        return
    first = offset(f, vector.element, row, f.let(f"mul nsw i64 {j}, {step}"))
    # What stands after the last column belongs to others, or does not exist.
    reach = f.let(f"sub nsw i64 {f.let(f'mul nsw i64 {left}, {step}')}, {step - 1}")
    for number, (spread, places) in enumerate(spread_vectors(f, vector, value, step)):
        own = ", ".join(f"i1 {'false' if lane is None else 'true'}" for lane in places)
        exist = below(f, lanes, f.let(f"sub nsw i64 {reach}, {number * lanes}"))
        mask = f.let(f"and <{lanes} x i1> {exist}, <{own}>")
        masked_store(f, vector, spread, offset(f, vector.element, first, number * lanes), mask)
