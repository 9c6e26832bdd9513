"""AdamW under the name of its own module, as PyTorch has it."""

from adjit.optim.adam import AdamW

__all__ = ["AdamW"]
