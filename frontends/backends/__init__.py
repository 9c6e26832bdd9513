"""`import adjit.backends`: what scripts ask before they choose a device; settings of libraries that are not there."""

from __future__ import annotations

from adjit.backends import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
