"""Convolutions of 3 x 3 taps by Winograd's method: blocks of rows of tiles, each transformed, multiplied, transformed.

A block's matrices stay in L2.  Its outputs go to their places, or through the epilogue of the product, as whole rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.emit_contract import Axes, arrange_windows, slope_in
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
    workspace_of,
)
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.winograd_lines import ImageLines, Images, images_of
from adjit.compiler.llvm.winograd_plan import WinogradPlan, plan_winograd
from adjit.compiler.llvm.winograd_transform import (
    each_product,
    emit_exchange,
    emit_kernels,
    emit_outputs,
    emit_rows,
)
from adjit.compiler.winograd import OUTPUTS, pays
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size, product, substitute
from adjit.ir.types import F32

Attach = Callable[[Function], Writer]


@frozen
class Winograd:
    """A convolution that Winograd's method computes: its axes, its plan, and where things stand in memory.

    `taps` are the slopes of the kernel: along features, channels, down and right; `feature`, `down`, `right` those of
    the outputs, whose features are neighbours if they come `last`.
    """

    axes: Axes
    plan: WinogradPlan
    kernel: Placed
    images: Images
    taps: tuple[int, ...]
    samples: Size
    feature: Size
    down: Size
    right: Size
    last: bool


def winograd_of(node: Node, options: Options, tasks: int) -> Winograd | None:
    """The convolution that a `contract` of 3 x 3 taps is, if these are neighbours and the method pays; else None."""
    axes = arrange_windows(node)
    if node.regions[0].outputs[0].type.dtype is not F32 or len(axes.m) != 1 or not axes.n:
        return None
    last = axes.b is node.regions[0]
    known = [size for _, size in (*axes.k[:1], *axes.m, *axes.n) if isinstance(size, int)]
    kernel = placed(axes.a, axes.batch, axes.m, axes.k)
    if kernel is None or len(known) != 2 + len(axes.n) or any(kernel.slope(name) for name, _ in axes.batch):
        return None
    channels, features, *size = known
    (channel, _), (u, _), (v, _) = axes.k
    feature, *down, step = (slope_in(axes.destination, name) for name, _ in (*axes.m, *axes.n))
    if len(size) == 1:  # rows of outputs that are as long as those of the image
        image = placed(axes.b, axes.batch, axes.n, axes.k)
        pitch = image.slope(u) if image is not None else 0
        if pitch < 1 or size[0] % pitch:
            return None
        size, down = [size[0] // pitch, pitch], [pitch]
        places: tuple[list[str], list[str]] = [u], [v, axes.n[0][0]]
    else:
        places = [u, axes.n[0][0]], [v, axes.n[1][0]]
    images = images_of(axes.b, (axes.batch, axes.n, axes.k), channel, *places, size[0] + 2, size[1] + 2)
    if images is None or images.operand.slope(axes.m[0][0]) or (feature if last else step) != 1:
        return None
    samples = product(size for _, size in axes.batch)
    if not pays("outputs", channels, features, size[0], size[1], None if options.strict else samples):
        return None
    plan = plan_winograd(options.target, channels, features, size[0], size[1], tasks)
    taps = tuple(kernel.slope(name) for name, _ in (*axes.m, *axes.k))
    return Winograd(axes, plan, kernel, images, taps, samples, feature, down[0], step, last)


def emit_winograd(
    module: Module, name: str, node: Node, found: Winograd, workspace_slot: int, attach: Attach
) -> tuple[int, int | None]:
    """`@name.kernel(PARAMETERS)` over panels of features, then `@name(PARAMETERS)` over tasks.

    Returns the bytes of workspace, and the number of tasks, None if `@name.tasks(buffers, sizes)` tells it.
    """
    axes, plan = found.axes, found.plan
    after, fence = "", False
    if len(node.regions) > 2:
        after = f"{name}.epilogue"
        groups = (axes.batch, axes.n, axes.m) if found.last else (axes.batch, axes.m, axes.n)
        fence = emit_epilogue(module, after, plan.tile, node.regions[2], groups, False, attach)
    _emit_kernel(module, f"{name}.kernel", found, workspace_slot, attach)
    f = Function(module, name, PARAMETERS)
    w = attach(f)
    _Blocks(w, found, node, after).emit(workspace_slot)
    if fence:
        streaming_fence(f)
    w.finish()
    bytes = plan.workspace_bytes(bool(after))
    if isinstance(found.samples, int):
        return bytes, max(1, min(plan.tasks, found.samples * plan.lines))
    f = Function(module, f"{name}.tasks", "ptr %buffers, ptr %sizes", result="i64")
    f.line(f"ret i64 {_task_count(attach(f), found)}")
    f.finish()
    return bytes, None


def _task_count(w: Writer, found: Winograd) -> str:
    """min(plan.tasks, rows of tiles of all samples), at least 1."""
    lines = w.f.let(f"mul nsw i64 {uniform(w, found.samples)}, {found.plan.lines}")
    return maximum(w.f, minimum(w.f, found.plan.tasks, lines), 1)


def _emit_kernel(module: Module, name: str, found: Winograd, workspace_slot: int, attach: Attach) -> None:
    """`@name(PARAMETERS)`: the transformed kernel's panels begin..end-1, at the start of the workspace."""
    f = Function(module, name, PARAMETERS)
    w = attach(f)
    kernel, axes, plan = found.kernel, found.axes, found.plan
    at = uniform(w, kernel.without(axes.batch, axes.m, axes.k))
    source = offset(f, "float", w.buffers[kernel.load.inputs[0]], at)
    feature, channel, down, right = found.taps
    transform = emit_kernels(module, plan.tile)
    f.line(
        f"call void @{transform}(ptr {source}, i64 {feature}, i64 {channel}, i64 {down}, i64 {right}, "
        f"i64 {plan.features}, i64 {plan.channels}, i64 %begin, i64 %end, ptr {workspace_of(f, workspace_slot)}, "
        f"i64 {plan.channels * plan.stride})"
    )
    w.finish()


