"""Lines of images as Winograd's method reads them: [column, channel], four of them kept for a row of tiles."""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.emit_domain import Pairs
from adjit.compiler.llvm.emit_placed import Placed, placed
from adjit.compiler.llvm.sequences import counted, minimum, offset, prefetch, when
from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.winograd_plan import LINES
from adjit.compiler.llvm.winograd_transform import emit_elements, emit_exchange, emit_rows
from adjit.compiler.loops.ir import INSIDE
from adjit.compiler.memory import LINE
from adjit.compiler.winograd import OUTPUTS
from adjit.ir.frozen import frozen
from adjit.ir.graph import Region
from adjit.ir.shape import Dim, Size


@frozen
class Images:
    """Windows of 3 x 3 neighbours, or of all outputs, in images with zeros around them.

    `operand` tells where the element at 0 of all variables stands, `plane`, `step` and `beside` how far apart channels,
    rows and columns are: either columns or channels are neighbours.  `above` and `before` count rows and columns of
    zeros, after which the rows and columns in memory follow.
    """

    operand: Placed
    plane: int
    step: int
    beside: int
    above: int
    before: int
    rows: int
    columns: int


def images_of(
    region: Region, pairs: tuple[Pairs, Pairs, Pairs], channel: str, down: Sequence[str], right: Sequence[str],
    height: int, width: int,
) -> Images | None:  # fmt: skip
    """The operand of a contraction over `pairs` whose rows and columns are the sums of variables; None if it is other.

    Windows reach over `height` x `width` elements, zeros included.
    """
    operand = placed(region, *pairs, padded=True)
    if operand is None or any(len({*map(operand.slope, names)}) != 1 for names in (right, down)):
        return None
    beside, plane = operand.slope(right[0]), operand.slope(channel)
    if beside < 1 or 1 not in (beside, plane):
        return None
    sides = [(0, height), (0, width)]
    mask = operand.load.inputs[1].node if operand.load.attributes["masked"] else None
    if mask is not None and (mask.op is not INSIDE or mask.inputs):
        return None
    tested: Sequence[tuple[Size, Size]] = mask.attributes["of"] if mask is not None else ()  # type: ignore[assignment]
    for place, limit in tested:
        for side, names in enumerate((down, right)):
            shift = place - sum((Dim.named(name) for name in names), start=Dim({}))
            if isinstance(shift, int) and isinstance(limit, int) and sides[side] == (0, (height, width)[side]):
                sides[side] = (-shift, min(limit, (height, width)[side] + shift))
                break
        else:
            return None
    (above, rows), (before, columns) = sides
    if min(above, before) < 0 or min(rows, columns) < 1:
        return None
    return Images(operand, plane, operand.slope(down[0]), beside, above, before, rows, columns)


@frozen
class ImageLines:
    """The last lines that were read of images, [column, channel], zeros around them included.

    `place` is that of LINES lines of `width` columns of `pitch` elements each.
    """

    f: Function
    vector: LLType
    place: str
    images: Images
    channels: int
    height: int
    width: int
    pitch: int

    def clear(self) -> None:
        """Zeros in all lines, if there are columns of zeros: others are overwritten."""
        if self.images.columns < self.width:
            self.f.clear(self.place, LINES * self._bytes)

    def transform(self, image: str, line: str, number: str, to: str, panel: int, tall: int) -> None:
        """B^T d B for row `line` of the tiles of an image, the `number`-th of a block, to panels at `to`.

        The first row of a block, or of an image, reads four lines; others two, as the row before has left two.
        `image` is the address of the element at 0 of all variables, whether it exists or not.
        """
        f, element, own = self.f, self.vector.element, self.images
        first = f.let(f"mul nsw i64 {line}, {OUTPUTS}")
        new = f.let(f"or i1 {f.let(f'icmp eq i64 {number}, 0')}, {f.let(f'icmp eq i64 {line}, 0')}")
        turn = own.beside == 1
        function = emit_exchange(f.module, self.vector) if turn else emit_rows(f.module, self.vector)
        with counted(f, f.let(f"select i1 {new}, i64 0, i64 {OUTPUTS}"), str(LINES), 1) as i:
            y = f.let(f"add nsw i64 {first}, {i}")
            exists = f.let(f"icmp ult i64 {f.let(f'sub nsw i64 {y}, {own.above}')}, {own.rows}")
            with when(f, exists):
                row = offset(f, element, image, f.let(f"mul nsw i64 {y}, {own.step}"))
                row = offset(f, element, row, own.before * own.beside)
                to_line = offset(f, element, self._line(y), own.before * self.pitch)
                sizes = (own.plane, self.channels, own.columns) if turn else (own.beside, own.columns, self.channels)
                sizes_text = ", ".join(f"i64 {size}" for size in sizes)
                f.line(f"call void @{function}(ptr {row}, {sizes_text}, ptr {to_line}, i64 {self.pitch})")
                if turn:
                    self._fetch(offset(f, element, row, OUTPUTS * own.step))
            if own.rows < self.height:
                beyond = f.let(f"icmp sge i64 {y}, {self.height}")
                with when(f, f.let(f"xor i1 {f.let(f'or i1 {exists}, {beyond}')}, true")):
                    f.clear(self._line(y), self._bytes)
        lines = ", ".join(f"ptr {self._line(f.let(f'add nsw i64 {first}, {i}'))}" for i in range(LINES))
        f.line(
            f"call void @{emit_elements(f.module, self.vector)}({lines}, i64 {self.pitch}, i64 {self.width - 1}, "
            f"i64 {(self.width - 1) // OUTPUTS}, ptr {to}, i64 {panel}, i64 {tall}, i64 {tall * self.pitch})"
        )

    def _fetch(self, row: str) -> None:
        """Ask for a row of all channels: memory does not foresee the jumps between them."""
        f, own = self.f, self.images
        with counted(f, "0", str(self.channels), 1) as channel:
            place = offset(f, self.vector.element, row, f.let(f"mul nsw i64 {channel}, {own.plane}"))
            with counted(f, "0", str(own.columns), LINE // self.vector.dtype.itemsize) as column:
                prefetch(f, offset(f, self.vector.element, place, column), cache=2)

    @property
    def _bytes(self) -> int:
        return self.width * self.pitch * self.vector.dtype.itemsize

    def _line(self, y: str) -> str:
        """Where line y is kept; that of the last line for those after it, which only outputs that are none look at."""
        f = self.f
        at = f.let(f"and i64 {minimum(f, y, self.height - 1)}, {LINES - 1}")
        return offset(f, self.vector.element, self.place, f.let(f"mul nsw i64 {at}, {self.width * self.pitch}"))
