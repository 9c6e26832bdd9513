"""How a convolution with 3 x 3 taps is cut by Winograd's method.

Outputs are computed in tiles of 2 x 2, each from 4 x 4 elements of the image: F(2x2, 3x3) of Lavin and Gray, "Fast
algorithms for convolutional neural networks", 2016.  With g the taps and d the elements of one channel,

    out = A^T [ sum over channels of (G g G^T) * (B^T d B) ] A,

so that the sum over channels is 16 products of matrices (tiles by channels, channels by features) instead of 36 for
as many outputs.  The terms of B^T d B are sums of four elements, those of `out` sums of nine: rounding errors
are one to two times those of the direct sum, at worst 3.3 times (600 channels of positive numbers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adjit.compiler.llvm.gemm_plan import DEPTH, GemmPlan, plan_gemm, round_up
from adjit.compiler.memory import LINE
from adjit.compiler.winograd import OUTPUTS, PRODUCTS
from adjit.ir.frozen import changed, frozen
from adjit.ir.shape import Size
from adjit.ir.types import F32

if TYPE_CHECKING:
    from adjit.compiler.llvm.target import Target

# The lines of an image that a row of tiles takes, by turns in as many places.
LINES = 4
# Tiles in a block: its matrices stay in L2, and what the kernel's matrices cost to read from there is shared by all.
_TILES, _MANY_TILES = 56, 168
# Transformed kernels beyond this are read from L3 for each block, so that more tiles must share them.
_KERNEL_BYTES = 2 << 20
# Partial sums of a kernel's gradient, and the bytes of all of them: more threads, or less memory.
_MOST_PARTIALS, _PARTIAL_BYTES = 8, 40 << 20
# The least tiles of one: with fewer, to store and add up its sums takes longer than what they save.
PARTIAL_TILES = 64


@frozen
class _Cut:
    """Samples of height x width outputs in blocks of `block` rows of tiles; products as `tile` has them."""

    tile: GemmPlan
    channels: int
    features: int
    height: int
    width: int
    block: int

    @property
    def lines(self) -> int:
        """The rows of tiles of one sample."""
        return -(-self.height // OUTPUTS)

    @property
    def across(self) -> int:
        """The tiles of a row."""
        return -(-self.width // OUTPUTS)

    def _bytes(self, elements: int) -> int:
        return round_up(elements * self.tile.dtype.itemsize, LINE)


@frozen
class WinogradPlan(_Cut):
    """The cut of a convolution [samples, channels, ..] -> [samples, features, height, width].

    The products have the register tile and the panels of `tile`; at most `tasks` tasks run at once.
    """

    tasks: int

    @property
    def tall(self) -> int:
        """The rows of each matrix of a block: one for each tile, and whole register tiles."""
        return round_up(self.block * self.across, self.tile.mr)

    @property
    def pitch(self) -> int:
        """The channels with those that make whole vectors."""
        return round_up(self.channels, self.tile.lanes)

    @property
    def run(self) -> int:
        """The channels that are summed at once: runs of equal length, as short as those of any product."""
        return -(-self.channels // -(-self.channels // DEPTH))

    @property
    def panels(self) -> int:
        """The panels of features."""
        return -(-self.features // self.tile.nr)

    @property
    def stride(self) -> int:
        """The features with those that make whole panels."""
        return self.panels * self.tile.nr

    @property
    def kernel_bytes(self) -> int:
        """The transformed kernel: for each product and panel of features a panel [channels, nr]."""
        return self._bytes(PRODUCTS * self.channels * self.stride)

    def parts(self, epilogue: bool) -> list[int]:
        """Bytes of a task's matrices of elements and of sums, of four lines of the image, and of a row of outputs.

        And, with an `epilogue`, of the same outputs by feature.
        """
        outputs = OUTPUTS * self.width + 1
        sizes = (PRODUCTS * self.tall * self.pitch, PRODUCTS * self.tall * self.stride,
                 LINES * (self.width + 2) * self.pitch, outputs * self.stride,
                 epilogue * (self.features * OUTPUTS * self.width + self.tile.lanes))  # fmt: skip
        return [self._bytes(size) for size in sizes]

    def workspace_bytes(self, epilogue: bool) -> int:
        """All workspace: the kernel, the parts of each task, and room to align the first."""
        return self.kernel_bytes + self.tasks * sum(self.parts(epilogue)) + LINE


@frozen
class KernelGradientPlan(_Cut):
    """The cut of the gradient of a kernel [features, channels, 3, 3], from images and the cotangents of outputs.

    The transpose of the convolution: G^T [ sum over tiles of (A dy A^T) * (B^T d B) ] G.  The rows of tiles of all
    samples are cut into at most `partials` parts, whose sums are added in order in the end: no threads share a sum.
    """

    partials: int
    tasks: int

    @property
    def tall(self) -> int:
        """The tiles of a block."""
        return self.block * self.across

    @property
    def pitch(self) -> int:
        """The channels with those that make whole panels."""
        return round_up(self.channels, self.tile.nr)

    @property
    def rows(self) -> int:
        """The features with those that make whole register tiles."""
        return round_up(self.features, self.tile.mr)

    @property
    def stride(self) -> int:
        """The same in whole vectors."""
        return round_up(self.rows, self.tile.lanes)

    @property
    def sums(self) -> int:
        """The elements of one partial sum: for each product a matrix [rows, pitch]."""
        return PRODUCTS * self.rows * self.pitch

    def parts(self) -> list[int]:
        """Bytes of a task's matrices of elements and of cotangents, and of its lines of both."""
        sizes = (PRODUCTS * self.tall * self.pitch, PRODUCTS * self.tall * self.stride,
                 LINES * (self.width + 2) * self.pitch, 2 * OUTPUTS * self.across * self.stride)  # fmt: skip
        return [self._bytes(size) for size in sizes]

    def last_parts(self) -> list[int]:
        """Bytes of a feature's total, of its taps [9, pitch], and of these as the kernel has them."""
        sizes = PRODUCTS * self.pitch, 9 * self.pitch, 9 * self.channels + self.tile.lanes
        return [self._bytes(size) for size in sizes]

    @property
    def sums_bytes(self) -> int:
        """All partial sums, which the workspace begins with."""
        return self._bytes(self.partials * self.sums)

    @property
    def workspace_bytes(self) -> int:
        """All workspace: the sums, the parts of each task, and room to align the first."""
        return self.sums_bytes + self.tasks * max(sum(self.parts()), sum(self.last_parts())) + LINE


