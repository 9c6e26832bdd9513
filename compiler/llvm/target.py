"""Target: the machine that code is emitted for, and what its vectors can do."""

from __future__ import annotations

import functools
import os

from adjit.ir.errors import CompileError
from adjit.ir.frozen import frozen
from adjit.ir.types import DType

# The features that the x86-64 levels imply, from the x86-64 psABI's table of micro-architecture levels.
_SSE4 = frozenset({"cx16", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"})
_AVX2 = _SSE4 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_VECTORS512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_LEVELS = {
    "x86-64": frozenset[str](),
    "x86-64-v2": _SSE4,
    "x86-64-v3": _AVX2,
    "x86-64-v4": _AVX2 | _VECTORS512 | {"avx512cd"},
}
_FUSED = frozenset({"aarch64", "arm64", "riscv64", "nvptx64", "amdgcn"})
_WIDE_FILE = frozenset({"aarch64", "arm64", "riscv64"})


@frozen
class Target:
    """A machine: LLVM's names for it, and the facts that emitters choose shapes by.

    `features` is LLVM's text (`+avx2,-sse4a,...`), `abi` its ABI name (RISC-V needs one), `vector_bytes` the width
    of a vector register, `vector_registers` their number, `has_fma` whether a*b+c in one rounding is one instruction,
    `converts_halves` whether an instruction converts between f16 and f32; LLVM calls a library where none does.
    """

    triple: str
    cpu: str
    features: str
    abi: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool
    converts_halves: bool

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in one vector register."""
        return self.vector_bytes // dtype.itemsize

    @property
    def architecture(self) -> str:
        """The triple's first part: `x86_64`, `aarch64`, ..."""
        return self.triple.partition("-")[0]

    @property
    def has_masks(self) -> bool:
        """Whether an instruction stores any lanes of a vector as fast as all."""
        return self.architecture == "x86_64" and self.vector_bytes == 64

    @property
    def multiplies_pairs(self) -> bool:
        """Whether an instruction multiplies pairs of bfloat16 and adds their products."""
        return self.has_masks and "+avx512bf16" in self.features.split(",")

    @property
    def has_avx2(self) -> bool:
        """Whether there are the instructions of AVX2, those for 32 bytes."""
        return self.architecture == "x86_64" and self.vector_bytes >= 32

    @property
    def has_avx512(self) -> bool:
        """Whether AVX-512's instructions scale by powers of two, permute by tables, and compress by masks."""
        return self.architecture == "x86_64" and self.vector_bytes == 64

    @property
    def system(self) -> str:
        """The triple's system: `linux`, `darwin`, `windows`, ..., or the empty text."""
        parts = self.triple.split("-")
        return parts[2] if len(parts) > 2 else ""


def make_target(triple: str, cpu: str = "", features: str = "", abi: str = "") -> Target:
    """The target with these LLVM names; vector facts follow from the features, and from the cpu for x86-64 levels.

    >>> make_target("x86_64-unknown-linux-gnu", "x86-64-v3").vector_bytes
    32
    """
    present = set(_LEVELS.get(cpu, ()))
    for feature in features.split(","):
        if feature.startswith("+"):
            present.add(feature[1:])
        elif feature.startswith("-"):
            present.discard(feature[1:])
    architecture = triple.partition("-")[0]
    wide = present >= _VECTORS512
    return Target(
        triple=triple,
        cpu=cpu,
        features=features,
        abi=abi,
        vector_bytes=64 if wide else 32 if "avx2" in present else 16,
        vector_registers=32 if wide or architecture in _WIDE_FILE else 16,
        has_fma="fma" in present or architecture in _FUSED,
        converts_halves="f16c" in present or architecture in ("aarch64", "arm64"),
    )


@functools.cache
def host_target() -> Target:
    """The machine this process runs on, as LLVM detects it, or the lesser one that ADJIT_CPU names.

    Errors: CompileError if ADJIT_CPU names none, or one with instructions that this machine lacks.
    """
    from adjit.compiler.llvm.host import host

    found = host()
    chosen = os.environ.get("ADJIT_CPU", "")
    if not chosen:
        return make_target(found.triple, found.cpu, found.features)
    levels = {**(_LEVELS if found.triple.startswith("x86_64") else {}), "generic": frozenset[str]()}
    if chosen not in levels:
        raise CompileError(f"ADJIT_CPU must be one of {', '.join(levels)}, not {chosen!r}")
    lacking = sorted(levels[chosen] - {name[1:] for name in found.features.split(",") if name.startswith("+")})
    if lacking:
        raise CompileError(f"ADJIT_CPU={chosen} asks for instructions that this machine lacks: {', '.join(lacking)}")
    return make_target(found.triple, chosen, ",".join(f"+{name}" for name in sorted(levels[chosen])))
