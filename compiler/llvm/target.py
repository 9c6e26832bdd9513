"""Target: the machine that code is emitted for, and what its vectors can do."""

from __future__ import annotations

import functools
from typing import Any

from adjit.ir.frozen import frozen
from adjit.ir.types import DType

# The vector features that the x86-64 levels imply, from the x86-64 psABI's table of micro-architecture levels.
_AVX2 = frozenset({"avx", "avx2", "fma"})
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_IMPLIED = {"x86-64-v3": _AVX2, "x86-64-v4": _AVX2 | _AVX512}
_FUSED = frozenset({"aarch64", "arm64", "riscv64", "nvptx64", "amdgcn"})
_WIDE_FILE = frozenset({"aarch64", "arm64", "riscv64"})


@frozen
class Target:
    """A machine: LLVM's names for it, and the facts that emitters choose shapes by.

    `features` is LLVM's text (`+avx2,-sse4a,...`), `abi` its ABI name (RISC-V needs one), `vector_bytes` the width
    of a vector register, `vector_registers` their number, `has_fma` whether a*b+c in one rounding is one instruction.
    """

    triple: str
    cpu: str
    features: str
    abi: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in one vector register."""
        return self.vector_bytes // dtype.itemsize

    @property
    def architecture(self) -> str:
        """The triple's first part: `x86_64`, `aarch64`, ..."""
        return self.triple.partition("-")[0]

    @property
    def converts_halves(self) -> bool:
        """Whether an instruction converts between f16 and f32; LLVM calls a library where none does."""
        return "+f16c" in self.features.split(",") or self.architecture == "aarch64"

    @property
    def has_masks(self) -> bool:
        """Whether an instruction stores any lanes of a vector as fast as all."""
        return self.architecture == "x86_64" and self.vector_bytes == 64

    @property
    def multiplies_pairs(self) -> bool:
        """Whether an instruction multiplies pairs of bfloat16 and adds their products."""
        return self.has_masks and "+avx512bf16" in self.features.split(",")

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
    present = set(_IMPLIED.get(cpu, ()))
    for feature in features.split(","):
        if feature.startswith("+"):
            present.add(feature[1:])
        elif feature.startswith("-"):
            present.discard(feature[1:])
    architecture = triple.partition("-")[0]
    wide = present >= _AVX512
    return Target(
        triple=triple,
        cpu=cpu,
        features=features,
        abi=abi,
        vector_bytes=64 if wide else 32 if "avx2" in present else 16,
        vector_registers=32 if wide or architecture in _WIDE_FILE else 16,
        has_fma="fma" in present or architecture in _FUSED,
    )


@functools.cache
def host_target() -> Target:
    """The machine this process runs on, as LLVM detects it."""
    from adjit.compiler.llvm.host import host

    found = host()
    return make_target(found.triple, found.cpu, found.features)


def target_machine(target: Target, level: int = 2) -> Any:
    """A new llvmlite target machine for `target`: position-independent, small code model.

    The small model makes calls direct (`call symbol`); llvmlite's own default for JIT code is the large one, where
    each call goes through a register.
    """
    from adjit.compiler.llvm.binding import find_target

    return find_target(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=level, reloc="pic", codemodel="default", abiname=target.abi
    )
