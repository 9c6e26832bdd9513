"""Switches of PyTorch that scripts set: threads, determinism, precision.

adjit's results never depend on the number of threads, its functions are deterministic, and float32 products are
computed in float32: the switches for these are kept, and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.epoch import EPOCH
from adjit.runtime.threads import get_num_threads, set_num_threads


class _Switches:
    deterministic = False
    warn_only = False
    precision = "highest"
    interop_threads = 1
    warn_always = False


def switches() -> tuple[bool, bool, str, bool]:
    """What scripts may ask for again."""
    return _Switches.deterministic, _Switches.warn_only, _Switches.precision, _Switches.warn_always


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for deterministic functions, which all of adjit's are."""
    _Switches.deterministic, _Switches.warn_only = bool(mode), bool(warn_only)
    EPOCH.advance()


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was last given."""
    return _Switches.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """The `warn_only` that `use_deterministic_algorithms` was last given."""
    return _Switches.warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 or "default", 1 or "warn", 2 or "error"."""
    modes = {"default": 0, "warn": 1, "error": 2}
    mode = modes.get(debug_mode, -1) if isinstance(debug_mode, str) else debug_mode
    if mode not in (0, 1, 2):
        raise RuntimeError(
            f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}"
        )
    use_deterministic_algorithms(mode > 0, warn_only=mode == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2, as `set_deterministic_debug_mode` takes them."""
    return 0 if not _Switches.deterministic else 1 if _Switches.warn_only else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Accept "highest", "high" or "medium"; float32 products are always computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"set_float32_matmul_precision: '{precision}' is not 'highest', 'high' or 'medium'")
    _Switches.precision = precision
    EPOCH.advance()


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was last given."""
    return _Switches.precision


def get_num_interop_threads() -> int:
    """What `set_num_interop_threads` was last given: operations never run beside each other."""
    return _Switches.interop_threads


def set_num_interop_threads(count: int) -> None:
    """Accept a number of threads for operations beside each other, which there are none of."""
    if count < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _Switches.interop_threads = count


def set_flush_denormal(mode: bool) -> bool:
    """False, the answer of a machine that does not flush denormal numbers to zero: adjit keeps them."""
    return False


def set_warn_always(b: bool) -> None:
    """Accept whether warnings are repeated; Python's filters say it here."""
    _Switches.warn_always = bool(b)
    EPOCH.advance()


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was last given."""
    return _Switches.warn_always


METHODS: dict[str, Callable[..., Any]] = {}
__all__ = [
    "are_deterministic_algorithms_enabled", "get_deterministic_debug_mode", "get_float32_matmul_precision",
    "get_num_interop_threads", "get_num_threads", "is_deterministic_algorithms_warn_only_enabled",
    "is_warn_always_enabled", "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal",
    "set_num_interop_threads", "set_num_threads", "set_warn_always", "use_deterministic_algorithms",
]  # fmt: skip
