"""The limits of dtypes: `finfo`, `iinfo`."""

from __future__ import annotations

from typing import Any

import numpy as np

from adjit.dtypes import default_float, dtype, public, to_ir
from adjit.ir.types import BF16


class finfo:
    """Limits of a floating dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, type: dtype | None = None) -> None:
        ir = default_float() if type is None else to_ir(type).part
        if not ir.is_float:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{type}'")
        self.dtype = public(ir).__repr__().removeprefix("torch.")
        self.bits = ir.bits
        if ir is BF16:
            self.eps, self.max, self.tiny = 2.0**-7, 2.0**127 * (2 - 2.0**-7), 2.0**-126
            self.resolution = 0.01
        else:
            known = np.finfo(ir.storage)  # type: ignore[type-var]
            self.eps, self.max, self.tiny = float(known.eps), float(known.max), float(known.tiny)
            self.resolution = 10.0**-known.precision
        self.min = -self.max
        self.smallest_normal = self.tiny

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, min, max."""

    def __init__(self, type: dtype) -> None:
        ir = to_ir(type)
        if not ir.is_integer:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'")
        known = np.iinfo(ir.storage)  # type: ignore[type-var]
        self.bits, self.min, self.max = ir.bits, int(known.min), int(known.max)
        self.dtype = ir.long_name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


METHODS: dict[str, Any] = {}
__all__ = ["finfo", "iinfo"]