class _Blocks:
    """The function of the blocks: rows of tiles, the first of the first sample being row 0."""

    def __init__(self, w: Writer, found: Winograd, node: Node, epilogue: str) -> None:
        self.w, self.f, self.found, self.plan, self.node, self.epilogue = w, w.f, found, found.plan, node, epilogue
        self.vector = LLType(found.plan.tile.dtype, found.plan.tile.lanes)

    def emit(self, workspace_slot: int) -> None:
        f, plan, w = self.f, self.plan, self.w
        self.kernel = workspace_of(f, workspace_slot)
        sizes = plan.parts(bool(self.epilogue))
        slot = f.let(f"add nsw i64 {f.let(f'mul nsw i64 %begin, {sum(sizes)}')}, {plan.kernel_bytes}")
        place = offset(f, "i8", self.kernel, slot)
        parts = []
        for size in sizes:
            parts.append(place)
            place = offset(f, "i8", place, size)
        self.elements, self.products, image, self.outputs, self.sums = parts
        self.lines = ImageLines(
            f, self.vector, image, self.found.images, plan.channels, plan.height + 2, plan.width + 2, plan.pitch
        )
        self.lines.clear()
        count = _task_count(w, self.found)
        total = f.let(f"mul nsw i64 {uniform(w, self.found.samples)}, {plan.lines}")
        first, stop = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {end}, {total}')}, {count}") for end in ("%begin", "%end"))
        products = emit_products(f.module, plan.tile)
        with counted(f, first, stop, plan.block) as block, w.scope():
            end = least(w, f.let(f"add nsw i64 {block}, {plan.block}"), stop)
            with self._rows(block, end) as (line, number, sample):
                self._transform(sample, line, number)
            tiles = f.let(f"mul nsw i64 {f.let(f'sub nsw i64 {end}, {block}')}, {plan.across}")
            f.line(
                f"call void @{products}(ptr {self.elements}, ptr {self.kernel}, ptr {self.products}, i64 {tiles}, "
                f"i64 {plan.tall}, i64 {plan.channels}, i64 {plan.run}, i64 {plan.pitch}, i64 {plan.stride})"
            )
            with self._rows(block, end) as (line, number, sample):
                self._store(sample, line, number)

    @contextmanager
    def _rows(self, begin: str, end: str) -> Iterator[tuple[str, str, str]]:
        """A loop over rows of tiles: its place in its sample, its number in the block, and the sample."""
        f, w = self.f, self.w
        with counted(f, begin, end, 1) as row, w.scope():
            sample = f.let(f"udiv i64 {row}, {self.plan.lines}")
            line = f.let(f"urem i64 {row}, {self.plan.lines}")
            yield line, f.let(f"sub nsw i64 {row}, {begin}"), sample

    def _tiles(self, matrices: str, number: str, pitch: int) -> str:
        """Where the row of tiles of this number stands in the first matrix."""
        at = self.f.let(f"mul nsw i64 {number}, {self.plan.across * pitch}")
        return offset(self.f, self.vector.element, matrices, at)

    def _transform(self, sample: str, line: str, number: str) -> None:
        """The elements of a row of tiles."""
        w, found, plan = self.w, self.found, self.plan
        with w.bound(split_flat(w, found.axes.batch, sample)):
            at = uniform(w, found.images.operand.without(found.axes.n, found.axes.k))
        source = offset(self.f, self.vector.element, w.buffers[found.images.operand.load.inputs[0]], at)
        to = self._tiles(self.elements, number, plan.pitch)
        self.lines.transform(source, line, number, to, plan.pitch, plan.tall)

    def _store(self, sample: str, line: str, number: str) -> None:
        """The two rows of outputs that a row of tiles gives, by feature: to C, or to the epilogue."""
        f, w, plan, element = self.f, self.w, self.plan, self.vector.element
        transform, exchange = emit_outputs(f.module, self.vector), emit_exchange(f.module, self.vector)
        f.line(
            f"call void @{transform}(ptr {self._tiles(self.products, number, plan.stride)}, "
            f"i64 {plan.tall * plan.stride}, i64 {plan.stride}, i64 {plan.across}, ptr {self.outputs}, "
            f"i64 {plan.width})"
        )
        first = f.let(f"mul nsw i64 {line}, {OUTPUTS}")
        rows = minimum(f, f.let(f"sub nsw i64 {plan.height}, {first}"), OUTPUTS)
        outputs = f.let(f"mul nsw i64 {rows}, {plan.width}")
        if self.epilogue and self.found.last:
            row = f.let(f"mul nsw i64 {first}, {plan.width}")
            sums = f"ptr {self.outputs}, i64 {plan.stride}"
            block = f"i64 {sample}, i64 {row}, i64 0, i64 {outputs}, i64 {plan.features}, {sums}"
            f.line(f"call void @{self.epilogue}.fetch(ptr %buffers, ptr %sizes, {block})")
            f.line(f"call void @{self.epilogue}(ptr %buffers, ptr %sizes, {block})")
            return
        if self.epilogue:
            pitch = OUTPUTS * plan.width
            column = f.let(f"mul nsw i64 {first}, {plan.width}")
            sums = f"ptr {self.sums}, i64 {pitch}"
            block = f"i64 {sample}, i64 0, i64 {column}, i64 {plan.features}, i64 {outputs}, {sums}"
            f.line(f"call void @{self.epilogue}.fetch(ptr %buffers, ptr %sizes, {block})")
            f.line(
                f"call void @{exchange}(ptr {self.outputs}, i64 {plan.stride}, i64 {outputs}, i64 {plan.features}, "
                f"{sums})"
            )
            f.line(f"call void @{self.epilogue}(ptr %buffers, ptr %sizes, {block})")
            return
        axes = self.found.axes
        origin = substitute(axes.destination, {name: 0 for name, _ in (*axes.m, *axes.n)})
        with w.bound(split_flat(w, axes.batch, sample)):
            c = offset(f, element, w.buffers[self.node.inputs[0]], uniform(w, origin))
        down = self.found.down
        c = offset(f, element, c, f.let(f"mul nsw i64 {first}, {uniform(w, down)}"))
        # Rows that follow each other in C are one.
        whole = down == plan.width * self.found.right
        function, stride = exchange, self.found.feature
        if self.found.last:
            function, stride = emit_rows(f.module, self.vector), self.found.right
        with counted(f, "0", "1" if whole else rows, 1) as i:
            source = offset(f, element, self.outputs, f.let(f"mul nsw i64 {i}, {plan.width * plan.stride}"))
            to = offset(f, element, c, f.let(f"mul nsw i64 {i}, {uniform(w, down)}"))
            f.line(
                f"call void @{function}(ptr {source}, i64 {plan.stride}, i64 {outputs if whole else plan.width}, "
                f"i64 {plan.features}, ptr {to}, i64 {uniform(w, stride)})"
            )


