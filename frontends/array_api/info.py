"""What the namespace says of itself: `__array_namespace_info__`."""

from __future__ import annotations

from typing import Any

import adjit
from adjit.array_api.data_types import DATA_TYPES, isdtype
from adjit.creation import check_device
from adjit.device import device
from adjit.dtypes import dtype


class Info:
    """Capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """Whether masks index, whether shapes may depend on data, and the most dims."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> device:
        """The device of new tensors."""
        return device("cpu")

    def default_dtypes(self, *, device: Any = None) -> dict[str, dtype]:
        """The dtypes of new tensors."""
        check_device(device)
        real = adjit.get_default_dtype()
        pairs = adjit.complex128 if real is adjit.float64 else adjit.complex64
        return {"real floating": real, "complex floating": pairs, "integral": adjit.int64, "indexing": adjit.int64}

    def devices(self) -> list[device]:
        """All devices."""
        return [device("cpu")]

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, dtype]:
        """Name -> dtype, of one kind or of several."""
        check_device(device)
        return {name: found for name, found in DATA_TYPES.items() if kind is None or isdtype(found, kind)}


def __array_namespace_info__() -> Info:
    """What the namespace can do."""
    return Info()
