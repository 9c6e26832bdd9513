"""Optimizers and schedules of their learning rates; PyTorch's `torch.optim`."""

from adjit.optim import lr_scheduler
from adjit.optim.adagrad import Adagrad
from adjit.optim.adam import Adam
from adjit.optim.adamw import AdamW
from adjit.optim.optimizer import Optimizer
from adjit.optim.rmsprop import RMSprop
from adjit.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
