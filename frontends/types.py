"""PyTorch's `torch.types`: names for annotations."""

from __future__ import annotations

import os
from typing import IO, Union

from adjit.device import device as _device
from adjit.device import layout as _layout  # noqa: F401 - a name of this module
from adjit.dtypes import dtype as _dtype  # noqa: F401 - a name of this module
from adjit.size import Size
from adjit.storage import UntypedStorage as Storage
from adjit.symbolic_size import SymbolicSize as SymInt
from adjit.tensor import Tensor

__all__ = ["BoolLikeType", "Device", "FileLike", "FloatLikeType", "IntLikeType", "Number", "Size", "Storage", "SymInt",
           "Tensor"]  # fmt: skip

Number = Union[int, float, bool]  # noqa: UP007 - as PyTorch prints it
Device = Union[_device, str, int, None]  # noqa: UP007
FileLike = Union[str, "os.PathLike[str]", IO[bytes]]
IntLikeType = Union[int, SymInt]  # noqa: UP007
FloatLikeType, BoolLikeType = float, bool
_int, _float, _bool, _str, _complex, _bytes = int, float, bool, str, complex, bytes
_size = Union[Size, list[int], tuple[int, ...]]  # noqa: UP007
_TensorOrTensors = Union[Tensor, "tuple[Tensor, ...]"]
