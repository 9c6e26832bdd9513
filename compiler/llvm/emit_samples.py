"""Convolutions of many small images along their samples: what each output needs of the image, and no zeros around it.

A block of samples is turned about, so that a vector holds one place of each; then each output is a product of the
kernel's taps that meet the image with the elements that they meet, by the tiles of `gemm_placed`; then the outputs are
turned back.  A sum has the order of the direct one, channel by channel and tap by tap, in runs of whole channels.
"""

from __future__ import annotations

from collections.abc import Callable

from adjit.compiler.by_samples import Axis, pays
from adjit.compiler.llvm.emit_contract import Axes, arrange_windows, slope_in
from adjit.compiler.llvm.emit_domain import split_flat
from adjit.compiler.llvm.emit_epilogue import emit_epilogue
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_placed import Placed, placed
from adjit.compiler.llvm.emit_state import Options, Writer
from adjit.compiler.llvm.gemm_plan import DEPTH, GemmPlan, plan_gemm, round_up
from adjit.compiler.llvm.gemm_tile import emit_placed_tile
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
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.winograd_transform import emit_exchange
from adjit.compiler.loops.ir import INSIDE
from adjit.compiler.memory import LINE
from adjit.ir.frozen import changed, frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Dim, Size, substitute
from adjit.ir.types import DType

Attach = Callable[[Function], Writer]
# The bytes of a task's image and outputs, which the second cache holds; of an entry of a table, a pair of them a step.
_BLOCK_BYTES, _ENTRY = 768 << 10, 8


