"""Programs and their gradients as mathematics: definitions in index notation, as text, LaTeX and SymPy."""

from __future__ import annotations

from adjit.mathematics.formula import Formula, formula, grad_formula

__all__ = ["Formula", "formula", "grad_formula"]
