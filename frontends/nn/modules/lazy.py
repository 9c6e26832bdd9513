"""The base of layers whose sizes come with the first input."""

from __future__ import annotations

from adjit.nn.lazy import LazyModuleMixin

__all__ = ["LazyModuleMixin"]
