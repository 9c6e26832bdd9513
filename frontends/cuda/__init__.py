"""`import adjit.cuda`, for scripts that ask whether there is a CUDA device: there is none."""

from __future__ import annotations

from typing import Any

from adjit.device import cuda as _cuda


def __getattr__(name: str) -> Any:
    return getattr(_cuda, name)
