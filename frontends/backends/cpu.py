"""`adjit.backends.cpu`: what the processor can do."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """The vectors that kernels are compiled for: "AVX512", "AVX2" or "DEFAULT"."""
    from adjit.compiler.llvm.target import host_target

    target = host_target()
    return "AVX512" if target.has_avx512 else "AVX2" if target.has_avx2 else "DEFAULT"
