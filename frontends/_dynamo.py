"""`import adjit._dynamo`, for scripts that tell PyTorch's tracer something: `adjit.compiler` has the functions."""

from __future__ import annotations

from types import SimpleNamespace

from adjit.compiling import allow_in_graph, disable, is_compiling, list_backends, reset

__all__ = ["allow_in_graph", "config", "disable", "is_compiling", "list_backends", "reset"]

# Kept, without effect: errors are never hidden, and programs have no limit in number.
config = SimpleNamespace(
    cache_size_limit=8, capture_dynamic_output_shape_ops=False, capture_scalar_outputs=False,
    recompile_limit=8, suppress_errors=False, verbose=False,
)  # fmt: skip
