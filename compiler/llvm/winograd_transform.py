"""The transforms around the products of Winograd's method (see `winograd_plan`), and the exchange of axes they need.

Vectors go along the channels or the features, so elements that stand side by side in a row of the image are put under
each other first, and outputs side by side in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from adjit.compiler.llvm.gemm_pack import ATTRIBUTES
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, minimum, offset, splat, when
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.transposition import emit_transpose
from adjit.compiler.winograd import PRODUCTS
from adjit.ir.types import BOOL, I64

# From the vectors along one axis of a tile to those along the same axis of its matrix.
Transform: TypeAlias = "Callable[[Function, LLType, Sequence[str]], list[str]]"


@contextmanager
def each_product(f: Function, element: str, matrices: dict[str, tuple[str, str]]) -> Iterator[list[str]]:
    """A loop over the 16 products; yields where their matrices begin, of arrays by name with a matrix's two extents."""
    apart = [f.let(f"mul nsw i64 {rows}, {columns}") for rows, columns in matrices.values()]
    with counted(f, "0", str(PRODUCTS), 1) as number:
        yield [
            offset(f, element, array, f.let(f"mul nsw i64 {number}, {size}"))
            for array, size in zip(matrices, apart, strict=True)
        ]


def emit_exchange(module: Module, vector: LLType) -> str:
    """`void @...(from, pitch, rows, columns, to, stride)`: to[c * stride + r] = from[r * pitch + c], by squares."""
    name = module.shared(f"gemm.winograd.exchange.{vector.suffix}")
    if module.has(name):
        return name
    parameters = "ptr noalias readonly %from, i64 %pitch, i64 %rows, i64 %columns, ptr noalias %to, i64 %stride"
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    lanes, element, align = vector.lanes, vector.element, vector.dtype.itemsize
    turn = emit_transpose(module, vector)
    square, turned = (f.let(f"alloca [{lanes} x {vector.llvm}], align {lanes * align}") for _ in range(2))
    with counted(f, "0", "%rows", lanes) as row, counted(f, "0", "%columns", lanes) as column:
        height = minimum(f, f.let(f"sub nsw i64 %rows, {row}"), lanes)
        width = minimum(f, f.let(f"sub nsw i64 %columns, {column}"), lanes)
        exist = below(f, lanes, width)
        source = offset(f, element, offset(f, element, "%from", f.let(f"mul nsw i64 {row}, %pitch")), column)
        with counted(f, "0", height, 1) as r:
            place = offset(f, element, source, f.let(f"mul nsw i64 {r}, %pitch"))
            found = masked_load(f, vector, place, exist, vector.constant(0))
            f.line(f"store {vector.llvm} {found}, ptr {offset(f, vector.llvm, square, r)}, align {lanes * align}")
        to = offset(f, element, offset(f, element, "%to", f.let(f"mul nsw i64 {column}, %stride")), row)
        whole = f.let(f"icmp eq i64 {width}, {lanes}")
        with when(f, whole):
            f.line(f"call void @{turn}(ptr {square}, ptr {to}, i64 %stride, i64 {height})")
        with when(f, f.let(f"xor i1 {whole}, true")):  # columns that do not exist are not written
            f.line(f"call void @{turn}(ptr {square}, ptr {turned}, i64 {lanes}, i64 {lanes})")
            stored = below(f, lanes, height)
            with counted(f, "0", width, 1) as c:
                column_of = f.let(f"load {vector.llvm}, ptr {offset(f, vector.llvm, turned, c)}, align {lanes * align}")
                place = offset(f, element, to, f.let(f"mul nsw i64 {c}, %stride"))
                masked_store(f, vector, column_of, place, stored)
    f.line("ret void")
    f.finish()
    return name


def emit_rows(module: Module, vector: LLType) -> str:
    """`void @...(from, pitch, rows, columns, to, stride)`: to[r * stride + c] = from[r * pitch + c]."""
    name = module.shared(f"gemm.winograd.rows.{vector.suffix}")
    if module.has(name):
        return name
    parameters = "ptr noalias readonly %from, i64 %pitch, i64 %rows, i64 %columns, ptr noalias %to, i64 %stride"
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    lanes, element, align = vector.lanes, vector.element, vector.dtype.itemsize
    whole = f.let(f"and i64 %columns, {-lanes}")
    left = f.let(f"sub nsw i64 %columns, {whole}")
    some, exist = f.let(f"icmp sgt i64 {left}, 0"), below(f, lanes, left)
    with counted(f, "0", "%rows", 1) as row:
        source, to = (offset(f, element, place, f.let(f"mul nsw i64 {row}, {step}"))
                      for place, step in (("%from", "%pitch"), ("%to", "%stride")))  # fmt: skip
        with counted(f, "0", whole, lanes) as column:
            value = f.let(f"load {vector.llvm}, ptr {offset(f, element, source, column)}, align {align}")
            f.line(f"store {vector.llvm} {value}, ptr {offset(f, element, to, column)}, align {align}")
        with when(f, some):
            value = masked_load(f, vector, offset(f, element, source, whole), exist, vector.constant(0))
            masked_store(f, vector, value, offset(f, element, to, whole), exist)
    f.line("ret void")
    f.finish()
    return name


