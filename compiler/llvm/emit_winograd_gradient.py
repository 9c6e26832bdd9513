"""Gradients of kernels of 3 x 3 taps by Winograd's method: sums over all tiles of products of transformed tiles.

Each partial sum of a fixed number of them is summed by one task, block after block; a second pass adds them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adjit.compiler.llvm.emit_contract import Axes, arrange, slope_in
from adjit.compiler.llvm.emit_domain import split_flat
from adjit.compiler.llvm.emit_epilogue import emit_epilogue
from adjit.compiler.llvm.emit_index import least, uniform
from adjit.compiler.llvm.emit_placed import Placed, placed
from adjit.compiler.llvm.emit_state import Options, Writer
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.gemm_tile import emit_tile
from adjit.compiler.llvm.sequences import (
    PARAMETERS,
    counted,
    maximum,
    minimum,
    offset,
    streaming_fence,
    when,
    workspace_of,
)
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.winograd_lines import ImageLines, Images, images_of
from adjit.compiler.llvm.winograd_plan import PARTIAL_TILES, KernelGradientPlan, plan_kernel_gradient
from adjit.compiler.llvm.winograd_transform import (
    each_product,
    emit_cotangents,
    emit_exchange,
    emit_rows,
    emit_taps,
)
from adjit.compiler.winograd import OUTPUTS, pays
from adjit.ir.frozen import changed, frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size, product, substitute
from adjit.ir.types import F32

Attach = Callable[[Function], Writer]


@frozen
class KernelGradient:
    """The gradient of a kernel that is summed so: its axes, its plan, and where things stand in memory.

    `cotangent` are the slopes of cotangents along features, down and right, `row` is that of the gradient along
    features, whose channels are neighbours if they come `last`.
    """

    axes: Axes
    plan: KernelGradientPlan
    cotangents: Placed
    images: Images
    samples: Size
    cotangent: tuple[int, int, int]
    row: Size
    last: bool


def kernel_gradient_of(node: Node, options: Options, tasks: int) -> KernelGradient | None:
    """The gradient that a `contract` with 3 x 3 last columns is, if windows are neighbours and it pays; else None.

    Strict programs have the bits of eager mode, whose gradients stand channel by channel and are summed directly.
    """
    if options.strict:
        return None
    axes = arrange(node)
    if len(axes.samples) == 1 and axes.batch == axes.samples:  # channels that stand beside each other in the gradient
        axes = changed(axes, batch=(), n=(*axes.samples, *axes.n), samples=())
    sizes = [size for _, size in (*axes.n[:1], *axes.m, *axes.k[-2:]) if isinstance(size, int)]
    if node.regions[0].outputs[0].type.dtype is not F32 or len(axes.k) < 2 or axes.batch:
        return None
    if len(axes.m) != 1 or len(axes.n) != 3 or len(sizes) != 4:
        return None
    channels, features, height, width = sizes
    (feature, _), (channel, _), (u, _), (v, _), (y, _), (x, _) = (*axes.m, *axes.n, *axes.k[-2:])
    cotangents = placed(axes.a, axes.batch, axes.m, axes.k)
    images = images_of(axes.b, (axes.batch, axes.n, axes.k), channel, [u, y], [v, x], height + 2, width + 2)
    if cotangents is None or images is None or images.operand.slope(feature):
        return None
    cotangent = cotangents.slope(feature), cotangents.slope(y), cotangents.slope(x)
    if 1 not in cotangent[::2]:
        return None
    samples = product(size for _, size in axes.k[:-2])
    slopes = [slope_in(axes.destination, name) for name in (channel, u, v)]
    last = slopes == [1, 3 * channels, channels]
    if not (last or slopes == [9, 3, 1]) or not pays("kernel", channels, features, height, width, samples):
        return None
    plan = plan_kernel_gradient(options.target, channels, features, height, width, samples, tasks)
    row = slope_in(axes.destination, feature)
    return KernelGradient(axes, plan, cotangents, images, samples, cotangent, row, last)


def emit_kernel_gradient(
    module: Module, name: str, node: Node, found: KernelGradient, workspace_slot: int, attach: Attach
) -> None:
    """`@name(PARAMETERS)` and `@name.last(PARAMETERS)`, one after the other over the tasks of the plan."""
    axes, plan = found.axes, found.plan
    after, fence = "", False
    if len(node.regions) > 2:
        after = f"{name}.epilogue"
        groups = axes.batch, axes.m, axes.n
        fence = emit_epilogue(module, after, plan.tile, node.regions[2], groups, False, attach)
    f = Function(module, name, PARAMETERS)
    w = attach(f)
    _Partials(w, found).emit(workspace_of(f, workspace_slot))
    w.finish()
    f = Function(module, f"{name}.last", PARAMETERS)
    w = attach(f)
    _emit_last(w, found, node, after, workspace_of(f, workspace_slot))
    if fence:
        streaming_fence(f)
    w.finish()


def _parts(f: Function, place: str, sizes: list[int]) -> Iterator[str]:
    """Places of parts of so many bytes, one after another."""
    for size in sizes:
        yield place
        place = offset(f, "i8", place, size)


def _partials(w: Writer, found: KernelGradient) -> tuple[str, str]:
    """The rows of tiles of all samples, and the number of partial sums, which depends on that alone."""
    f, plan = w.f, found.plan
    total = f.let(f"mul nsw i64 {uniform(w, found.samples)}, {plan.lines}")
    count = f.let(f"udiv i64 {f.let(f'mul nsw i64 {total}, {plan.across}')}, {PARTIAL_TILES}")
    return total, maximum(f, minimum(f, plan.partials, count), 1)


def _slot(f: Function, plan: KernelGradientPlan, workspace: str, sizes: list[int]) -> Iterator[str]:
    """The parts of the task %begin."""
    at = f.let(f"add nsw i64 {f.let(f'mul nsw i64 %begin, {sum(sizes)}')}, {plan.sums_bytes}")
    return _parts(f, offset(f, "i8", workspace, at), sizes)


class _Partials:
    """The function of the partial sums."""

    def __init__(self, w: Writer, found: KernelGradient) -> None:
        self.w, self.f, self.found, self.plan = w, w.f, found, found.plan
        self.vector = LLType(found.plan.tile.dtype, found.plan.tile.lanes)

    def emit(self, workspace: str) -> None:
        f, plan, w, found = self.f, self.plan, self.w, self.found
        self.elements, self.cotangents, lines, self.rows = _slot(f, plan, workspace, plan.parts())
        self.lines = ImageLines(
            f, self.vector, lines, found.images, plan.channels, plan.height + 2, plan.width + 2, plan.pitch
        )
        self.lines.clear()
        length = OUTPUTS * plan.across * plan.stride
        if plan.width % OUTPUTS:  # tiles reach beyond the last column
            f.clear(self.rows, 2 * length * 4)
        self.length = length
        total, count = _partials(w, found)
        first, stop = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {end}, {count}')}, {plan.tasks}")
                       for end in ("%begin", "%end"))  # fmt: skip
        products = emit_tile_products(f.module, plan.tile)
        with counted(f, first, stop, 1) as partial, w.scope():
            following = f.let(f"add nsw i64 {partial}, 1")
            begin, end = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {number}, {total}')}, {count}")
                          for number in (partial, following))  # fmt: skip
            sums = offset(f, self.vector.element, workspace, f.let(f"mul nsw i64 {partial}, {plan.sums}"))
            with when(f, f.let(f"icmp sge i64 {begin}, {end}")):
                f.clear(sums, plan.sums * 4)
            with counted(f, begin, end, plan.block) as block, w.scope():
                last = least(w, f.let(f"add nsw i64 {block}, {plan.block}"), end)
                with counted(f, block, last, 1) as row, w.scope():
                    self._transform(row, f.let(f"sub nsw i64 {row}, {block}"))
                tiles = f.let(f"mul nsw i64 {f.let(f'sub nsw i64 {last}, {block}')}, {plan.across}")
                again = f.let(f"icmp sgt i64 {block}, {begin}")
                f.line(
                    f"call void @{products}(ptr {self.cotangents}, ptr {self.elements}, ptr {sums}, i64 {tiles}, "
                    f"i64 {plan.tall}, i64 {plan.rows}, i64 {plan.stride}, i64 {plan.pitch}, i1 {again})"
                )

    def _transform(self, row: str, number: str) -> None:
        """Both matrices of a row of tiles of all samples, the `number`-th of a block."""
        f, w, plan, found, element = self.f, self.w, self.plan, self.found, self.vector.element
        sample, line = f.let(f"udiv i64 {row}, {plan.lines}"), f.let(f"urem i64 {row}, {plan.lines}")
        places = []
        with w.bound(split_flat(w, found.axes.k[:-2], sample)):
            for operand, own in ((found.images.operand, found.axes.n), (found.cotangents, found.axes.m)):
                at = uniform(w, operand.without(own, found.axes.k[-2:]))
                places.append(offset(f, element, w.buffers[operand.load.inputs[0]], at))
        tile = f.let(f"mul nsw i64 {number}, {plan.across}")
        to = offset(f, element, self.elements, f.let(f"mul nsw i64 {tile}, {plan.tile.nr}"))
        self.lines.transform(places[0], line, number, to, plan.tile.nr, plan.tall)
        plane, step, beside = found.cotangent
        function = (emit_exchange if beside == 1 else emit_rows)(f.module, self.vector)
        sizes = (plane, plan.features, plan.width) if beside == 1 else (beside, plan.width, plan.features)
        sizes_text = ", ".join(f"i64 {size}" for size in sizes)
        with counted(f, "0", str(OUTPUTS), 1) as i:
            y = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {line}, {OUTPUTS}')}, {i}")
            source = offset(f, element, places[1], f.let(f"mul nsw i64 {y}, {step}"))
            kept = offset(f, element, self.rows, f.let(f"mul nsw i64 {i}, {self.length}"))
            exists = f.let(f"icmp slt i64 {y}, {plan.height}")
            with when(f, exists):
                f.line(f"call void @{function}(ptr {source}, {sizes_text}, ptr {kept}, i64 {plan.stride})")
            with when(f, f.let(f"xor i1 {exists}, true")):
                f.clear(kept, self.length * 4)
        lower = offset(f, element, self.rows, self.length)
        to = offset(f, element, self.cotangents, f.let(f"mul nsw i64 {tile}, {plan.stride}"))
        f.line(
            f"call void @{emit_cotangents(f.module, self.vector)}(ptr {self.rows}, ptr {lower}, i64 {plan.stride}, "
            f"i64 {plan.across}, ptr {to}, i64 {plan.tall * plan.stride})"
        )


def _emit_last(w: Writer, found: KernelGradient, node: Node, epilogue: str, workspace: str) -> None:
    """The kernel's features, in as many parts as there are tasks."""
    f, axes, plan = w.f, found.axes, found.plan
    vector = LLType(plan.tile.dtype, plan.tile.lanes)
    element, length = vector.element, 9 * plan.channels
    totals, taps, sums = _slot(f, plan, workspace, plan.last_parts())
    first, stop = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {end}, {plan.features}')}, {plan.tasks}")
                   for end in ("%begin", "%end"))  # fmt: skip
    transform, exchange = emit_taps(f.module, vector), emit_exchange(f.module, vector)
    rows = emit_rows(f.module, vector)
    with counted(f, first, stop, 1) as feature, w.scope():
        source = offset(f, element, workspace, f.let(f"mul nsw i64 {feature}, {plan.pitch}"))
        f.line(
            f"call void @{transform}(ptr {source}, i64 {plan.rows * plan.pitch}, i64 {_partials(w, found)[1]}, "
            f"i64 {plan.sums}, i64 {plan.pitch}, ptr {totals}, ptr {taps})"
        )
        to = sums
        if not epilogue:
            origin = substitute(axes.destination, {name: 0 for name, _ in (*axes.m, *axes.n)})
            c = offset(f, element, w.buffers[node.inputs[0]], uniform(w, origin))
            to = offset(f, element, c, f.let(f"mul nsw i64 {feature}, {uniform(w, found.row)}"))
        function, step = (rows, plan.channels) if found.last and not epilogue else (exchange, 9)
        f.line(
            f"call void @{function}(ptr {taps}, i64 {plan.pitch}, i64 9, i64 {plan.channels}, ptr {to}, i64 {step})"
        )
        if epilogue:
            block = f"i64 0, i64 {feature}, i64 0, i64 1, i64 {length}, ptr {sums}, i64 {length}"
            f.line(f"call void @{epilogue}.fetch(ptr %buffers, ptr %sizes, {block})")
            f.line(f"call void @{epilogue}(ptr %buffers, ptr %sizes, {block})")


