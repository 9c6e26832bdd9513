"""When results of adjit and of torch agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.peers.bridge import Stand

# |ours - torch's| <= absolute + relative * |torch's|: four times what torch allows between its own devices for
# float32, since two right summation orders differ by as much.
TOLERANCES = {torch.float64: (1e-7, 1e-7), torch.float32: (1e-5, 6e-6), torch.float16: (2e-3, 2e-3),
              torch.bfloat16: (2e-2, 2e-2), torch.complex64: (1e-5, 6e-6), torch.complex128: (1e-7, 1e-7)}  # fmt: skip
FACTOR = [1.0]  # by how much the tolerance of the operator at hand is wider


class Different(AssertionError):
    """The two libraries disagree."""


def compare(ours: Any, theirs: Any, random: bool, where: str = "result", truth: Any = None) -> None:
    """Raise Different unless the values agree; `truth` is what torch has in float64, where that is asked."""
    if isinstance(theirs, torch.Tensor):
        if not isinstance(ours, Stand):
            raise Different(f"{where}: {type(ours).__name__} in place of a tensor")
        tensor = ours.tensor
        if str(tensor.dtype) != str(theirs.dtype):
            raise Different(f"{where}: dtype {tensor.dtype}, torch has {theirs.dtype}")
        if tuple(tensor.shape) != tuple(theirs.shape):
            raise Different(f"{where}: shape {tuple(tensor.shape)}, torch has {tuple(theirs.shape)}")
        if not random:
            compare_numbers(tensor, theirs, where, truth)
    elif isinstance(theirs, dict):
        for key, item in theirs.items():
            compare(ours[key], item, random, f"{where}[{key!r}]", None if truth is None else truth[key])
    elif isinstance(theirs, (tuple, list)):
        if not isinstance(ours, (tuple, list)) or len(ours) != len(theirs):
            raise Different(f"{where}: {ours!r:.80} in place of {len(theirs)} values")
        for index, (left, right) in enumerate(zip(ours, theirs, strict=True)):
            compare(left, right, random, f"{where}[{index}]", None if truth is None else truth[index])
    elif isinstance(theirs, (float, complex)):
        if not np.isclose(ours, theirs, rtol=1e-5, atol=1e-6, equal_nan=True):
            raise Different(f"{where}: {ours!r}, torch has {theirs!r}")
    elif isinstance(theirs, (bool, int, str)) and ours != theirs:
        raise Different(f"{where}: {ours!r}, torch has {theirs!r}")


def compare_numbers(tensor: Any, theirs: torch.Tensor, where: str, truth: torch.Tensor | None = None) -> None:
    """Raise Different unless each element is within the tolerance, or as near the truth as torch's worst."""
    left, right = as_numpy(tensor), as_numpy(theirs.detach().resolve_conj().resolve_neg())
    if theirs.dtype in TOLERANCES:
        relative, absolute = (FACTOR[0] * bound for bound in TOLERANCES[theirs.dtype])
        close = np.isclose(left, right, rtol=relative, atol=absolute, equal_nan=True)
    else:
        close = left == right
    if truth is not None and truth.shape == theirs.shape:
        exact = as_numpy(truth.detach().resolve_conj().resolve_neg())
        with np.errstate(invalid="ignore"):
            distance = np.abs(right - exact)
            bound = np.max(distance[np.isfinite(distance)], initial=0.0)
            close |= (np.abs(left - exact) <= bound) | np.isclose(left, exact, rtol=relative, atol=absolute)
    if not close.all():
        at = tuple(int(i) for i in np.argwhere(~close)[0])
        raise Different(
            f"{where}: {int((~close).sum())} of {close.size} elements differ, first at {at}: "
            f"{left[at]!r}, torch has {right[at]!r}"
        )


def as_numpy(tensor: Any) -> np.ndarray:
    """The numbers, in float32 where NumPy has no type."""
    plain = tensor.detach()
    plain = plain.float() if "bfloat16" in str(plain.dtype) else plain
    return np.asarray(plain.numpy(force=True) if isinstance(plain, torch.Tensor) else plain.numpy())
