"""Batch normalisation, with the bases that programs ask for."""

from __future__ import annotations

from adjit.nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm, _BatchNorm
from adjit.nn.normalization import _Norm as _NormBase

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "_BatchNorm", "_NormBase"]
