"""`transform_to` and `biject_to` equal torch's: the transforms' text, values, inverses and slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import adjit  # noqa: E402

SETS: dict[str, Any] = {
    "real": lambda c: c.real, "real_vector": lambda c: c.real_vector, "positive": lambda c: c.positive,
    "nonnegative": lambda c: c.nonnegative, "greater_than": lambda c: c.greater_than(2.0),
    "less_than": lambda c: c.less_than(-1.0), "unit_interval": lambda c: c.unit_interval,
    "interval": lambda c: c.interval(-1.0, 3.0), "half_open": lambda c: c.half_open_interval(0.0, 3.0),
    "simplex": lambda c: c.simplex, "independent": lambda c: c.independent(c.positive, 1),
    "lower_cholesky": lambda c: c.lower_cholesky, "positive_definite": lambda c: c.positive_definite,
    "corr_cholesky": lambda c: c.corr_cholesky, "boolean": lambda c: c.boolean,
}  # fmt: skip


@pytest.mark.parametrize("table", ["transform_to", "biject_to"])
@pytest.mark.parametrize("name", SETS)
def test_transforms(table: str, name: str) -> None:
    found: list[list[Any]] = []
    for lib in (torch, adjit):
        constraint = SETS[name](lib.distributions.constraints)
        x = lib.tensor([[0.3, -0.7, 1.1], [0.2, 0.9, -0.4], [1.0, 0.1, 0.6]], dtype=lib.float64, requires_grad=True)
        try:
            transform = getattr(lib.distributions, table)(constraint)
        except NotImplementedError as error:
            found.append([str(error)])
            continue
        y = transform(x)
        assert bool(constraint.check(y).all())
        results = [y, transform.inv(y)]
        if table == "biject_to":
            results.append(transform.log_abs_det_jacobian(x, y))
        sum(result.sum() for result in results).backward()
        numbers = [result.detach().numpy() for result in (*results, x.grad)]
        found.append([repr(transform), transform.bijective, *numbers])
    for mine, theirs in zip(found[1], found[0], strict=True):
        if isinstance(theirs, np.ndarray):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-11)
        else:
            assert mine == theirs


def test_own_sets_can_be_registered() -> None:
    for lib in (torch, adjit):
        D = lib.distributions

        class Own(D.constraints.Constraint):
            pass

        D.transform_to.register(Own())(lambda constraint: 7)
        assert D.transform_to(Own()) == 7
        with pytest.raises(TypeError, match="Expected constraint to be either a Constraint subclass or instance"):
            D.biject_to.register(3, lambda constraint: 7)
