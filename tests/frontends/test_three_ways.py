"""Each primitive on all its samples: the interpreter, eager mode and a strictly compiled program agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.dispatch import apply
from adjit.ir.halfs import storage_dtype
from adjit.ir.primitive import PRIMITIVES
from adjit.tensor import Tensor
from tests.ir.laws import OPS, compute
from tests.samples import samples
from tests.sampling import Array, Sample

Layout = Callable[[Array], Array]


def every_second(x: Array) -> Array:
    """The same numbers, two places apart on the last axis."""
    x = np.asarray(x)
    if not x.ndim:
        return x
    wide = np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


LAYOUTS: dict[str, Layout] = {
    "row-major": lambda x: np.array(x, order="C"),
    "column-major": lambda x: np.array(x, order="F"),
    "every second": every_second,
}
NAMES = sorted(op.name for op in OPS if op.name != "host_call")


def tensors_of(sample: Sample, layout: Layout) -> list[Tensor]:
    """The operands as tensors over arrays of this layout."""
    return [Tensor._wrap(layout(x), storage_dtype(x)) for x in sample.operands]


def outputs(sample: Sample, op: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    found = apply(PRIMITIVES[op], tensors, sample.attributes, regions=sample.regions)
    return [found] if isinstance(found, Tensor) else list(found)


def groups(op: str) -> list[list[Sample]]:
    """Samples that one program can hold: those with regions stand alone."""
    found = [sample for sample in samples(PRIMITIVES[op]) if sample.operands]
    return [[sample] for sample in found] if PRIMITIVES[op].family == "control" else [found]


@pytest.mark.parametrize("op", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_eager_is_strictly_compiled(op: str, layout: str) -> None:
    for group in groups(op):
        counts = [len(sample.operands) for sample in group]

        def run(*tensors: Tensor, group: list[Sample] = group, counts: list[int] = counts) -> list[Tensor]:
            given, found = iter(tensors), []
            for sample, count in zip(group, counts, strict=True):
                found += outputs(sample, op, [next(given) for _ in range(count)])
            return found

        tensors = [tensor for sample in group for tensor in tensors_of(sample, LAYOUTS[layout])]
        eager = run(*tensors)
        compiled = torch.compile(run, strict=True)(*tensors) if tensors else []
        for ours, theirs in zip(compiled, eager, strict=True):
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            np.testing.assert_array_equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("op", NAMES)
def test_eager_is_the_interpreter(op: str) -> None:
    for group in groups(op):
        for sample in group:
            if PRIMITIVES[op].family == "control":
                continue
            expected = compute(PRIMITIVES[op], sample)
            for ours, theirs in zip(outputs(sample, op, tensors_of(sample, np.array)), expected, strict=True):
                assert ours._array is not None and ours._array.dtype == theirs.dtype
                unit = 1e-5 if ours._array.real.dtype == np.float32 else 1e-12
                if ours._array.dtype.kind in "fc" and ours._array.dtype != np.float16:
                    np.testing.assert_allclose(ours._array, theirs, rtol=16 * unit, atol=16 * unit)
                elif ours.dtype not in (torch.bfloat16, torch.float16):
                    np.testing.assert_array_equal(ours._array, theirs)


def bits(tensor: Tensor) -> Any:
    """The memory of a tensor as integers; NaNs are one, whatever their sign and payload."""
    array = np.ascontiguousarray(tensor._array)
    if array.dtype.kind == "c":
        array = array.reshape(-1).view(array.real.dtype)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.view(f"u{array.itemsize}") if array.ndim else array.reshape(1).view(f"u{array.itemsize}")
