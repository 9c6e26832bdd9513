"""Devices: there is one, the CPU."""

from __future__ import annotations

from typing import Any


class device:
    """Where a tensor stands: `cpu`.  Other names are accepted, and refused when used."""

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        name, colon, number = str(type).partition(":")
        if name not in ("cpu", "cuda", "mps", "xpu", "meta"):
            raise RuntimeError(
                f"Expected one of cpu, cuda, xpu, mps, meta device type at start of device string: {name}"
            )
        self.type = name
        self.index = int(number) if colon else index

    def require(self) -> None:
        """RuntimeError unless tensors can stand here."""
        if self.type == "cuda":
            raise AssertionError("Torch not compiled with CUDA enabled")
        if self.type != "cpu":
            raise RuntimeError(f"no {self.type} device serves here; adjit.device('cpu') does")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (other.type, other.index) == (self.type, self.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')" if self.index is None else f"device(type='{self.type}', index={self.index})"
        )


CPU = device("cpu")


class cuda:
    """There is no CUDA device."""

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False

    @staticmethod
    def device_count() -> int:
        """0."""
        return 0


METHODS: dict[str, Any] = {}
__all__ = ["cuda", "device"]