def plan_kernel_gradient(
    target: Target, channels: int, features: int, height: int, width: int, samples: Size, tasks: int
) -> KernelGradientPlan:
    """The plan for float32; `samples` may be unknown."""
    across = -(-width // OUTPUTS)
    sums = PRODUCTS * channels * features * F32.itemsize
    block = max(1, round((_MANY_TILES if sums > _KERNEL_BYTES else _TILES) / across))
    tile = changed(plan_gemm(F32, target, features, channels, block * across), fetches=False, streams=False)
    partials = max(1, min(_MOST_PARTIALS, _PARTIAL_BYTES // sums))
    if isinstance(samples, int):
        partials = max(1, min(partials, -(-height // OUTPUTS) * across * samples // PARTIAL_TILES))
    return KernelGradientPlan(tile, channels, features, height, width, block, partials, min(tasks, partials))


def plan_winograd(
    target: Target, channels: int, features: int, height: int, width: int, tasks: int
) -> WinogradPlan:
    """The plan for float32."""
    across = -(-width // OUTPUTS)
    large = PRODUCTS * channels * features * F32.itemsize > _KERNEL_BYTES
    block = max(1, round((_MANY_TILES if large else _TILES) / across))
    tile = plan_gemm(F32, target, block * across, features, channels)
    tile = changed(tile, fetches=False, streams=False, order="windows")
    return WinogradPlan(tile, channels, features, height, width, block, tasks)
