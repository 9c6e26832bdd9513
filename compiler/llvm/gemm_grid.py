"""Places of operands that products read where they stand, and columns of what is computed of them (`gemm_placed`)."""

from __future__ import annotations

from adjit.compiler.llvm.gemm_plan import ALL_ROWS
from adjit.ir.frozen import frozen


@frozen
class Grid:
    """Columns of C in rows of `pitch`, the first `row` of each stored, `stride` apart in C from row to row.

    Neighbours in a row stand `step` apart in C; 0 is for a step that is not known.  If `group` is not 0, each group of
    so many rows begins `group_stride` after the one before.
    """

    columns: int
    pitch: int
    row: int
    stride: int
    step: int = 1
    group: int = 0
    group_stride: int = 0

    @property
    def stored(self) -> int:
        """The number of columns that are stored."""
        return self.columns if self.pitch == 0 else -(-self.columns // self.pitch) * self.row


NO_GRID = Grid(0, 0, 0, 0, 0)


@frozen
class Places:
    """The functions that tell where elements stand.

    `ptr @a_place(buffers, sizes, batch)` is the address of a batch's first element of A; `void @a_rows(buffers, sizes,
    first, count, table, pitch)` puts what rows first.. add to it into each `pitch`-th entry of a table, in elements,
    `a_steps` what k adds; so for B, where `b_steps` of None says that B is packed into panels.  Of A, `beside` elements
    follow each other from row to row for each `taps` of k, which jumps; 0 where k does not jump.
    """

    a_place: str
    a_rows: str
    a_steps: str
    b_place: str | None
    b_steps: str | None
    grid: Grid
    taps: int
    beside: int = 0

    def arguments(self, copy: str, pack_tail: str, n: str) -> dict[str, object]:
        """What `PLACED` names."""
        grid = self.grid
        return {
            "a_place": f"@{self.a_place}", "a_rows": f"@{self.a_rows}", "a_steps": f"@{self.a_steps}",
            "b_place": f"@{self.b_place}" if self.b_steps else "null", "b_steps": f"@{self.b_steps or self.a_steps}",
            "copy": f"@{copy}" if copy else "null", "pack_tail": f"@{pack_tail}" if self.b_steps else "null",
            "grid_pitch": str(grid.pitch or n), "grid_row": str(grid.row) if grid.pitch else n,
            "grid_stride": str(grid.stride), "grid_group": str(grid.group or ALL_ROWS),
            "group_stride": str(grid.group_stride), "taps": str(self.taps),
            "beside": str(self.beside),
        }  # fmt: skip


PLACED = {
    "a_place": "ptr", "a_rows": "ptr", "a_steps": "ptr", "b_place": "ptr", "b_steps": "ptr", "copy": "ptr",
    "pack_tail": "ptr", "grid_pitch": "i64", "grid_row": "i64", "grid_stride": "i64", "grid_group": "i64",
    "group_stride": "i64", "taps": "i64", "beside": "i64",
}  # fmt: skip