@frozen
class BySamples:
    """Such a convolution: its axes, operands and plan, and where things stand in memory.

    `down` and `right` are its axes with the slopes of the image along them, `channel` is that along the channels;
    `places` are the slopes of the outputs along features, down and right, and `turned` those in a block.
    """

    axes: Axes
    kernel: Placed
    image: Placed
    plan: GemmPlan
    samples: int
    channels: int
    features: int
    down: tuple[Axis, int]
    right: tuple[Axis, int]
    channel: int
    turned: tuple[int, int, int]
    has_epilogue: bool

    @property
    def span(self) -> int:
        """The elements of memory from the first of an image to its last."""
        ends = ((axis.extent - 1) * slope for axis, slope in (self.down, self.right))
        return (self.channels - 1) * self.channel + sum(ends) + 1

    @property
    def outputs(self) -> int:
        """The outputs of a sample."""
        return self.features * self.down[0].out * self.right[0].out

    @property
    def rows(self) -> int:
        """The features with those that make whole tiles."""
        return round_up(self.features, self.plan.mr)

    @property
    def taps(self) -> int:
        """The taps of a channel."""
        return self.down[0].taps * self.right[0].taps

    def parts(self) -> list[int]:
        """Bytes of a task's image, outputs and tables, and of the outputs by sample if they go to an epilogue."""
        size = self.plan.dtype.itemsize
        beyond = (self.rows - self.features) * self.turned[0]
        bytes = (
            self.span * self.plan.nr * size, (self.outputs + beyond) * self.plan.nr * size, self.rows * _ENTRY,
            2 * self.channels * self.taps * _ENTRY, self.has_epilogue * self.outputs * self.plan.nr * size,
        )  # fmt: skip
        return [round_up(each, LINE) for each in bytes]

    @property
    def blocks(self) -> int:
        """The blocks of samples."""
        return -(-self.samples // self.plan.nr)

    @property
    def tasks(self) -> int:
        return min(self.plan.tasks, self.blocks)

    @property
    def workspace_bytes(self) -> int:
        """All workspace: the parts of each task, and room to align the first."""
        return self.tasks * sum(self.parts()) + LINE


def by_samples_of(node: Node, options: Options, tasks: int) -> BySamples | None:
    """The convolution that a `contract` of masked windows is, where this takes less time than others; else None."""
    dtype = node.regions[0].outputs[0].type.dtype
    axes = arrange_windows(node)
    if options.strict or [len(pairs) for pairs in (axes.batch, axes.m, axes.n, axes.k)] != [1, 1, 2, 3]:
        return None
    sizes = [size for _, size in (*axes.batch, *axes.m, *axes.n, *axes.k) if isinstance(size, int)]
    kernel = placed(axes.a, axes.batch, axes.m, axes.k)
    image = placed(axes.b, axes.batch, axes.n, axes.k, padded=True)
    if len(sizes) != 7 or kernel is None or image is None or kernel.slope(axes.batch[0][0]):
        return None
    samples, features, height, width, channels, *taps = sizes
    names = axes.batch[0][0], axes.m[0][0], *(name for name, _ in axes.n), *(name for name, _ in axes.k)
    found = _sides(image, [names[2], names[5]], [names[3], names[6]], taps)
    if found is None or image.slope(names[1]) or image.slope(names[4]) < 1 or image.slope(names[0]) < 0:
        return None
    if [axis.out for axis, _ in found] != [height, width]:
        return None
    if not pays(dtype, samples, channels, features, [axis for axis, _ in found]):
        return None
    places = tuple(slope_in(axes.destination, name) for name in names[1:4])
    by_feature, by_place = (height * width, width, 1), (1, width * features, features)
    has_epilogue = len(node.regions) > 2
    if has_epilogue:
        places = by_feature
    if places not in (by_feature, by_place):
        return None
    turned = by_feature if places == by_feature else by_place
    plan = plan_gemm(dtype, options.target, features, samples, channels * taps[0] * taps[1], tasks, placed=True)
    result = BySamples(
        axes, kernel, image, plan, samples, channels, features, found[0], found[1], image.slope(names[4]), turned,
        has_epilogue,
    )  # fmt: skip
    if result.span > 2 * channels * found[0][0].extent * found[1][0].extent:
        return None
    return _cut(result, options.target, dtype, tasks)


def _sides(
    image: Placed, down: list[str], right: list[str], taps: list[int]
) -> tuple[tuple[Axis, int], tuple[Axis, int]] | None:
    """The two axes of windows and the image's slopes along them, as bounds of what exists tell them; else None."""
    mask = image.load.inputs[1].node if image.load.attributes["masked"] else None
    if mask is None or mask.op is not INSIDE or mask.inputs:
        return None
    tested: tuple[tuple[Size, Size], ...] = mask.attributes["of"]  # type: ignore[assignment]
    if len(tested) != 2:
        return None
    sides = [_side(image, bound, names, count) for bound, names, count in zip(tested, (down, right), taps, strict=True)]
    return (sides[0], sides[1]) if sides[0] is not None and sides[1] is not None else None


def _side(image: Placed, bound: tuple[Size, Size], names: list[str], taps: int) -> tuple[Axis, int] | None:
    """The axis whose outputs and taps have these names, if `bound` is that of its places."""
    place, extent = bound
    if not isinstance(place, Dim) or not isinstance(extent, int):
        return None
    step, dilation = (place.coefficient(name) for name in names)
    low = substitute(place, dict.fromkeys(names, 0))
    if step != 1 or not isinstance(dilation, int) or not isinstance(low, int) or dilation < 1 or low > 0:
        return None
    slope = image.slope(names[0])
    out = dict((*image.own, *image.k))[names[0]]
    if slope < 1 or image.slope(names[1]) != slope * dilation or not isinstance(out, int):
        return None
    high = out + low + (taps - 1) * dilation - extent
    return (Axis(extent, taps, -low, high, dilation), slope) if high >= 0 else None


def _cut(found: BySamples, target: Target, dtype: DType, tasks: int) -> BySamples:
    """The convolution with as many samples in a block as a task has, if the second cache holds them."""
    lanes = found.plan.lanes
    for count in (-(-found.samples // tasks), 2 * lanes, lanes):
        plan = plan_gemm(dtype, target, found.features, count, found.channels * found.taps, tasks, placed=True)
        found = changed(found, plan=changed(plan, order="placed", fetches=False, streams=False))
        if sum(found.parts()[:2]) <= _BLOCK_BYTES:
            break
    return found


def emit_by_samples(
    module: Module, name: str, node: Node, found: BySamples, workspace_slot: int, attach: Attach
) -> None:
    """`@name(PARAMETERS)` over the tasks."""
    after, fence = "", False
    if found.has_epilogue:
        after = f"{name}.epilogue"
        groups = found.axes.batch, found.axes.m, found.axes.n
        plan = changed(found.plan, order="windows")  # its blocks are all columns, not whole panels of them
        fence = emit_epilogue(module, after, plan, node.regions[2], groups, False, attach)
    f = Function(module, name, PARAMETERS)
    w = attach(f)
    _Blocks(w, found, node, after).emit(workspace_of(f, workspace_slot))
    if fence:
        streaming_fence(f)
    w.finish()


class _Blocks:
    """The function of the blocks of samples."""

    def __init__(self, w: Writer, found: BySamples, node: Node, epilogue: str) -> None:
        self.w, self.f, self.found, self.plan, self.node, self.epilogue = w, w.f, found, found.plan, node, epilogue
        self.vector = LLType(found.plan.dtype, found.plan.lanes)
        self.tile = emit_placed_tile(w.f.module, found.plan)
        self.exchange = emit_exchange(w.f.module, self.vector)

    def emit(self, workspace: str) -> None:
        f, found, sizes = self.f, self.found, self.found.parts()
        parts = [offset(f, "i8", workspace, f.let(f"mul nsw i64 %begin, {sum(sizes)}"))]
        for size in sizes:
            parts.append(offset(f, "i8", parts[-1], size))
        self.image, self.sums, self.rows, self.steps, self.results, _ = parts
        self._fill_rows()
        first, stop = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {end}, {found.blocks}')}, {found.tasks}")
                       for end in ("%begin", "%end"))  # fmt: skip
        with counted(f, first, stop, 1) as block, self.w.scope():
            sample = f.let(f"mul nsw i64 {block}, {self.plan.nr}")
            count = minimum(f, f.let(f"sub nsw i64 {found.samples}, {sample}"), self.plan.nr)
            self._turn(sample, count)
            with counted(f, "0", str(found.down[0].out), 1) as y, counted(f, "0", str(found.right[0].out), 1) as x:
                self._multiply(y, x)
            self._store(sample, count)

    def _fill_rows(self) -> None:
        """Where the kernel's rows begin; those that do not exist, at the first."""
        f, found = self.f, self.found
        slope = found.kernel.slope(found.axes.m[0][0])
        with counted(f, "0", str(found.rows), 1) as i:
            exists = f.let(f"icmp slt i64 {i}, {found.features}")
            row = f.let(f"select i1 {exists}, i64 {f.let(f'mul nsw i64 {i}, {slope}')}, i64 0")
            f.line(f"store i64 {row}, ptr {offset(f, 'i64', self.rows, i)}, align 8")

    def _address(self, operand: Placed, *kinds: tuple[tuple[str, Size], ...], sample: str = "0") -> str:
        """The address of an operand's element at a sample and 0 of the variables of the other kinds."""
        with self.w.bound(split_flat(self.w, self.found.axes.batch, sample)):
            at = uniform(self.w, operand.without(*kinds))
        return offset(self.f, self.vector.element, self.w.buffers[operand.load.inputs[0]], at)

    def _turn(self, sample: str, count: str) -> None:
        """The images of a block: all samples of an element side by side."""
        f, found, axes = self.f, self.found, self.found.axes
        start = sum(axis.low * slope for axis, slope in (found.down, found.right))
        source = offset(f, self.vector.element, self._address(found.image, axes.n, axes.k, sample=sample), start)
        f.line(
            f"call void @{self.exchange}(ptr {source}, i64 {found.image.slope(axes.batch[0][0])}, i64 {count}, "
            f"i64 {found.span}, ptr {self.image}, i64 {self.plan.nr})"
        )

    def _multiply(self, y: str, x: str) -> None:
        """One output of all features and samples of a block."""
        f, found, plan, element = self.f, self.found, self.plan, self.vector.element
        ends = [*_met(f, found.down[0], y), *_met(f, found.right[0], x)]
        before = _met(f, found.right[0], f.let(f"sub nsw i64 {x}, 1"))
        moved = f.let(f"icmp eq i64 {x}, 0")
        for old, new in zip(before, ends[2:], strict=True):
            moved = f.let(f"or i1 {moved}, {f.let(f'icmp ne i64 {old}, {new}')}")
        with when(f, moved):
            self._fill_steps(ends)
        counts = [f.let(f"sub nsw i64 {stop}, {start}") for start, stop in (ends[:2], ends[2:])]
        met = f.let(f"mul nsw i64 {counts[0]}, {counts[1]}")
        depth = f.let(f"mul nsw i64 {met}, {found.channels}")
        run = f.let(f"mul nsw i64 {met}, {max(1, DEPTH // found.taps)}")
        shifts = [
            f.let(f"mul nsw i64 {f.let(f'sub nsw i64 {place}, {axis.low}')}, {slope * plan.nr}")
            for place, (axis, slope) in ((y, found.down), (x, found.right))
        ]
        b = offset(f, element, offset(f, element, self.image, shifts[0]), shifts[1])
        a = self._address(found.kernel, found.axes.batch, found.axes.m, found.axes.k)
        feature, down, right = found.turned
        place = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {y}, {down}')}, {f.let(f'mul nsw i64 {x}, {right}')}")
        to = offset(f, element, self.sums, f.let(f"mul nsw i64 {place}, {plan.nr}"))
        pitch = feature * plan.nr
        with (
            counted(f, "0", maximum(f, depth, 1), maximum(f, run, 1)) as k,
            counted(f, "0", str(found.rows), plan.mr) as row,
        ):
            length = minimum(f, f.let(f"sub nsw i64 {depth}, {k}"), run)
            f.line(
                f"call void @{self.tile}(i64 {length}, ptr {a}, ptr {b}, ptr {offset(f, 'i64', self.rows, row)}, "
                f"ptr {offset(f, '[2 x i64]', self.steps, k)}, "
                f"ptr {offset(f, element, to, f.let(f'mul nsw i64 {row}, {pitch}'))}, i64 {pitch}, "
                f"i1 {f.let(f'icmp sgt i64 {k}, 0')})"
            )

    def _fill_steps(self, ends: list[str]) -> None:
        """Where the taps that meet the image stand, of all channels: in the kernel, and after an output's first."""
        f, found = self.f, self.found
        down, right = (f.let(f"sub nsw i64 {stop}, {start}") for start, stop in (ends[:2], ends[2:]))
        variables = [name for name, _ in found.axes.k]
        slopes = [found.channel, *(slope * axis.dilation for axis, slope in (found.down, found.right))]
        with (
            counted(f, "0", str(found.channels), 1) as channel,
            counted(f, ends[0], ends[1], 1) as u,
            counted(f, ends[2], ends[3], 1) as v,
        ):
            at = channel
            for tap, start, count in ((u, ends[0], down), (v, ends[2], right)):
                own = f.let(f"sub nsw i64 {tap}, {start}")
                at = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {at}, {count}')}, {own}")
            entry = offset(f, "[2 x i64]", self.steps, at)
            for side, steps in enumerate((
                [found.kernel.slope(name) for name in variables], [slope * self.plan.nr for slope in slopes]
            )):  # fmt: skip
                terms = [f.let(f"mul nsw i64 {i}, {step}") for i, step in zip((channel, u, v), steps, strict=True)]
                step = f.let(f"add nsw i64 {f.let(f'add nsw i64 {terms[0]}, {terms[1]}')}, {terms[2]}")
                f.line(f"store i64 {step}, ptr {offset(f, 'i64', entry, side)}, align 8")

    def _store(self, sample: str, count: str) -> None:
        """The outputs of a block: sample by sample to C, or to the epilogue."""
        f, found, w, element = self.f, self.found, self.w, self.vector.element
        axes, total = found.axes, found.outputs
        turned = f"call void @{self.exchange}(ptr {self.sums}, i64 {self.plan.nr}, i64 {total}, i64 {count}"
        if not self.epilogue:
            origin = substitute(axes.destination, {name: 0 for name, _ in (*axes.m, *axes.n)})
            with w.bound(split_flat(w, axes.batch, sample)):
                c = offset(f, element, w.buffers[self.node.inputs[0]], uniform(w, origin))
            f.line(f"{turned}, ptr {c}, i64 {uniform(w, slope_in(axes.destination, axes.batch[0][0]))})")
            return
        f.line(f"{turned}, ptr {self.results}, i64 {total})")
        plane = total // found.features
        with counted(f, "0", count, 1) as i:
            sums = offset(f, element, self.results, f.let(f"mul nsw i64 {i}, {total}"))
            batch = f.let(f"add nsw i64 {sample}, {i}")
            block = f"i64 {batch}, i64 0, i64 0, i64 {found.features}, i64 {plane}, ptr {sums}, i64 {plane}"
            f.line(f"call void @{self.epilogue}(ptr %buffers, ptr %sizes, {block})")


def _met(f: Function, axis: Axis, place: str) -> list[str]:
    """The first tap that meets the image at an output, and the one after the last."""
    before = maximum(f, f.let(f"sub nsw i64 {axis.low}, {place}"), 0)
    start = f.let(f"udiv i64 {f.let(f'add nsw i64 {before}, {axis.dilation - 1}')}, {axis.dilation}")
    left = maximum(f, f.let(f"sub nsw i64 {axis.low + axis.extent - 1 + axis.dilation}, {place}"), 0)
    stop = minimum(f, f.let(f"udiv i64 {left}, {axis.dilation}"), axis.taps)
    start = minimum(f, start, axis.taps)
    return [start, maximum(f, start, stop)]
