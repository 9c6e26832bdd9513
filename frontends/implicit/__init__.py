"""Solutions of equations, with the derivatives that the equations imply: no step to a solution is differentiated."""

from __future__ import annotations

from adjit.implicit.krylov import bicgstab, cg, gmres
from adjit.implicit.linear import dense, linear_solve
from adjit.implicit.roots import fixed_point, newton, root

__all__ = ["bicgstab", "cg", "dense", "fixed_point", "gmres", "linear_solve", "newton", "root"]
