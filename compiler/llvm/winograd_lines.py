"""Lines of images as Winograd's method reads them: [column, channel], four of them kept for a row of tiles."""

from __future__ import annotations

from adjit.compiler.llvm.gemm_tile import counted, minimum, offset, when
from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.winograd_plan import OUTPUTS
from adjit.compiler.llvm.winograd_transform import emit_elements, emit_exchange
from adjit.ir.frozen import frozen

# The lines that a row of tiles takes, by turns in as many places.
LINES = 4


@frozen
class ImageLines:
    """The last lines that were read of images [channels, rows, columns].

    Channels stand `plane` apart in memory, rows `step`.  `place` is that of LINES lines, `pitch` elements a column.
    """

    f: Function
    vector: LLType
    place: str
    channels: int
    rows: int
    columns: int
    plane: int
    step: int
    pitch: int

    def transform(self, image: str, line: str, number: str, to: str, panel: int, tall: int) -> None:
        """B^T d B for row `line` of the tiles of an image, the `number`-th of a block, to panels at `to`.

        The first row of a block, or of an image, reads four lines; others two, as the row before has left two.
        """
        f, element = self.f, self.vector.element
        first = f.let(f"mul nsw i64 {line}, {OUTPUTS}")
        new = f.let(f"or i1 {f.let(f'icmp eq i64 {number}, 0')}, {f.let(f'icmp eq i64 {line}, 0')}")
        exchange = emit_exchange(f.module, self.vector)
        with counted(f, f.let(f"select i1 {new}, i64 0, i64 {OUTPUTS}"), str(LINES), 1) as i:
            y = f.let(f"add nsw i64 {first}, {i}")
            with when(f, f.let(f"icmp slt i64 {y}, {self.rows}")):
                row = offset(f, element, image, f.let(f"mul nsw i64 {y}, {self.step}"))
                f.line(
                    f"call void @{exchange}(ptr {row}, i64 {self.plane}, i64 {self.channels}, i64 {self.columns}, "
                    f"ptr {self._line(y)}, i64 {self.pitch})"
                )
        lines = ", ".join(f"ptr {self._line(f.let(f'add nsw i64 {first}, {i}'))}" for i in range(LINES))
        tiles = (self.columns - 1) // OUTPUTS
        f.line(
            f"call void @{emit_elements(f.module, self.vector)}({lines}, i64 {self.pitch}, i64 {self.columns - 1}, "
            f"i64 {tiles}, ptr {to}, i64 {panel}, i64 {tall}, i64 {tall * self.pitch})"
        )

    def _line(self, y: str) -> str:
        """Where line y is kept; that of the last line for those after it, which only outputs that are none look at."""
        f = self.f
        at = f.let(f"and i64 {minimum(f, y, self.rows - 1)}, {LINES - 1}")
        return offset(f, self.vector.element, self.place, f.let(f"mul nsw i64 {at}, {self.columns * self.pitch}"))
