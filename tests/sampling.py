"""What samples of ops are made of, and those of all scalar ops.

All values are drawn from a generator seeded by the op's name, so a failure is seen again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adjit.ir.errors import DTypeError
from adjit.ir.graph import Region
from adjit.ir.halfs import round_bf16, storage_dtype
from adjit.ir.primitive import Primitive
from adjit.ir.term import record, subterms
from adjit.ir.types import BF16, BOOL, C64, C128, F16, F32, F64, I8, I16, I32, I64, U8, DType, TensorType

Array = np.ndarray[Any, np.dtype[Any]]
Generator = Callable[["Draw"], Iterator["Sample"]]

FLOATS = (F32, F64)
NUMBERS = (F32, F64, I32, I64, U8)
ALL = (*NUMBERS, BOOL)


@dataclass(frozen=True, slots=True)
class Sample:
    """One use of an op.  `smooth` says that the result is differentiable here in the operands of float64."""

    name: str
    operands: tuple[Array, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    smooth: bool = True

    @property
    def types(self) -> tuple[TensorType, ...]:
        return tuple(TensorType(storage_dtype(x), x.shape) for x in self.operands)


class Draw:
    """Arrays of repeatable random values."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.random = np.random.default_rng(zlib.crc32(name.encode()))

    def array(self, shape: Sequence[int], dtype: DType = F64) -> Array:
        """Distinct floats of both signs, complex numbers of such, small integers other than 0, or bools."""
        size = math.prod(shape)
        if dtype.is_complex:
            parts = [self.array(shape, dtype.part) for _ in range(2)]
            return np.asarray(parts[0] + 1j * parts[1], dtype.storage)
        if dtype.is_float:
            # Distinct, at least 0.1 apart and away from 0: no tie, and no kink within a difference step.
            places = self.random.permutation(size) - size // 2
            values = 0.2 * places + self.random.uniform(0.05, 0.15, size)
            values = values.reshape(shape)
            return round_bf16(values.astype(np.float32)) if dtype is BF16 else values.astype(dtype.storage)
        if dtype is BOOL:
            return self.random.integers(0, 2, size).astype(bool).reshape(shape)
        return self.random.integers(1, 6, size).astype(dtype.storage).reshape(shape)

    def indices(self, extent: int, shape: Sequence[int], dtype: DType = I64) -> Array:
        """Indices into an axis, some of them twice."""
        return self.random.integers(0, extent, shape).astype(dtype.storage)


SAMPLES: dict[str, Generator] = {}


def samples_of(*names: str) -> Callable[[Generator], Generator]:
    """Make a generator that of the ops called `names`."""

    def enter(make: Generator) -> Generator:
        SAMPLES.update(dict.fromkeys(names, make))
        return make

    return enter


# -- scalar ------------------------------------------------------------------------------------------------------------
SCALAR_ATTRIBUTES = {"polygamma": {"n": 2}}
CASTS = (
    (F32, F64), (F64, F32), (F32, I32), (I64, F32), (BOOL, F32), (I32, BOOL), (I64, U8), (U8, I8), (F32, BF16),
    (F32, C64), (C64, F32), (C64, C128), (C128, F64), (I64, C128), (C64, BOOL),
)  # fmt: skip
BITCASTS = ((F32, I32), (I64, F64), (F64, I64), (I16, F16), (U8, I8))


def scalar_samples(op: Primitive) -> Generator:
    """Samples of an elementwise op: each dtype that it accepts, ranks 0 to 4, rank-0 operands, special values."""
    if op.name in ("cast", "bitcast"):
        return conversions(CASTS if op.name == "cast" else BITCASTS)
    attributes = SCALAR_ATTRIBUTES.get(op.name, {})
    count = len(op.operands)
    condition = op.name == "where"

    def operands(draw: Draw, dtype: DType, shapes: Sequence[Sequence[int]]) -> tuple[Array, ...]:
        dtypes = [BOOL, dtype, dtype] if condition else [dtype] * count
        return tuple(draw.array(shape, each) for shape, each in zip(shapes, dtypes, strict=True))

    def make(draw: Draw) -> Iterator[Sample]:
        dtypes = [dtype for dtype in (*ALL, I8, BF16, F16, C64, C128) if accepts(op, dtype, condition, attributes)]
        for dtype in dtypes:
            yield Sample(f"{dtype}", operands(draw, dtype, [(2, 3)] * count), attributes)
        if is_long(op):  # each use costs the compiler as much as a hundred of another op
            return
        for shape in ((), (5,), (2, 0), (2, 1, 3), (2, 1, 2, 2)):
            yield Sample(f"shape {shape}", operands(draw, dtypes[0], [shape] * count), attributes)
        for place in range(count if count > 1 else 0):
            shapes = [() if other == place else (2, 2) for other in range(count)]
            yield Sample(f"rank 0 at {place}", operands(draw, dtypes[0], shapes), attributes)
        if dtypes[0].is_float:
            special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1.0, -1.0, 0.5], dtypes[0].storage)
            rows = [np.roll(special, 2 * place) for place in range(count)]
            if condition:
                rows[0] = rows[0] > 0
            yield Sample("special values", tuple(rows), attributes, smooth=False)

    return make


def is_long(op: Primitive) -> bool:
    """Whether an op's body is over a hundred ops long."""
    return op.body is not None and len(set(subterms(record(op.body, op.operands, op.attributes)))) > 100


def accepts(op: Primitive, dtype: DType, condition: bool, attributes: dict[str, Any]) -> bool:
    """Whether the op's inference takes operands of `dtype`; anything but a refusal of the dtype is an error."""
    dtypes = [BOOL, dtype, dtype] if condition else [dtype] * len(op.operands)
    try:
        op.infer([TensorType(each, ()) for each in dtypes], attributes)
    except DTypeError:
        return False
    return True


def conversions(pairs: Sequence[tuple[DType, DType]]) -> Generator:
    def make(draw: Draw) -> Iterator[Sample]:
        for source, target in pairs:
            for shape in ((), (2, 3)):
                yield Sample(f"{source} to {target} {shape}", (draw.array(shape, source),), {"dtype": target})

    return make
