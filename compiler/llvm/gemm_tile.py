"""The register tile of a matrix product: C[i, j] (+)= sum over k of a[i, k] b[k, j], b a packed panel.

Each element of C is one chain of multiply-adds over k, then one addition to C: its bits depend on neither the tile's
size nor its place in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import (
    NO_UNROLL,
    STREAMED,
    below,
    counted,
    masked_load,
    masked_store,
    minimum,
    offset,
    prefetch,
    splat,
    when,
)
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.frozen import changed

# Programs of products spend most of their time here, so quick code has them at their best (compiler/quick.py).
_HOT = 'noinline nounwind "hot" "prefer-vector-width"="512"'
_BEST, _QUICK = _HOT.replace("hot", "best"), _HOT.replace('"hot" ', "")
# The rows of the blocks of quick code: as many as multiply-adds wait for one another.
_BLOCK_ROWS = 4
_TO = (
    "ptr %c, i64 %row_stride, i64 %column_stride, i64 %rows, i64 %columns, ptr %before, i64 %before_stride, "
    "i1 %accumulate"
)
_PARAMETERS = f"i64 %depth, ptr noalias readonly %a, i64 %a_row, i64 %a_step, ptr noalias readonly %b, {_TO}"
# Rows of B that are asked for ahead of the one being copied: some 200 cycles, the latency of a last cache.
_AHEAD = 16


def emit_tile(module: Module, plan: GemmPlan, *, at_edge: bool = False, packed: bool = False) -> str:
    """`void @...(...)`: one tile of C from rows of A and a panel of B over `%depth` steps of k; its name is returned.

    All products of a module with tiles of one kind share the function.  `%rows` x `%columns` is the part of the tile
    that exists, `at_edge` of the last panel; with `%accumulate` what stands at `%before`, C as a rule, whose columns
    stand as C's, is added to it.
    `%a_row` and `%a_step` are A's strides from row to row and along k; rows that do not exist are not read.
    Unless B is known to be `packed`, its rows are `%b_step` apart, and are copied to `%panel` if that is not null.
    """
    kind = "wide" if plan.wide else "fetching" if plan.fetches else "streaming" if plan.streams else "tile"
    kind = f"{kind}{'.pairs' if plan.paired else ''}{'.packed' if packed else ''}"
    pitch = plan.nr
    if at_edge:
        kind = f"{kind}.edge{pitch}"
        plan = changed(plan, nr=plan.edge, nc=plan.edge)
    name = module.shared(f"gemm.{kind}.{plan.mr}x{plan.nr}.{LLType(plan.dtype, plan.lanes).suffix}")
    if not module.has(name):
        module.put_off(name, lambda quick: _emit_tile(module, name, plan, pitch, at_edge, packed, quick))
    return name


def _emit_tile(
    module: Module, name: str, plan: GemmPlan, pitch: int, at_edge: bool, packed: bool, quick: bool
) -> None:
    # Inlining would let the driver's values compete for the registers that hold the accumulators.
    parameters = _PARAMETERS if packed else f"{_PARAMETERS}, i64 %b_step, ptr noalias %panel"
    f = Function(module, name, parameters, attributes=_QUICK if quick else _HOT)
    if quick:
        _by_blocks(f, plan, pitch, packed)
    elif plan.wide:
        from adjit.compiler.llvm.gemm_wide import emit_wide

        emit_wide(f, plan)
    else:
        _at_once(f, plan, pitch, at_edge, packed)
    f.line("ret void")
    f.finish()


def _at_once(f: Function, plan: GemmPlan, pitch: int, at_edge: bool, packed: bool) -> None:
    """The tile with all its sums in registers."""
    element, stands = LLType(plan.dtype).llvm, not packed
    tile = f.let(f"alloca [{plan.mr * plan.nr} x {element}], align 64")
    if plan.fetches:
        _fetch(f, plan)
    starts = row_starts(f, plan)
    at = strided(f, plan, "%b_step" if stands else str(pitch))
    present: list[str] = []
    if at_edge and plan.target.has_masks:
        firsts = range(0, plan.nr, plan.lanes)
        present = [below(f, plan.lanes, f.let(f"sub nsw i64 %columns, {first}")) for first in firsts]
    if stands:
        sums = _sum(f, plan, starts, at, plan.dtype.itemsize, present, str(pitch))
    else:  # panels start at cache lines, and their rows are whole vectors
        sums = _sum(f, plan, starts, at, plan.lanes * plan.dtype.itemsize)
    full, partial, done = f.label("full"), f.label("partial"), f.label("done")
    whole = [f"icmp eq i64 %rows, {plan.mr}", "icmp eq i64 %column_stride, 1"]
    if not present:
        whole.append(f"icmp eq i64 %columns, {plan.nr}")
    condition = f.let(whole[0])
    for part in whole[1:]:
        condition = f.let(f"and i1 {condition}, {f.let(part)}")
    f.branch(condition, full, partial)
    f.start(full)
    if plan.streams:
        _stream_whole(f, plan, sums, done)
    _store_whole(f, plan, sums, present)
    f.jump(done)
    f.start(partial)
    _put_aside(f, plan, sums, tile)
    store_part(f, plan, tile)
    f.jump(done)
    f.start(done)


def _by_blocks(f: Function, plan: GemmPlan, pitch: int, packed: bool) -> None:
    """The tile by blocks of few sums, for quick code: LLVM compiles two small functions for tiles of all sizes."""
    module, lanes, element = f.module, plan.lanes, LLType(plan.dtype).llvm
    small = changed(plan, mr=_BLOCK_ROWS, nr=lanes, mc=_BLOCK_ROWS, nc=lanes)
    block, store = _emit_block(module, small), _emit_store(module, small)
    b_step, panel = str(pitch) if packed else "%b_step", "null" if packed or plan.wide else "%panel"
    tile = f.let(f"alloca [{small.mr * small.nr} x {element}], align 64")
    copies = f.let(f"icmp ne ptr {panel}, null")

    def at(pointer: str, index: str, stride: str) -> str:
        return offset(f, element, pointer, f.let(f"mul nsw i64 {index}, {stride}"))

    with counted(f, "0", "%columns", lanes) as j:
        columns = minimum(f, f.let(f"sub nsw i64 %columns, {j}"), lanes)
        b, c, before = at("%b", j, "1"), at("%c", j, "%column_stride"), at("%before", j, "%column_stride")
        copied = f.let(f"select i1 {copies}, ptr {at(panel, j, '1')}, ptr null")
        with counted(f, "0", "%rows", _BLOCK_ROWS) as i:
            size = f"i64 {minimum(f, f.let(f'sub nsw i64 %rows, {i}'), _BLOCK_ROWS)}, i64 {columns}"
            first = f.let(f"select i1 {f.let(f'icmp eq i64 {i}, 0')}, ptr {copied}, ptr null")
            f.line(
                f"call void @{block}(i64 %depth, ptr {at('%a', i, '%a_row')}, i64 %a_row, i64 %a_step, ptr {b}, "
                f"i64 {b_step}, ptr {first}, i64 {pitch}, {size}, ptr {tile})"
            )
            f.line(
                f"call void @{store}(ptr {tile}, ptr {at(c, i, '%row_stride')}, i64 %row_stride, i64 %column_stride, "
                f"{size}, ptr {at(before, i, '%before_stride')}, i64 %before_stride, i1 %accumulate)"
            )


def _emit_block(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: the sums of a tile of one vector's columns, of which `%columns` exist, put into `%tile`.

    Panels that it copies B to are `%pitch` wide.
    """
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.block{'.pairs' * plan.paired}.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "i64 %depth, ptr noalias readonly %a, i64 %a_row, i64 %a_step, ptr noalias readonly %b, i64 %b_step, "
        "ptr noalias %panel, i64 %pitch, i64 %rows, i64 %columns, ptr noalias %tile"
    )
    f = Function(module, name, parameters, attributes=_BEST)
    present = [below(f, plan.lanes, "%columns")]
    at = strided(f, plan, "%b_step")
    _put_aside(f, plan, _sum(f, plan, row_starts(f, plan), at, plan.dtype.itemsize, present, "%pitch"), "%tile")
    f.line("ret void")
    f.finish()
    return name