def emit_elements(module: Module, vector: LLType) -> str:
    """`void @...(...)`: B^T d B for `%tiles` tiles of a row, d from four lines of the image [width, pitch].

    Tile t takes columns 2 t .. 2 t + 3, those beyond `%last` as that one.  Element (t, c) of a matrix goes to
    `%to[c // panel * panel * tall + t * panel + c % panel]`, matrices are `%apart` elements apart.
    """
    name = module.shared(f"gemm.winograd.elements.{vector.suffix}")
    if module.has(name):
        return name
    lines = [f"%line{number}" for number in range(4)]
    parameters = ", ".join(f"ptr noalias readonly {line}" for line in lines) + (
        ", i64 %pitch, i64 %last, i64 %tiles, ptr noalias %to, i64 %panel, i64 %tall, i64 %apart"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    element, align = vector.element, vector.lanes * vector.dtype.itemsize
    with counted(f, "0", "%tiles", 1) as tile:
        first = f.let(f"mul nsw i64 {tile}, 2")
        columns = []
        for number in range(4):
            column = minimum(f, f.let(f"add nsw i64 {first}, {number}"), "%last")
            columns.append(f.let(f"mul nsw i64 {column}, %pitch"))
        row = offset(f, element, "%to", f.let(f"mul nsw i64 {tile}, %panel"))
        with counted(f, "0", "%pitch", "%panel") as panel:
            width = minimum(f, "%panel", f.let(f"sub nsw i64 %pitch, {panel}"))
            start = offset(f, element, row, f.let(f"mul nsw i64 {panel}, %tall"))
            with counted(f, "0", width, vector.lanes) as lane:
                channel = f.let(f"add nsw i64 {panel}, {lane}")
                taken = []
                for line in lines:
                    at = offset(f, element, line, channel)
                    taken.append([
                        f.let(f"load {vector.llvm}, ptr {offset(f, element, at, column)}, align {align}")
                        for column in columns
                    ])  # fmt: skip
                down = [_differences(f, vector, each) for each in zip(*taken, strict=True)]
                _put(f, vector, offset(f, element, start, lane), zip(*down, strict=True), _differences)
    f.line("ret void")
    f.finish()
    return name


def emit_outputs(module: Module, vector: LLType) -> str:
    """`void @...(...)`: A^T m A for `%tiles` tiles of a row, m from matrices [tile, pitch] `%apart` elements apart.

    Output (i, j) of tile t goes to row `i * width + 2 t + j` of `%to`, one of no output to row `2 * width`.
    """
    name = module.shared(f"gemm.winograd.outputs.{vector.suffix}")
    if module.has(name):
        return name
    parameters = "ptr noalias readonly %from, i64 %apart, i64 %pitch, i64 %tiles, ptr noalias %to, i64 %width"
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    element, align = vector.element, vector.lanes * vector.dtype.itemsize
    beyond = f.let("mul nsw i64 %width, 2")
    with counted(f, "0", "%tiles", 1) as tile:
        first = f.let(f"mul nsw i64 {tile}, 2")
        second = f.let(f"add nsw i64 {first}, 1")
        exists = f.let(f"icmp slt i64 {second}, %width")
        row = offset(f, element, "%from", f.let(f"mul nsw i64 {tile}, %pitch"))
        places = []
        for shift in ("0", "%width"):
            own = [f.let(f"add nsw i64 {column}, {shift}") for column in (first, second)]
            own[1] = f.let(f"select i1 {exists}, i64 {own[1]}, i64 {beyond}")
            places.append([offset(f, element, "%to", f.let(f"mul nsw i64 {at}, %pitch")) for at in own])
        with counted(f, "0", "%pitch", vector.lanes) as lane:
            place, taken = offset(f, element, row, lane), []
            for _ in range(PRODUCTS):
                taken.append(f.let(f"load {vector.llvm}, ptr {place}, align {align}"))
                place = offset(f, element, place, "%apart")
            down = [_sums(f, vector, taken[column::4]) for column in range(4)]
            for own, each in zip(places, zip(*down, strict=True), strict=True):
                for at, value in zip(own, _sums(f, vector, each), strict=True):
                    f.line(f"store {vector.llvm} {value}, ptr {offset(f, element, at, lane)}, align {align}")
    f.line("ret void")
    f.finish()
    return name


def emit_kernels(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: G g G^T for the panels begin..end-1 of features; taps stand at given slopes from `%from`.

    Element (c, k) of a matrix goes to `%to[k // nr * nr * channels + c * nr + k % nr]`, zero for features that do not
    exist; matrices are `%apart` elements apart.
    """
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.winograd.kernels.{plan.nr}.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr noalias readonly %from, i64 %feature, i64 %channel, i64 %down, i64 %right, i64 %features, i64 %channels, "
        "i64 %begin, i64 %end, ptr noalias %to, i64 %apart"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    lanes, element = vector.lanes, vector.element
    numbers = LLType(I64, lanes)
    steps = f.let(f"mul nsw {numbers.llvm} {splat(f, numbers, '%feature')}, {numbers.numbers()}")
    with counted(f, "%begin", "%end", 1) as panel, counted(f, "0", str(plan.nr), lanes) as lane:
        feature = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {panel}, {plan.nr}')}, {lane}")
        some = below(f, lanes, minimum(f, f.let(f"sub nsw i64 %features, {feature}"), lanes))
        source = offset(f, element, "%from", f.let(f"mul nsw i64 {feature}, %feature"))
        start = f.let(f"mul nsw i64 {f.let(f'mul nsw i64 {panel}, %channels')}, {plan.nr}")
        start = offset(f, element, offset(f, element, "%to", start), lane)
        with counted(f, "0", "%channels", 1) as channel:
            own = offset(f, element, source, f.let(f"mul nsw i64 {channel}, %channel"))
            taps = []
            for down in range(3):
                row = offset(f, element, own, f.let(f"mul nsw i64 %down, {down}"))
                for right in range(3):
                    at = offset(f, element, row, f.let(f"mul nsw i64 %right, {right}"))
                    pointers = f.let(f"getelementptr {element}, ptr {at}, {numbers.llvm} {steps}")
                    taps.append(f.gather(vector, pointers, some, vector.constant(0)))
            down_taps = [_means(f, vector, taps[right::3]) for right in range(3)]
            place = offset(f, element, start, f.let(f"mul nsw i64 {channel}, {plan.nr}"))
            _put(f, vector, place, zip(*down_taps, strict=True), _means)
    f.line("ret void")
    f.finish()
    return name


def emit_cotangents(module: Module, vector: LLType) -> str:
    """`void @...(...)`: A dy A^T for `%tiles` tiles of a row, dy from two lines of cotangents [2 tiles, pitch].

    Element (t, k) of a matrix goes to `%to[t * pitch + k]`; matrices are `%apart` elements apart.
    """
    name = module.shared(f"gemm.winograd.cotangents.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr noalias readonly %upper, ptr noalias readonly %lower, i64 %pitch, i64 %tiles, ptr noalias %to, i64 %apart"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    element, align = vector.element, vector.lanes * vector.dtype.itemsize
    with counted(f, "0", "%tiles", 1) as tile:
        row = f.let(f"mul nsw i64 {tile}, %pitch")
        first = f.let(f"mul nsw i64 {row}, 2")
        with counted(f, "0", "%pitch", vector.lanes) as lane:
            left = f.let(f"add nsw i64 {first}, {lane}")
            columns = []
            for at in (left, f.let(f"add nsw i64 {left}, %pitch")):
                pair = [f.let(f"load {vector.llvm}, ptr {offset(f, element, line, at)}, align {align}")
                        for line in ("%upper", "%lower")]  # fmt: skip
                columns.append(_spread(f, vector, pair))
            place = offset(f, element, "%to", f.let(f"add nsw i64 {row}, {lane}"))
            _put(f, vector, place, zip(*columns, strict=True), _spread)
    f.line("ret void")
    f.finish()
    return name


def emit_taps(module: Module, vector: LLType) -> str:
    """`void @...(...)`: G^T m G for a feature, m the sum of `%partials` rows [pitch] of each of 16 matrices.

    Matrices are `%apart` elements apart, partial sums `%next`; `%total` has room for a row of each, tap t of channel c
    goes to `%to[t * pitch + c]`.
    """
    name = module.shared(f"gemm.winograd.taps.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr noalias readonly %from, i64 %apart, i64 %partials, i64 %next, i64 %pitch, ptr noalias %total, "
        "ptr noalias %to"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    element, align = vector.element, vector.lanes * vector.dtype.itemsize
    with counted(f, "0", "%partials", 1) as partial, counted(f, "0", str(PRODUCTS), 1) as number:
        shift = f.let(f"mul nsw i64 {number}, %apart")
        source = offset(f, element, offset(f, element, "%from", f.let(f"mul nsw i64 {partial}, %next")), shift)
        row = offset(f, element, "%total", f.let(f"mul nsw i64 {number}, %pitch"))
        more = splat(f, LLType(BOOL, vector.lanes), f.let(f"icmp sgt i64 {partial}, 0"))
        with counted(f, "0", "%pitch", vector.lanes) as lane:
            new = f.let(f"load {vector.llvm}, ptr {offset(f, element, source, lane)}, align {align}")
            place = offset(f, element, row, lane)
            before = masked_load(f, vector, place, more, vector.constant(-0.0))
            total = f.let(f"fadd {vector.llvm} {before}, {new}")
            f.line(f"store {vector.llvm} {total}, ptr {place}, align {align}")
    with counted(f, "0", "%pitch", vector.lanes) as lane:
        place, taken = offset(f, element, "%total", lane), []
        for _ in range(PRODUCTS):
            taken.append(f.let(f"load {vector.llvm}, ptr {place}, align {align}"))
            place = offset(f, element, place, "%pitch")
        down = [_tapped(f, vector, taken[column::4]) for column in range(4)]
        place = offset(f, element, "%to", lane)
        for row_taps in zip(*down, strict=True):
            for value in _tapped(f, vector, row_taps):
                f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")
                place = offset(f, element, place, "%pitch")
    f.line("ret void")
    f.finish()
    return name


def _put(f: Function, vector: LLType, place: str, rows: Iterable[Sequence[str]], transform: Transform) -> None:
    """Transform rows, and store the vectors into 16 matrices at `place`."""
    for row in rows:
        for value in transform(f, vector, row):
            f.line(f"store {vector.llvm} {value}, ptr {place}, align {vector.lanes * vector.dtype.itemsize}")
            place = offset(f, vector.element, place, "%apart")


def _differences(f: Function, vector: LLType, d: Sequence[str]) -> list[str]:
    """B^T d."""
    pairs = ("fsub", d[0], d[2]), ("fadd", d[1], d[2]), ("fsub", d[2], d[1]), ("fsub", d[1], d[3])
    return [f.let(f"{op} {vector.llvm} {left}, {right}") for op, left, right in pairs]


def _sums(f: Function, vector: LLType, m: Sequence[str]) -> list[str]:
    """A^T m."""
    first = f.let(f"fadd {vector.llvm} {f.let(f'fadd {vector.llvm} {m[0]}, {m[1]}')}, {m[2]}")
    return [first, f.let(f"fsub {vector.llvm} {f.let(f'fsub {vector.llvm} {m[1]}, {m[2]}')}, {m[3]}")]


def _means(f: Function, vector: LLType, g: Sequence[str]) -> list[str]:
    """G g."""
    ends, half = f.let(f"fadd {vector.llvm} {g[0]}, {g[2]}"), vector.constant(0.5)
    middle = [f.let(f"fmul {vector.llvm} {f.let(f'{op} {vector.llvm} {ends}, {g[1]}')}, {half}")
              for op in ("fadd", "fsub")]  # fmt: skip
    return [g[0], *middle, g[2]]


def _spread(f: Function, vector: LLType, y: Sequence[str]) -> list[str]:
    """A y."""
    middle = [f.let(f"{op} {vector.llvm} {y[0]}, {y[1]}") for op in ("fadd", "fsub")]
    return [y[0], *middle, f.let(f"fneg {vector.llvm} {y[1]}")]


def _tapped(f: Function, vector: LLType, m: Sequence[str]) -> list[str]:
    """G^T m."""
    half = vector.constant(0.5)
    both, between = (f.let(f"fmul {vector.llvm} {f.let(f'{op} {vector.llvm} {m[1]}, {m[2]}')}, {half}")
                     for op in ("fadd", "fsub"))  # fmt: skip
    return [f.let(f"fadd {vector.llvm} {m[0]}, {both}"), between, f.let(f"fadd {vector.llvm} {both}, {m[3]}")]
