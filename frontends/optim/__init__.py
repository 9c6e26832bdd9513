"""Optimizers and schedules of their learning rates; PyTorch's `torch.optim`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adjit.optim import lr_scheduler
from adjit.optim.adagrad import Adagrad
from adjit.optim.adam import Adam
from adjit.optim.adamw import AdamW
from adjit.optim.optimizer import Optimizer
from adjit.optim.rmsprop import RMSprop
from adjit.optim.sgd import SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "SparseAdam", "lr_scheduler", "swa_utils",
]  # fmt: skip

# Few scripts use these: they are imported at first use.
_LAZY = {
    "ASGD": "asgd", "LBFGS": "lbfgs", "Adadelta": "adadelta", "Adafactor": "adafactor", "Adamax": "adamax",
    "Muon": "muon", "NAdam": "nadam", "RAdam": "radam", "Rprop": "rprop", "SparseAdam": "sparse_adam",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "swa_utils":
        return import_module("adjit.optim.swa_utils")
    if name in _LAZY:
        found = globals()[name] = getattr(import_module(f"adjit.optim.{_LAZY[name]}"), name)
        return found
    raise AttributeError(f"module 'adjit.optim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
