"""torch.signal: windows of signals."""

from __future__ import annotations

from adjit.signal import windows

__all__ = ["windows"]
