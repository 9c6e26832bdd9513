"""`adjit.backends.cpu`: what the processor can do."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """The vectors that kernels are compiled for: "AVX512", "AVX2" or "DEFAULT"."""
    from adjit.compiler.llvm.host import host

    features = host().features.split(",")
    return next((name.upper() for name in ("avx512f", "avx2") if f"+{name}" in features), "DEFAULT").removesuffix("F")
