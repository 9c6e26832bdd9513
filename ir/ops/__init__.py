"""All primitives: importing this package fills the registry."""

from adjit.ir.ops import contraction, control, indexing, named, reduction, scalar, source, strided, structure, windows

__all__ = [
    "contraction", "control", "indexing", "named", "reduction", "scalar", "source", "strided", "structure", "windows",
]  # fmt: skip
