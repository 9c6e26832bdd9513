"""The loops around the tiles of a matrix product: tasks to spans, spans to blocks, blocks to tiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.gemm_pack import column_pitch, emit_across
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import counted, maximum, minimum, offset, prefetch, when
from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.memory import LINE
from adjit.ir.frozen import frozen
from adjit.ir.types import F64

# What the loops of any product are given: functions, sizes and places of its operands, and its plan's numbers.
PARAMETERS = {
    "a": "ptr", "a_batch_stride": "i64", "a_row_stride": "i64", "a_k_stride": "i64", "a_by_rows": "i1",
    "a_by_columns": "i1",
    "pack_a": "ptr", "pack_b": "ptr", "tile": "ptr", "place": "ptr", "m": "i64", "n": "i64", "k": "i64", "c": "ptr",
    "c_batch_stride": "i64", "c_row_stride": "i64", "c_column_stride": "i64", "workspace": "ptr", "a_shared": "i1",
    "rows": "i1", "strips": "i64", "total": "i64", "tasks": "i64", "mr": "i64", "nr": "i64", "mc": "i64", "nc": "i64",
    "slot_bytes": "i64", "a_bytes": "i64", "edge": "ptr", "edge_columns": "i64", "b": "ptr", "b_batch_stride": "i64",
    "b_k_stride": "i64", "b_copied": "i1",
}  # fmt: skip
# And with an epilogue: its functions, and the sums in workspace.
EPILOGUE = {
    "epilogue": "ptr", "fetch": "ptr", "band": "i64", "band_pitch": "i64", "b_bytes": "i64", "tile_bytes": "i64",
}  # fmt: skip


def quotient_up(f: Function, value: str, divisor: str) -> str:
    """ceil(value / divisor), of i64 that are not negative."""
    above = f.let(f"add nsw i64 {value}, {f.let(f'sub nsw i64 {divisor}, 1')}")
    return f.let(f"udiv i64 {above}, {divisor}")


@frozen
class Span:
    """Rows m0..m1 and columns n0..n1 of one batch, whose C starts at `c`."""

    batch: str
    c: str
    m0: str
    m1: str
    n0: str
    n1: str


class Loops:
    """The loops of a product, emitted into `f`: tasks to spans, spans to blocks, blocks to tiles."""

    def __init__(self, f: Function, plan: GemmPlan, epilogue: bool) -> None:
        self.f, self.plan, self.epilogue = f, plan, epilogue
        self.element = LLType(plan.dtype).llvm

    def emit(self) -> None:
        f, plan = self.f, self.plan
        address = f.let("ptrtoint ptr %workspace to i64")
        aligned = f.let(f"and i64 {f.let(f'add i64 {address}, {LINE - 1}')}, {-LINE}")
        slack = f.let(f"sub i64 {aligned}, {address}")
        place = f.let(f"add i64 {slack}, {f.let('mul nsw i64 %begin, %slot_bytes')}")
        self.a_panels = offset(f, "i8", "%workspace", place)
        self.b_panels = offset(f, "i8", self.a_panels, "%a_bytes")
        self.in_place = f.let("icmp ne ptr %a, null")
        # Runs of equal length, so that no short one pays for another pass over C; one empty run if K is 0.
        runs = maximum(f, quotient_up(f, "%k", str(plan.kc)), 1)
        self.run = maximum(f, quotient_up(f, "%k", runs), 1)
        self.k_stop = maximum(f, "%k", 1)
        first, stop = self._first_strip("%begin"), self._first_strip("%end")
        first_batch = f.let(f"udiv i64 {first}, %strips")
        apart = f.let("xor i1 %a_shared, true")
        self.begin()
        with counted(f, first_batch, quotient_up(f, stop, "%strips"), 1) as batch:
            # Panels of a shared A that were packed for the first batch serve the others, unless its rows are cut.
            packed = f.let(f"or i1 %rows, {f.let(f'icmp eq i64 {batch}, {first_batch}')}")
            again = f.let(f"or i1 {apart}, {packed}")
            self.packs_a = f.let(f"select i1 {self.in_place}, i1 false, i1 {again}")
            self.span(self._part(batch, first, stop))

    def _first_strip(self, task: str) -> str:
        """Where a task begins in the strips of all batches, which the tasks share evenly.

        If C is symmetric, strip i of a batch has about i tiles, so that an equal share ends at a root.
        """
        f = self.f
        strip = f.let(f"udiv i64 {f.let(f'mul nsw i64 {task}, %total')}, %tasks")
        if not self.plan.symmetric:
            return strip
        inside = f.let(f"urem i64 {strip}, %strips")
        square = f.let(f"uitofp i64 {f.let(f'mul nsw i64 {inside}, %strips')} to double")
        root = f.let(f"fptoui double {f.intrinsic('sqrt', LLType(F64), square)} to i64")
        return f.let(f"add nsw i64 {f.let(f'sub nsw i64 {strip}, {inside}')}, {root}")

    def begin(self) -> None:
        """What a task does once, before its first batch."""
        if self.epilogue:
            self.sums = offset(self.f, "i8", self.b_panels, "%b_bytes")
            self.band = offset(self.f, "i8", self.sums, "%tile_bytes")

    def _part(self, batch: str, first: str, stop: str) -> Span:
        """The part of a batch that lies in the strips first..stop-1 of all batches."""
        f = self.f
        base = f.let(f"mul nsw i64 {batch}, %strips")
        begin = maximum(f, f.let(f"sub nsw i64 {first}, {base}"), 0)
        end = minimum(f, f.let(f"sub nsw i64 {stop}, {base}"), "%strips")
        limits = []
        for width, size, chosen in (("%mr", "%m", "01"), ("%nr", "%n", "10")):
            lower = f.let(f"mul nsw i64 {begin}, {width}")
            upper = minimum(f, f.let(f"mul nsw i64 {end}, {width}"), size)
            for own, whole in ((lower, "0"), (upper, size)):
                pair = (own, whole) if chosen == "01" else (whole, own)
                limits.append(f.let(f"select i1 %rows, i64 {pair[0]}, i64 {pair[1]}"))
        before, asked, placed = f.block, f.label("place"), f.label("placed")
        regular = f.let(f"mul nsw i64 {batch}, %c_batch_stride")
        f.branch(f.let("icmp eq ptr %place, null"), placed, asked)
        f.start(asked)
        found = f.let(f"call i64 %place(ptr %buffers, ptr %sizes, i64 {batch})")
        f.jump(placed)
        f.start(placed)
        position = f.let(f"phi i64 [ {regular}, %{before} ], [ {found}, %{asked} ]")
        return Span(batch, offset(f, self.element, "%c", position), *limits)

    def span(self, span: Span) -> None:
        """The part of a task that lies in one batch."""
        if self.plan.order == "resident":
            self._resident(span)
        else:
            self._blocked(span)
        if self.plan.symmetric:
            self._mirror(span)

    def _mirror(self, span: Span) -> None:
        """Copy what stands above the diagonal and was not multiplied from those rows of C that this task made.

        That is of each row in a panel of `nr` rows from row p on: its columns 0..floor(p / mr) * mr - 1.  Spans begin
        at multiples of `mr`.
        """
        f, lanes = self.f, self.plan.lanes
        across = emit_across(f.module, LLType(self.plan.dtype, lanes), masked=True)
        first = f.let(f"mul nsw i64 {f.let(f'udiv i64 {span.m0}, %nr')}, %nr")
        with counted(f, first, span.m1, "%nr") as panel:
            count = f.let(f"mul nsw i64 {f.let(f'udiv i64 {panel}, %mr')}, %mr")
            stop = minimum(f, f.let(f"add nsw i64 {panel}, %nr"), span.m1)
            with counted(f, maximum(f, panel, span.m0), stop, lanes) as row:
                rows = f.let(f"sub nsw i64 {stop}, {row}")
                source, to = self._at(span.c, row, "%c_row_stride"), self._at(span.c, row, "%c_column_stride")
                squares = f.let(f"icmp sge i64 {count}, {lanes}")
                with when(f, squares):
                    last = f.let(f"sub nsw i64 {rows}, 1")
                    f.line(
                        f"call void @{across}(ptr {source}, i64 %c_row_stride, i64 {last}, i64 {count}, ptr {to}, "
                        "i64 %c_row_stride)"
                    )
                with when(f, f.let(f"xor i1 {squares}, true")):
                    self._mirror_singly(source, to, minimum(f, rows, lanes), count)

    def _mirror_singly(self, source: str, to: str, rows: str, count: str) -> None:
        f = self.f
        with counted(f, "0", rows, 1) as i, counted(f, "0", count, 1) as j:
            place = offset(f, self.element, self._at(source, i, "%c_row_stride"), j)
            value = f.let(f"load {self.element}, ptr {place}, align {self.plan.dtype.itemsize}")
            place = offset(f, self.element, self._at(to, j, "%c_row_stride"), i)
            f.line(f"store {self.element} {value}, ptr {place}, align {self.plan.dtype.itemsize}")

    def _blocked(self, span: Span) -> None:
        f = self.f
        with counted(f, span.n0, span.n1, "%nc") as n0:
            columns = minimum(f, f.let(f"sub nsw i64 {span.n1}, {n0}"), "%nc")
            with self._bands(span) as (begin, stop), counted(f, "0", self.k_stop, self.run) as k0:
                depth = self._depth(k0)
                self._pack_right(span, n0, columns, k0, depth)
                with counted(f, begin, stop, "%mc") as m0:
                    rows = minimum(f, f.let(f"sub nsw i64 {stop}, {m0}"), "%mc")
                    with when(f, f.let(f"xor i1 {self.in_place}, true")):
                        self._pack("a", span, m0, rows, k0, depth, self.a_panels)
                    self._tiles(span, m0, rows, n0, columns, k0, depth, self.a_panels, begin, stop)

    @contextmanager
    def _bands(self, span: Span) -> Iterator[tuple[str, str]]:
        """The rows whose sums are made together: all, or as many as the workspace has room for."""
        f = self.f
        if not self.epilogue:
            yield span.m0, span.m1
            return
        with counted(f, span.m0, span.m1, "%band") as begin:
            yield begin, minimum(f, span.m1, f.let(f"add nsw i64 {begin}, %band"))

    def _resident(self, span: Span) -> None:
        f = self.f
        rows = f.let(f"sub nsw i64 {span.m1}, {span.m0}")
        padded = f.let(f"mul nsw i64 {quotient_up(f, rows, '%mr')}, %mr")
        padded = f.let(f"select i1 %a_by_columns, i64 {column_pitch(f, self.plan, rows)}, i64 {padded}")
        some = f.let(f"and i1 {self.packs_a}, {f.let(f'icmp slt i64 {span.n0}, {span.n1}')}")
        with when(f, some), counted(f, "0", self.k_stop, self.run) as k0:
            panels = offset(f, self.element, self.a_panels, f.let(f"mul nsw i64 {padded}, {k0}"))
            self._pack("a", span, span.m0, rows, k0, self._depth(k0), panels)
        with counted(f, span.n0, span.n1, "%nc") as n0:
            columns = minimum(f, f.let(f"sub nsw i64 {span.n1}, {n0}"), "%nc")
            with counted(f, "0", self.k_stop, self.run) as k0:
                depth = self._depth(k0)
                panels = offset(f, self.element, self.a_panels, f.let(f"mul nsw i64 {padded}, {k0}"))
                self._pack_right(span, n0, columns, k0, depth)
                self._tiles(span, span.m0, rows, n0, columns, k0, depth, panels, span.m0, span.m1)

    def _depth(self, k0: str) -> str:
        return minimum(self.f, self.f.let(f"sub nsw i64 %k, {k0}"), self.run)

    def _pack_right(self, span: Span, n0: str, columns: str, k0: str, depth: str) -> None:
        with when(self.f, self.f.let("icmp ne ptr %pack_b, null")):
            self._pack("b", span, n0, columns, k0, depth, self.b_panels)

    def _pack(self, side: str, span: Span, start: str, count: str, k0: str, depth: str, panels: str) -> None:
        self.f.line(
            f"call void %pack_{side}(ptr %buffers, ptr %sizes, i64 {span.batch}, i64 {start}, i64 {count}, "
            f"i64 {k0}, i64 {depth}, ptr {panels})"
        )

    def _tiles(
        self, span: Span, m0: str, rows: str, n0: str, columns: str, k0: str, depth: str, a_panels: str, begin: str,
        stop: str,
    ) -> None:  # fmt: skip
        """All tiles of rows of A times B; a panel of B stays in L1 while the rows of A pass.

        The rows begin..stop-1 of A share the panels; the sums of a band start with row `begin`.
        """
        f = self.f
        a, a_pitch, a_row, a_step = self._left(span, m0, rows, k0, depth, a_panels)
        again = f.let(f"icmp sgt i64 {k0}, 0")
        last = f.let(f"icmp sge i64 {f.let(f'add nsw i64 {k0}, {depth}')}, %k")
        by_rows = f.let("icmp eq i64 %a_k_stride, 1") if self.plan.once else ""
        with counted(f, "0", columns, "%nr") as j:
            column = f.let(f"add nsw i64 {n0}, {j}")
            panel = offset(f, self.element, self.b_panels, f.let(f"mul nsw i64 {j}, {depth}"))
            array = self._right(span, k0, column)
            top = self._first_row(begin, column) if self.plan.symmetric else begin
            start = maximum(f, f.let(f"sub nsw i64 {top}, {m0}"), 0) if self.plan.symmetric else "0"
            c_column = "" if self.epilogue else self._at(span.c, column, "%c_column_stride")
            width = minimum(f, f.let(f"sub nsw i64 {columns}, {j}"), "%nr")
            narrow = f.let(f"icmp sle i64 {width}, %edge_columns")
            tile = f.let(f"select i1 {narrow}, ptr %edge, ptr %tile")
            with counted(f, start, rows, "%mr") as i:
                row = f.let(f"add nsw i64 {m0}, {i}")
                a_rows = self._at(a, i, a_pitch)
                if self.plan.once:
                    # Columns that stand in place are no rows to ask for.
                    with when(f, f.let(f"and i1 {self.in_place}, {by_rows}")):
                        self._fetch_next(a_rows, a_row, depth, j, f.let(f"add nsw i64 {j}, {width}"), columns)
                height = minimum(f, f.let(f"sub nsw i64 {rows}, {i}"), "%mr")
                b, b_step, copied = self._reading(array, panel, row, top, stop)
                operands = f"i64 {depth}, ptr {a_rows}, i64 {a_row}, i64 {a_step}, ptr {b}"
                size = f"i64 {height}, i64 {width}"
                end = f"i1 {again}, i64 {b_step}, ptr {copied}"
                if self.epilogue:
                    waiting = self._at(self.band, f.let(f"sub nsw i64 {row}, {begin}"), "%band_pitch")
                    before = f"ptr {offset(f, self.element, waiting, j)}, i64 %band_pitch"
                    with when(f, last):
                        block = row, column, height, width, self.sums, "%nr"
                        self._after("fetch", span, *block)
                        sums = f"ptr {self.sums}, i64 %nr"
                        f.line(f"call void {tile}({operands}, {sums}, i64 1, {size}, {before}, {end})")
                        self._after("epilogue", span, *block)
                    with when(f, f.let(f"xor i1 {last}, true")):
                        f.line(f"call void {tile}({operands}, {before}, i64 1, {size}, {before}, {end})")
                else:
                    c = self._at(c_column, row, "%c_row_stride")
                    sums, before = f"ptr {c}, i64 %c_row_stride, i64 %c_column_stride", f"ptr {c}, i64 %c_row_stride"
                    f.line(f"call void {tile}({operands}, {sums}, {size}, {before}, {end})")

    def _fetch_next(self, a: str, stride: str, depth: str, begin: str, end: str, columns: str) -> None:
        """Ask for rows of A in place that follow those of a tile, by each tile beside the others for a part of them.

        Where there are few tiles beside each other, memory does not foresee the jumps between rows.
        """
        f = self.f
        shares = (f.let(f"mul nsw i64 %mr, {column}") for column in (begin, end))
        parts = (f.let(f"udiv i64 {share}, {columns}") for share in shares)
        first, stop = (f.let(f"add nsw i64 %mr, {part}") for part in parts)
        with counted(f, first, stop, 1) as i:
            row = self._at(a, i, stride)
            with counted(f, "0", depth, LINE // self.plan.dtype.itemsize) as k:
                prefetch(f, offset(f, self.element, row, k))

    def _at(self, pointer: str, index: str, stride: str) -> str:
        return offset(self.f, self.element, pointer, self.f.let(f"mul nsw i64 {index}, {stride}"))

    def _after(
        self, function: str, span: Span, row: str, column: str, rows: str, columns: str, sums: str, pitch: str
    ) -> None:
        """Hand a block of sums to a function of the epilogue; `row` and `column` are those of its first element."""
        self.f.line(
            f"call void %{function}(ptr %buffers, ptr %sizes, i64 {span.batch}, i64 {row}, i64 {column}, i64 {rows}, "
            f"i64 {columns}, ptr {sums}, i64 {pitch})"
        )

    def _right(self, span: Span, k0: str, column: str) -> str:
        """B where it stands, from a `column` on."""
        row = self._at(self._at("%b", span.batch, "%b_batch_stride"), k0, "%b_k_stride")
        return offset(self.f, self.element, row, column)

    def _first_row(self, begin: str, column: str) -> str:
        """The first row of the first strip, of those from `begin` on, that ends beyond a column's row."""
        f = self.f
        strips = f.let(f"udiv i64 {maximum(f, f.let(f'sub nsw i64 {column}, {begin}'), 0)}, %mr")
        return f.let(f"add nsw i64 {begin}, {f.let(f'mul nsw i64 {strips}, %mr')}")

    def _reading(self, array: str, panel: str, row: str, begin: str, stop: str) -> tuple[str, str, str]:
        """What a tile reads of B, how far apart its rows are, and where it copies them; those from `begin` do first.

        A wide tile has its sums there.
        """
        f = self.f
        opens = f.let(f"icmp eq i64 {row}, {begin}")
        several = f.let(f"icmp slt i64 {f.let(f'add nsw i64 {begin}, %mr')}, {stop}")
        copies = f.let(f"and i1 %b_copied, {f.let(f'and i1 {opens}, {several}')}")
        stands = f.let("icmp eq ptr %pack_b, null")
        reads = f.let(f"select i1 %b_copied, i1 {opens}, i1 {stands}")
        return (
            f.let(f"select i1 {reads}, ptr {array}, ptr {panel}"),
            f.let(f"select i1 {reads}, i64 %b_k_stride, i64 %nr"),
            self.b_panels if self.plan.wide else f.let(f"select i1 {copies}, ptr {panel}, ptr null"),
        )

    def _left(self, span: Span, m0: str, rows: str, k0: str, depth: str, a_panels: str) -> tuple[str, str, str, str]:
        """A from row m0 on: its address, what a tile's first row adds to it, and strides from row to row and of k."""
        f = self.f
        places = (
            f.let(f"mul nsw i64 {index}, {stride}")
            for index, stride in ((span.batch, "%a_batch_stride"), (m0, "%a_row_stride"), (k0, "%a_k_stride"))
        )
        at = f.let(f"add nsw i64 {f.let(f'add nsw i64 {next(places)}, {next(places)}')}, {next(places)}")
        first = f.let(f"select i1 %a_by_columns, i64 1, i64 {depth}")
        row = f.let(f"select i1 %a_by_rows, i64 {depth}, i64 1")
        step = f.let(f"select i1 %a_by_columns, i64 {column_pitch(f, self.plan, rows)}, i64 %mr")
        step = f.let(f"select i1 %a_by_rows, i64 1, i64 {step}")
        pairs = (first, "%a_row_stride"), (row, "%a_row_stride"), (step, "%a_k_stride")
        pitch, row, step = (f.let(f"select i1 {self.in_place}, i64 {own}, i64 {other}") for other, own in pairs)
        array = offset(f, self.element, "%a", at)
        return f.let(f"select i1 {self.in_place}, ptr {array}, ptr {a_panels}"), pitch, row, step
