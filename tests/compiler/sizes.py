"""The values of named sizes, read off arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.ir.analysis import match_sizes
from adjit.ir.graph import Value


def sizes_of(inputs: Sequence[Value], arrays: Sequence[Any]) -> dict[str, int]:
    """What the named sizes in the types of `inputs` are for these arrays."""
    found = match_sizes([value.dims for value in inputs], [a.shape for a in arrays])
    return {name: size for name, size in found.items() if isinstance(size, int)}