def emit_products(module: Module, plan: GemmPlan) -> str:
    """`void @...(...)`: 16 products of matrices, [tiles, channels] by [channels, stride] -> [tiles, stride].

    Matrices of elements and products have `%tall` rows; those of elements are `%pitch` long, the kernel's matrices are
    in panels.  Whole register tiles are computed; `%run` channels are summed before they meet what came before.
    """
    vector = LLType(plan.dtype, plan.lanes)
    name = module.shared(f"gemm.winograd.products.{plan.mr}x{plan.nr}.{vector.suffix}")
    if module.has(name):
        return name
    parameters = (
        "ptr readonly %elements, ptr readonly %kernel, ptr %products, i64 %tiles, i64 %tall, i64 %channels, "
        "i64 %run, i64 %pitch, i64 %stride"
    )
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    tile, element = emit_tile(module, plan, packed=True), vector.element
    sizes = {"%elements": ("%tall", "%pitch"), "%kernel": ("%channels", "%stride"), "%products": ("%tall", "%stride")}
    with (
        each_product(f, element, sizes) as matrices,
        counted(f, "0", "%channels", "%run") as k,
        counted(f, "0", "%stride", plan.nr) as column,
    ):
        depth = minimum(f, f.let(f"sub nsw i64 %channels, {k}"), "%run")
        again = f.let(f"icmp sgt i64 {k}, 0")
        panel = offset(f, element, matrices[1], f.let(f"mul nsw i64 {column}, %channels"))
        panel = offset(f, element, panel, f.let(f"mul nsw i64 {k}, {plan.nr}"))
        left = offset(f, element, matrices[0], k)
        to = offset(f, element, matrices[2], column)
        with counted(f, "0", "%tiles", plan.mr) as row:
            rows = offset(f, element, left, f.let(f"mul nsw i64 {row}, %pitch"))
            c = offset(f, element, to, f.let(f"mul nsw i64 {row}, %stride"))
            f.line(
                f"call void @{tile}(i64 {depth}, ptr {rows}, i64 %pitch, i64 1, ptr {panel}, ptr {c}, "
                f"i64 %stride, i64 1, i64 {plan.mr}, i64 {plan.nr}, ptr {c}, i64 %stride, i1 {again})"
            )
    f.line("ret void")
    f.finish()
    return name
