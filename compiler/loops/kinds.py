"""Ops that have kernels of their own, by name; `special` lowers them."""

from __future__ import annotations

from adjit.ir.graph import Node

# Algorithms on small matrices, which have kernels.
ON_MATRICES = ("cholesky", "lu", "lu_solve", "triangular_solve")
# What algorithms by LAPACK's functions are called (compiler/on_host.py, llvm/emit_lapack.py).
LAPACK_PREFIX = "lapack."
# Fourier transforms, those along one axis whose length has small factors.
TRANSFORMS = ("fft", "irfft", "rfft")
# What reads matrices, or rows, where they stand in memory.
WHOLE_READERS = frozenset(("sort", "lapack", *ON_MATRICES, *TRANSFORMS))
RUNNING = {"cumulate_sum": "add", "cumulate_prod": "mul", "cumulate_max": "maximum", "cumulate_min": "minimum"}
SCATTERS = tuple(f"scatter_{kind}" for kind in ("set", "add", "mul", "max", "min"))
SPECIAL = frozenset(
    ("concat", "interleave", "sort", "lapack", "recur", *ON_MATRICES, *TRANSFORMS, *RUNNING, *SCATTERS)
)
# Ops whose results are stored whether they are used or not.
WHOLE = SPECIAL - {"sort"}
# A padded array of so many elements for each of its operand's is thin.
_THIN = 8


def is_thin(node: Node) -> bool:
    """Whether a `pad` puts elements far apart, as on a diagonal: most of its result is the value between them."""
    gaps: tuple[int, ...] = node.attributes.get("interior", ())  # type: ignore[assignment]
    size, whole = node.inputs[0].type.size if gaps else 0, node.outputs[0].type.size
    return any(gaps) and isinstance(size, int) and isinstance(whole, int) and _THIN * size <= whole
