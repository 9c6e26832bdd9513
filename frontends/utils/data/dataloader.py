"""PyTorch's second address of the loader, which programs import from."""

from __future__ import annotations

from adjit.utils.data.collate import default_collate, default_convert
from adjit.utils.data.loader import DataLoader
from adjit.utils.data.workers import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