def emit_tile_products(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: 16 products of matrices, [tiles, features]^T by [tiles, channels] -> [features, channels].

    Matrices have `%tall` rows; those of elements are in panels.  With `%again`, products are added to what is there.
    """
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.winograd.sums.{plan.mr}x{plan.nr}.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr readonly %cotangents, ptr readonly %elements, ptr %sums, i64 %tiles, i64 %tall, i64 %rows, i64 %stride, "
        "i64 %pitch, i1 %again"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    tile, element = emit_tile(module, plan, packed=True), vector.element
    sizes = {"%cotangents": ("%tall", "%stride"), "%elements": ("%tall", "%pitch"), "%sums": ("%rows", "%pitch")}
    with each_product(f, element, sizes) as matrices, counted(f, "0", "%pitch", plan.nr) as column:
        panel = offset(f, element, matrices[1], f.let(f"mul nsw i64 {column}, %tall"))
        to = offset(f, element, matrices[2], column)
        with counted(f, "0", "%rows", plan.mr) as row:
            c = offset(f, element, to, f.let(f"mul nsw i64 {row}, %pitch"))
            left = offset(f, element, matrices[0], row)
            f.line(
                f"call void @{tile}(i64 %tiles, ptr {left}, i64 1, i64 %stride, ptr {panel}, ptr {c}, "
                f"i64 %pitch, i64 1, i64 {plan.mr}, i64 {plan.nr}, ptr {c}, i64 %pitch, i1 %again)"
            )
    f.line("ret void")
    f.finish()
    return name
