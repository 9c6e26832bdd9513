"""Kernels of algorithms on small matrices: what the references compute, without the host; errors that it words."""

from __future__ import annotations

from typing import Any

import pytest

import adjit as torch
from adjit.compiler.compile import compile_graph
from adjit.compiler.loops.kinds import ON_MATRICES
from adjit.compiler.pipeline import llvm_of
from adjit.ir.builder import Builder
from adjit.ir.errors import LinAlgError
from adjit.ir.graph import Graph
from adjit.ir.primitive import primitive_named
from adjit.runtime import lapack
from tests.ir.laws import assert_same, compute
from tests.samples import samples


@pytest.mark.parametrize("name", ON_MATRICES)
def test_kernels_compute_what_the_references_do(name: str) -> None:
    op = primitive_named(name)
    for sample in samples(op):
        graph = Graph(name)
        builder = Builder(graph)
        inputs = [builder.input(type) for type in sample.types]
        graph.outputs = builder.emit(op, inputs, dict(sample.attributes)).outputs
        program = compile_graph(graph)
        assert not program.layout.host_calls
        for found, wanted in zip(program.run(list(sample.operands)), compute(op, sample), strict=True):
            assert_same(found, wanted, False, sample.name)


def test_singular_matrices_and_bad_minors_have_the_info_of_the_references() -> None:
    lu, cholesky = torch.compile(torch.linalg.lu_factor_ex), torch.compile(torch.linalg.cholesky_ex)
    singular = torch.tensor([[[0.0, 2], [3, 4]], [[1, 2], [2, 4]], [[0, 0], [0, 0]]])
    assert lu(singular).info.tolist() == [0, 2, 1] and lu(singular).pivots.tolist()[0] == [2, 2]
    factor, info = cholesky(torch.tensor([[[4.0, 9], [2, 5]], [[1, 2], [2, 1]], [[-1, 0], [0, 1]]]))
    assert info.tolist() == [0, 2, 1] and factor[0].tolist() == [[2, 0], [1, 2]] and factor[1:].isnan().all()


def test_a_check_stops_the_program_and_the_host_words_the_error() -> None:
    @torch.compile
    def step(a: Any, b: Any, out: Any) -> Any:
        out.add_(1)
        return torch.linalg.solve(a, b)

    a, b, out = torch.eye(3).repeat(4, 1, 1), torch.ones(4, 3), torch.zeros(2)
    assert step(a, b, out).tolist() == b.tolist() and out.tolist() == [1, 1]
    a[2, 1, 1] = 0
    for _ in range(3):
        with pytest.raises(LinAlgError, match=r"^torch.linalg.solve: \(Batch element 2\): The solver failed because"):
            step(a, b, out)
    assert out.tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
def test_many_matrices_in_eager_mode_and_by_vmap(dtype: Any) -> None:
    a, b = torch.randn(20, 3, 3, dtype=dtype), torch.randn(20, 3, 2, dtype=dtype)
    solved = torch.linalg.solve(a, b)
    assert torch.allclose(a @ solved, b, atol=1e-4)
    one_by_one = torch.stack([torch.linalg.solve(x, y) for x, y in zip(a, b, strict=True)])
    assert torch.allclose(one_by_one, solved, rtol=1e-3, atol=1e-4)
    by_vmap = torch.compile(torch.func.vmap(torch.linalg.solve))
    assert torch.allclose(by_vmap(a, b), solved, rtol=1e-4, atol=1e-5)
    a[7] = 0
    with pytest.raises(LinAlgError, match=r"\(Batch element 7\)"):
        by_vmap(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
@pytest.mark.parametrize(("rows", "columns"), [(20, 1), (37, 3), (64, 70), (130, 1)])
def test_rows_of_vectors_solve_systems(rows: int, columns: int, dtype: Any) -> None:
    """Equations of all kinds, their factors in vectors of each length, and what a triangle leaves unread."""
    a = torch.randn(2, rows, rows, dtype=dtype) / rows**0.5 + 2 * torch.eye(rows, dtype=dtype)
    b = torch.randn(2, rows, columns, dtype=dtype)
    square = a @ a.mH + torch.eye(rows, dtype=dtype)

    @torch.compile
    def solutions(a: Any, b: Any, square: Any) -> Any:
        left, right = torch.linalg.cholesky(square), torch.linalg.cholesky(square, upper=True)
        lower = torch.linalg.solve_triangular(a.tril(), b, upper=False)
        upper = torch.linalg.solve_triangular(a.triu().mT, b, upper=False)
        return torch.linalg.solve(a, b), torch.linalg.solve(a.mT, b), left, right, lower, upper

    x, y, left, right, lower, upper = solutions(a, b, square)
    scale = 1e-3 if dtype is torch.float32 else 1e-11
    for found, wanted in (
        (a @ x, b), (a.mT @ y, b), (left @ left.mH, square), (right.mH @ right, square),
        (a.tril() @ lower, b), (a.triu().mT @ upper, b),
    ):  # fmt: skip
        assert torch.allclose(found, wanted, rtol=scale, atol=10 * scale)
    assert not left.triu(1).abs().any() and not right.tril(-1).abs().any()


@pytest.mark.parametrize("count", [1, 15, 16, 23, 24, 255, 256, 257])
def test_triangles_of_each_number_of_rows(count: int) -> None:
    """Rows are changed eight at a time, with few registers four: a whole number of these, and some left."""
    a = torch.randn(count, count, dtype=torch.float64) / count**0.5 + 2 * torch.eye(count, dtype=torch.float64)
    square = a @ a.mT + torch.eye(count, dtype=torch.float64)
    factor = torch.compile(torch.linalg.cholesky)(square)
    assert torch.allclose(factor @ factor.mT, square, rtol=1e-11, atol=1e-11)
    for columns in (2, 5, 40):
        b = torch.randn(count, columns, dtype=torch.float64)
        for upper, triangle in ((True, a.triu()), (False, a.tril())):
            x = torch.compile(lambda a, b, upper=upper: torch.linalg.solve_triangular(a, b, upper=upper))(a, b)
            assert torch.allclose(triangle @ x, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("values", [torch.linalg.eigvalsh, torch.linalg.svdvals], ids=["eigh", "svd"])
def test_values_without_vectors_have_a_way_of_their_own(values: Any) -> None:
    """The host is asked for the values alone, unless gradients want vectors too; what is not finite raises the same."""
    a = torch.randn(3, 6, 6, dtype=torch.float64)
    a = a + a.mT
    alone, both = torch.compile(values), torch.compile(lambda a: torch.autograd.grad(values(a).square().sum(), [a])[0])
    assert torch.allclose(alone(a), values(a), rtol=1e-10, atol=1e-10)
    calls = compile_graph(alone.graph(a)).layout.host_calls
    if lapack.address("dsyevd") is None:
        assert [call.function.endswith(".alone") for call in calls] == [True]
    else:
        assert "@lapack.letter.N," in llvm_of(alone.graph(a)) and not calls
    assert torch.allclose(both(a.requires_grad_()), 2 * a, rtol=1e-8, atol=1e-8)
    with pytest.raises(LinAlgError, match="failed to converge"):
        alone(torch.full((3, 3), float("nan"), dtype=torch.float64))