def _emit_store(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: `store_part` of a block."""
    name = module.shared(f"gemm.block.store.{LLType(plan.dtype, plan.lanes).suffix}")
    if not module.has(name):
        f = Function(module, name, f"ptr noalias readonly %tile, {_TO}", attributes=_QUICK)
        store_part(f, plan, "%tile")
        f.line("ret void")
        f.finish()
    return name


def row_starts(f: Function, plan: GemmPlan) -> list[str]:
    """Where the rows begin; those beyond the edge at the first, and what they give is not stored."""
    starts = ["0"]
    for i in range(1, plan.mr):
        exists = f.let(f"icmp sgt i64 %rows, {i}")
        starts.append(f.let(f"select i1 {exists}, i64 {f.let(f'mul nsw i64 %a_row, {i}')}, i64 0"))
    return starts


def strided(f: Function, plan: GemmPlan, b_step: str) -> Callable[[str], tuple[str, str]]:
    """What gives the addresses of A and B at a k, rows of B being `b_step` apart."""
    element = LLType(plan.dtype).llvm

    def at(k: str) -> tuple[str, str]:
        places = f.let(f"mul nsw i64 {k}, %a_step"), f.let(f"mul nsw i64 {k}, {b_step}")
        return offset(f, element, "%a", places[0]), offset(f, element, "%b", places[1])

    return at


def _put_aside(f: Function, plan: GemmPlan, sums: Sequence[str], tile: str) -> None:
    """Store the sums to a tile in memory."""
    vector = LLType(plan.dtype, plan.lanes)
    align = plan.lanes * plan.dtype.itemsize
    for index, value in enumerate(sums):
        place = offset(f, vector.element, tile, index * plan.lanes)
        f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")


def _fetch(f: Function, plan: GemmPlan) -> None:
    """Ask for the lines that the tile will be added to, those of unit column stride."""
    element, row = LLType(plan.dtype).llvm, "%before"
    for _ in range(plan.mr):
        for v in range(0, plan.nr, plan.lanes):
            prefetch(f, offset(f, element, row, v), write=True)
        row = offset(f, element, row, "%before_stride")


def emit_placed_tile(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: a whole tile of sums, put into or added to `%sums`, whose rows are `%pitch` elements long.

    Element (i, k) of A stands at `%a[rows[i] + steps[k][0]]`, vector (k, j) of B at `%b[steps[k][1] + j]`.
    """
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.placed.{plan.mr}x{plan.nr}.{vector.suffix}")
    if not module.has(name):
        module.put_off(name, lambda quick: _emit_placed(module, name, plan, quick))
    return name


def _emit_placed(module: Module, name: str, plan: GemmPlan, quick: bool) -> None:
    """The tile at once; in quick code vector by vector of its columns."""
    vector = LLType(plan.dtype, plan.lanes)
    parameters = (
        "i64 %depth, ptr readonly %a, ptr readonly %b, ptr readonly %rows, ptr readonly %steps, ptr noalias %sums, "
        "i64 %pitch, i1 %accumulate"
    )
    f = Function(module, name, parameters, attributes=_BEST if quick else _HOT)

    def entry(table: str, index: str | int) -> str:
        return f.let(f"load i64, ptr {offset(f, 'i64', table, index)}, align 8")

    def at(k: str) -> tuple[str, str]:
        pair = offset(f, "[2 x i64]", "%steps", k)
        return offset(f, vector.element, "%a", entry(pair, 0)), offset(f, vector.element, "%b", entry(pair, 1))

    starts = [entry("%rows", i) for i in range(plan.mr)]
    if quick:
        with counted(f, "0", str(plan.nr), plan.lanes) as j:
            part, sums = changed(plan, nr=plan.lanes, nc=plan.lanes), offset(f, vector.element, "%sums", j)

            def beside(k: str) -> tuple[str, str]:
                a, b = at(k)
                return a, offset(f, vector.element, b, j)

            found = _sum(f, part, starts, beside, plan.dtype.itemsize)
            _store_rows(f, part, found, (sums, "%pitch"), (sums, "%pitch"))
    else:
        found = _sum(f, plan, starts, at, plan.dtype.itemsize)
        _store_rows(f, plan, found, ("%sums", "%pitch"), ("%sums", "%pitch"))
    f.line("ret void")
    f.finish()


def _sum(
    f: Function, plan: GemmPlan, starts: Sequence[str], at: Callable[[str], tuple[str, str]], align: int,
    present: Sequence[str] = (), pitch: str = "",
) -> list[str]:  # fmt: skip
    """The tile's sums over k, row by row, vector by vector; zeros if depth is 0.

    `at` gives the addresses at a k of A, to which a row's start is added, and of B, whose vectors are aligned so;
    `present` are masks of what exists of these.  With a `pitch`, they are copied to `%panel` if it is not null.
    """
    vector = LLType(plan.dtype, plan.lanes)
    vectors = plan.nr // plan.lanes
    count = plan.mr * vectors
    current, updated = [f.reserve() for _ in range(count)], [f.reserve() for _ in range(count)]
    results = [f.reserve() for _ in range(count)]
    zero = vector.constant(0)
    for line in NO_UNROLL:
        f.module.declare(line)
    head, latch, after = f.label("sum"), f.label("next"), f.label("summed")
    before, index = f.block, f.reserve()
    some = f.let("icmp sgt i64 %depth, 0")
    copies = f.let("icmp ne ptr %panel, null") if pitch else ""
    f.branch(some, head, after)
    f.start(head)
    following = f.reserve()
    f.set(index, f"phi i64 [ 0, %{before} ], [ {following}, %{latch} ]")
    for old, new in zip(current, updated, strict=True):
        f.set(old, f"phi {vector.llvm} [ {zero}, %{before} ], [ {new}, %{latch} ]")
    a, b = at(index)
    places = [offset(f, vector.element, b, v * plan.lanes) for v in range(vectors)]
    if present:
        columns = [masked_load(f, vector, p, mask, zero) for p, mask in zip(places, present, strict=True)]
    else:
        columns = [f.let(f"load {vector.llvm}, ptr {place}, align {align}") for place in places]
    if pitch:
        with when(f, copies):
            to = offset(f, vector.element, "%panel", f.let(f"mul nsw i64 {index}, {pitch}"))
            further = offset(f, vector.element, b, f.let(f"mul nsw i64 %b_step, {_AHEAD}"))
            for v, column in enumerate(columns):
                place = offset(f, vector.element, to, v * plan.lanes)
                f.line(f"store {vector.llvm} {column}, ptr {place}, align {plan.lanes * plan.dtype.itemsize}")
                prefetch(f, offset(f, vector.element, further, v * plan.lanes))
    for i, start in enumerate(starts):
        place = offset(f, vector.element, a, start)
        scalar = f.let(f"load {vector.element}, ptr {place}, align {plan.dtype.itemsize}")
        row = splat(f, vector, scalar)
        for v in range(vectors):
            number = i * vectors + v
            f.set(updated[number], multiply_add(f, plan, vector, row, columns[v], current[number]))
    f.jump(latch)
    f.start(latch)
    f.set(following, f"add nsw i64 {index}, 1")
    f.line(f"br i1 {f.let(f'icmp slt i64 {following}, %depth')}, label %{head}, label %{after}, !llvm.loop !770")
    f.start(after)
    for result, new in zip(results, updated, strict=True):
        f.set(result, f"phi {vector.llvm} [ {zero}, %{before} ], [ {new}, %{latch} ]")
    return results


def multiply_add(f: Function, plan: GemmPlan, vector: LLType, left: str, right: str, addend: str) -> str:
    """The text of left * right + addend, in one rounding where the target has the instruction.

    Of pairs of bfloat16 two products are added to it, in f32; denormal factors and sums count as 0 there.
    """
    if plan.paired:
        half, name = f"<{2 * vector.lanes} x bfloat>", f"@llvm.x86.avx512bf16.dpbf16ps.{vector.lanes * 32}"
        f.module.declare(f"declare {vector.llvm} {name}({vector.llvm}, {half}, {half})")
        pairs = (f.let(f"bitcast {vector.llvm} {factor} to {half}") for factor in (left, right))
        return f"call {vector.llvm} {name}({vector.llvm} {addend}, {half} {next(pairs)}, {half} {next(pairs)})"
    if plan.dtype.is_integer:
        return f"add {vector.llvm} {addend}, {f.let(f'mul {vector.llvm} {left}, {right}')}"
    if not plan.target.has_fma:  # llvm.fma would be a library call
        return f"fadd {vector.llvm} {addend}, {f.let(f'fmul {vector.llvm} {left}, {right}')}"
    name = f"@llvm.fma.{vector.suffix}"
    f.module.declare(f"declare {vector.llvm} {name}({vector.llvm}, {vector.llvm}, {vector.llvm})")
    return f"call {vector.llvm} {name}({vector.llvm} {left}, {vector.llvm} {right}, {vector.llvm} {addend})"


def add(f: Function, type: LLType, left: str, right: str) -> str:
    """left + right, of floats or integers."""
    return f.let(f"{'fadd' if type.dtype.is_float else 'add'} {type.llvm} {left}, {right}")


def _store_whole(f: Function, plan: GemmPlan, sums: list[str], present: Sequence[str]) -> None:
    """Put a tile whose rows exist into rows of C of unit column stride: all columns, or those that masks tell."""
    _store_rows(f, plan, sums, ("%c", "%row_stride"), ("%before", "%before_stride"), present)


def _store_rows(
    f: Function, plan: GemmPlan, sums: list[str], to: tuple[str, str], before: tuple[str, str],
    present: Sequence[str] = (),
) -> None:  # fmt: skip
    """Put the tile's vectors into rows, with `%accumulate` added to those `before`; both are places and strides.

    `present` are masks of the lanes of a row's vectors that exist, all of them by default.
    """
    vector = LLType(plan.dtype, plan.lanes)
    vectors, align = plan.nr // plan.lanes, plan.dtype.itemsize

    def places(at: str, pitch: str) -> Iterator[tuple[str, str]]:
        """Where the tile's vectors stand, and their masks."""
        for i in range(plan.mr):
            row = offset(f, vector.element, at, f.let(f"mul nsw i64 {pitch}, {i}"))
            for v in range(vectors):
                yield offset(f, vector.element, row, v * plan.lanes), present[v] if present else ""

    start, adding, ready = f.block, f.label("adding"), f.label("ready")
    f.branch("%accumulate", adding, ready)
    f.start(adding)
    # All are read first: a vector that is read beside one just stored would wait until that is in the cache.
    totals: list[str] = []
    for value, (place, mask) in zip(sums, places(*before), strict=True):
        if mask:
            old = masked_load(f, vector, place, mask, vector.constant(0))
        else:
            old = f.let(f"load {vector.llvm}, ptr {place}, align {align}")
        totals.append(add(f, vector, old, value))
    f.jump(ready)
    f.start(ready)
    pairs = zip(sums, totals, strict=True)
    values = [f.let(f"phi {vector.llvm} [ {value}, %{start} ], [ {total}, %{adding} ]") for value, total in pairs]
    for value, (place, mask) in zip(values, places(*to), strict=True):
        if mask:
            masked_store(f, vector, value, place, mask)
        else:
            f.line(f"store {vector.llvm} {value}, ptr {place}, align {align}")


def _stream_whole(f: Function, plan: GemmPlan, sums: list[str], done: str) -> None:
    """Store a tile that exists whole past the caches and go to `done`, if rows of C stand at cache lines."""
    vector = LLType(plan.dtype, plan.lanes)
    vectors, align = plan.nr // plan.lanes, plan.lanes * plan.dtype.itemsize
    f.module.declare(STREAMED)
    width = f.let(f"mul nsw i64 %row_stride, {plan.dtype.itemsize}")
    bits = f.let(f"and i64 {f.let(f'or i64 {width}, ' + f.let('ptrtoint ptr %c to i64'))}, {align - 1}")
    past, through = f.label("past"), f.label("through")
    all_exist = f.let(f"icmp eq i64 %columns, {plan.nr}")
    f.branch(f.let(f"and i1 {all_exist}, {f.let(f'icmp eq i64 {bits}, 0')}"), past, through)
    f.start(past)
    row = "%c"
    for i in range(plan.mr):
        for v in range(vectors):
            place = offset(f, vector.element, row, v * plan.lanes)
            f.line(f"store {vector.llvm} {sums[i * vectors + v]}, ptr {place}, align {align}, !nontemporal !772")
        row = offset(f, vector.element, row, "%row_stride")
    f.jump(done)
    f.start(through)


def _current(f: Function, vector: LLType, place: str, mask: str) -> str:
    """C's elements in the lanes of `mask`, and elsewhere the number whose addition changes nothing: -0.0, or 0."""
    return masked_load(f, vector, place, mask, vector.constant(-0.0))


def store_part(f: Function, plan: GemmPlan, tile: str, pitch: int = 0) -> None:
    """Put `%rows` x `%columns` of the tile in memory into C, by masked vectors or, for other strides, one by one.

    Its rows are a `pitch` apart, `plan.nr` unless told.
    """
    element = LLType(plan.dtype).llvm
    unit, strided, stored = f.label("unit"), f.label("strided"), f.label("stored")
    f.branch(f.let("icmp eq i64 %column_stride, 1"), unit, strided)
    for label, step, store in ((unit, plan.lanes, _store_vector), (strided, 1, _store_scalar)):
        f.start(label)
        with counted(f, "0", "%rows", 1) as i:
            source, place, before = (
                offset(f, element, pointer, f.let(f"mul nsw i64 {i}, {stride}"))
                for pointer, stride in ((tile, pitch or plan.nr), ("%c", "%row_stride"), ("%before", "%before_stride"))
            )
            with counted(f, "0", "%columns", step) as j:
                store(f, plan, source, place, before, j)
        f.jump(stored)
    f.start(stored)


def _store_vector(f: Function, plan: GemmPlan, source: str, place: str, before: str, j: str) -> None:
    vector = LLType(plan.dtype, plan.lanes)
    value = f.let(f"load {vector.llvm}, ptr {offset(f, vector.element, source, j)}, align {plan.dtype.itemsize}")
    mask = below(f, plan.lanes, f.let(f"sub nsw i64 %columns, {j}"))
    added = f.let(f"select i1 %accumulate, <{plan.lanes} x i1> {mask}, <{plan.lanes} x i1> zeroinitializer")
    value = add(f, vector, _current(f, vector, offset(f, vector.element, before, j), added), value)
    masked_store(f, vector, value, offset(f, vector.element, place, j), mask)


def _store_scalar(f: Function, plan: GemmPlan, source: str, place: str, before: str, j: str) -> None:
    scalar = LLType(plan.dtype)
    align = plan.dtype.itemsize
    value = f.let(f"load {scalar.llvm}, ptr {offset(f, scalar.element, source, j)}, align {align}")
    column = f.let(f"mul nsw i64 {j}, %column_stride")
    start, more, join = f.block, f.label("more"), f.label("join")
    f.branch("%accumulate", more, join)
    f.start(more)
    old = f.let(f"load {scalar.llvm}, ptr {offset(f, scalar.element, before, column)}, align {align}")
    total = add(f, scalar, old, value)
    f.jump(join)
    f.start(join)
    value = f.let(f"phi {scalar.llvm} [ {value}, %{start} ], [ {total}, %{more} ]")
    f.line(f"store {scalar.llvm} {value}, ptr {offset(f, scalar.element, place, column)}, align {align}")
