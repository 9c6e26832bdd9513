"""Laws of the ops on matrices: factors multiply to the matrix, solutions solve, the host's ways agree with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.ir.errors import LinAlgError
from adjit.ir.primitive import Primitive, primitive_named
from adjit.runtime import lapack, linear_algebra
from adjit.runtime.host import call_host
from tests.ir.laws import OPS, assert_same, compute, cotangent_rule, listed, named
from tests.samples import samples

MATRICES = [op for op in OPS if op.family == "linalg"]


def flip(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


def residual(op: Primitive, operands: Any, results: Any, attributes: dict[str, Any]) -> tuple[Any, Any]:
    """Two arrays that are equal by the op's definition."""
    a = operands[0]
    match op.name:
        case "cholesky":
            return results[0] @ flip(results[0]).conj(), a
        case "lu":
            factors, _, order, _ = results
            count = min(a.shape[-2:])
            lower = np.tril(factors[..., :count], -1) + np.eye(a.shape[-2], count, dtype=a.dtype)
            return lower @ np.triu(factors[..., :count, :]), np.take_along_axis(a, order[..., None], -2)
        case "qr":
            return results[0] @ results[1], a
        case "eigh" | "eig":
            return results[1] * results[0][..., None, :], a @ results[1]
        case "svd":
            u, s, vh = results
            return (u[..., : s.shape[-1]] * s[..., None, :]) @ vh[..., : s.shape[-1], :], a
        case "matrix_exp":
            values, vectors = np.linalg.eig(a)
            wanted = vectors * np.exp(values)[..., None, :] @ np.linalg.inv(vectors)
            return results[0], (wanted if np.iscomplexobj(a) else wanted.real).astype(a.dtype)
        case "triangular_solve":
            a = np.tril(a) if attributes["lower"] else np.triu(a)
            if attributes["unit"]:
                a = a * (1 - np.eye(a.shape[-1])) + np.eye(a.shape[-1])
    return (flip(a) if attributes["transpose"] else a).astype(results[0].dtype) @ results[0], operands[-1]


@pytest.mark.parametrize("op", MATRICES, ids=named)
def test_results_are_as_defined_and_the_host_agrees(op: Primitive) -> None:
    for sample in samples(op):
        results = compute(op, sample)
        found, wanted = residual(op, sample.operands, results, sample.attributes)
        assert_same(found, wanted, False, sample.name)
        hosted = call_host(linear_algebra.host_name(op, sample.attributes), *sample.operands)
        found, wanted = residual(op, sample.operands, hosted, sample.attributes)
        assert_same(found, wanted, False, f"{sample.name} by the host")
        if op.name in ("lu", "triangular_solve", "lu_solve"):
            for one, other in zip(hosted, results, strict=True):
                assert_same(one, other, False, f"{sample.name}: two ways")


def test_without_a_library_the_references_run(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.array([[1.0, 2], [3, 4]])
    with_library = linear_algebra.lu(a)
    monkeypatch.setattr(lapack, "available", lambda: False)
    for one, other in zip(linear_algebra.lu(a), with_library, strict=True):
        assert_same(one, other, False, "lu")
    solved = linear_algebra.lu_solve(a, with_library[0], with_library[2], np.array([[5.0], [11]]), transpose=False)
    np.testing.assert_allclose(solved, [[1], [2]])


@pytest.mark.parametrize("name", ["cholesky", "eigh"])
def test_the_derivative_for_symmetric_matrices(name: str) -> None:
    op = primitive_named(name)
    random = np.random.default_rng(3)
    for sample in samples(op):
        (a,) = sample.operands
        if a.size == 0 or a.dtype not in (np.float64, np.complex128) or (name == "eigh" and np.iscomplexobj(a)):
            continue  # the phases of complex eigenvectors are free
        step = random.standard_normal(a.shape)
        if np.iscomplexobj(a):
            step = step + 1j * random.standard_normal(a.shape)
        step = 1e-6 * (step + flip(step).conj())
        out = [x for x in op.reference(a, **sample.attributes) if x.dtype.kind in "fc"]
        g = [random.standard_normal(x.shape).astype(x.dtype) for x in out]
        above, below = (op.reference(a + sign * step, **sample.attributes) for sign in (1, -1))
        pairs = zip(above, below, strict=True)
        moved = [high - low for high, low in pairs if high.dtype.kind in "fc"]
        (found,) = listed(cotangent_rule(op, sample.attributes, len(g))(*g, a))
        left = sum(np.sum(x.conj() * y).real for x, y in zip(g, moved, strict=True)) / 2
        assert left == pytest.approx(np.sum(found.conj() * step).real, rel=1e-6)


def test_info_names_the_first_fault() -> None:
    matrices = np.array([np.eye(3), np.diag([1.0, -1, -1]), np.diag([1.0, 1, 0])])
    factor, info = primitive_named("cholesky").reference(matrices, upper=False)
    assert info.tolist() == [0, 2, 3] and factor[0].tolist() == np.eye(3).tolist()
    for way in (primitive_named("lu").reference, linear_algebra.lu):
        assert way(np.array([np.diag([1.0, 0, 0]), np.eye(3)]))[3].tolist() == [2, 0]
    with pytest.raises(LinAlgError, match=r"^linalg.cholesky: \(Batch element 1\): The factorization could not be"):
        call_host("linalg.check.linalg.cholesky", info)
    with pytest.raises(LinAlgError, match=r"^linalg.svd: The algorithm failed to converge because the input"):
        primitive_named("svd").reference(np.array([[np.nan, 1], [0, 1]]), full=False)
