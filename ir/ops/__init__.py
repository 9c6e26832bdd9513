"""All primitives: importing this package fills the registry."""

from adjit.ir.ops import (
    contraction,
    control,
    factorization,
    indexing,
    named,
    recurrence,
    reduction,
    scalar,
    solving,
    source,
    strided,
    structure,
    windows,
)

__all__ = [
    "contraction", "control", "factorization", "indexing", "named", "recurrence", "reduction", "scalar", "solving",
    "source", "strided", "structure", "windows",
]  # fmt: skip
