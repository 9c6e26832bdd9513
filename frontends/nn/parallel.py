"""`adjit.nn.parallel`: modules on several devices; there is one, so they are called as they are."""

from __future__ import annotations

from typing import Any

from adjit.nn.containers import DataParallel
from adjit.nn.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


class DistributedDataParallel(Module):
    """A module of several processes, of which there is one: scripts ask whether theirs is such a module."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """What the module makes of the inputs, of one or a tuple."""
    operands = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*operands, **(module_kwargs or {}))
