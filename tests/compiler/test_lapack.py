"""Programs that call LAPACK themselves: the bits of the host's functions, and errors that the host words."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.compile import compile_graph
from adjit.compiler.on_host import FUNCTIONS
from adjit.ir.builder import Builder
from adjit.ir.errors import LinAlgError
from adjit.ir.graph import Graph
from adjit.ir.primitive import primitive_named
from adjit.ir.types import TensorType, dtype_of_storage
from adjit.runtime import lapack
from adjit.runtime.executable import Executable
from adjit.runtime.host import call_host
from adjit.runtime.linear_algebra import host_name
from tests.compiler.guarded import guarded

pytestmark = pytest.mark.skipif(lapack.address("dsyevd") is None, reason="NumPy's library is another one")
SHAPES = ((1, 1), (3, 5, 5), (2, 1, 7, 7), (40, 40), (70, 70), (6, 2), (2, 3, 8), (33, 20), (20, 50))


def program(name: str, operands: list[Any], attributes: dict[str, bool]) -> Executable:
    graph = Graph(name)
    builder = Builder(graph)
    inputs = [builder.input(TensorType(dtype_of_storage(x.dtype), x.shape)) for x in operands]
    graph.outputs = builder.emit(primitive_named(name), inputs, dict(attributes)).outputs
    return compile_graph(graph, strict=True, threads=2)


def operands_of(name: str, a: Any) -> list[Any]:
    if name == "cholesky":
        return [a @ a.swapaxes(-1, -2) + np.eye(a.shape[-1], dtype=a.dtype)]
    if name == "triangular_solve":
        return [a + a.shape[-1] * np.eye(a.shape[-1], dtype=a.dtype), a[..., :3] + 1]
    if name == "lu_solve":
        factors, _, order, _ = call_host("linalg.lu", a)
        return [a, factors, order, a[..., :3] + 1]
    return [a]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_have_the_bits_of_the_hosts(name: str) -> None:
    op = primitive_named(name)
    for number, shape in enumerate(SHAPES):
        if shape[-1] != shape[-2] and name not in ("lu", "qr", "svd"):
            continue
        dtype = (np.float32, np.float64)[number % 2]
        a = np.random.default_rng(number).standard_normal(shape).astype(dtype)
        for flags in product((False, True), repeat=len(op.attributes)):
            attributes = dict(zip(op.attributes, flags, strict=True))
            operands = operands_of(name, a)
            executable = program(name, operands, attributes)
            assert not executable.layout.host_calls and executable.layout.outside
            wanted = call_host(host_name(op, attributes), *operands)
            with guarded([*operands, *wanted], number % 2 == 0) as held:
                found = executable.run(held[: len(operands)], held[len(operands) :])
                for each, one in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(each, one)


@pytest.mark.parametrize("name", ["eigvalsh", "svdvals", "svd"])
def test_what_comes_to_no_end_is_an_error(name: str) -> None:
    function = torch.compile(getattr(torch.linalg, name))
    a = torch.eye(3).repeat(4, 1, 1) * 2
    found = function(a)
    assert (found if torch.is_tensor(found) else found.S).sum() == 24
    a[2, 1, 1] = float("nan")
    for _ in range(2):
        with pytest.raises(LinAlgError, match=r"^linalg\.\w+: \(Batch element 2\): The algorithm failed to converge"):
            function(a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["eigh", "eigvalsh", "svd", "svdvals"])
def test_infinity_gives_nan_and_what_overflows_infinity(name: str, dtype: Any) -> None:
    def values(a: Any) -> Any:
        found = getattr(torch.linalg, name)(a)
        return found if torch.is_tensor(found) else found[1 if name == "svd" else 0]

    compiled = torch.compile(values)
    hermitian = name.startswith("eig")
    largest = torch.full((2, 2), torch.finfo(dtype).max, dtype=dtype)
    limits = torch.finfo(dtype)
    for function in (values, compiled):
        least, greatest = sorted(function(largest).tolist())
        assert greatest == float("inf") and abs(least) <= 4 * limits.eps * limits.max  # as the host's library rounds
    for n in (2, 3, 5, 8):
        a = torch.eye(n, dtype=dtype).repeat(3, 1, 1)
        a[1] += torch.rand(n, n, dtype=dtype)
        a[1, n - 1, 0] = float("inf")
        for function in (values, compiled):
            found = function(a)
            assert found[::2].eq(1).all() and found[1].isnan().all()
        if hermitian:  # of which the other triangle is not read
            a = a.mT.contiguous()
            assert torch.allclose(values(a), compiled(a)) and values(a).isfinite().all()
        a[2, n - 1, 0] = float("nan")
        for function in (values, compiled):
            with pytest.raises(LinAlgError, match=r"Batch element 2"):
                function(a)
    if hermitian:
        assert all(function(torch.full((1, 1), float("nan"))).isnan().all() for function in (values, compiled))


def test_a_minor_that_is_not_positive_has_its_order_told() -> None:
    a = np.array([[[4.0, 2], [2, 5]], [[1, 2], [2, 1]], [[-1, 0], [0, 1]]])
    factor, info = program("cholesky", [a], {"upper": False}).run([a])
    assert info.tolist() == [0, 2, 1] and factor[0].tolist() == [[2, 0], [1, 2]] and np.isnan(factor[1:]).all()


@pytest.mark.parametrize("n", [1, 3, 70, 150])
def test_a_pivot_of_nan_has_its_order_told(n: int) -> None:
    k = n // 2
    for dtype in (np.float32, np.float64):
        a = np.stack([4 * np.eye(n, dtype=dtype)] * 4)
        a[1, k, k], a[2, n - 1, 0] = np.nan, np.nan
        a[3, n - 1, n - 1] = -1
        executable = program("cholesky", [a], {"upper": False})
        assert not executable.layout.host_calls
        for factor, info in (executable.run([a]), call_host("linalg.cholesky", a)):
            assert info.tolist() == [0, k + 1, n, n]
            assert np.isnan(factor[1:]).all() and np.isfinite(factor[0]).all()
        with pytest.raises(LinAlgError, match=f"leading minor of order {k + 1} is"):
            torch.linalg.cholesky(torch.from_numpy(a[1]))
        assert torch.linalg.cholesky_ex(torch.from_numpy(a[1])).info == k + 1


def test_programs_with_lapack_are_native_calls_and_differentiable() -> None:
    @torch.compile
    def step(a: Any) -> Any:
        values, vectors = torch.linalg.eigh(a @ a.mT)
        return (values.log() * vectors[0].square()).sum() + torch.linalg.svdvals(a).sum()

    a = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(step, (a,))


@pytest.mark.parametrize("name", ["inv", "solve", "cholesky", "eigh", "lstsq"])
def test_eager_calls_are_served_with_the_same_bits_and_errors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adjit.native.install import _installed, install

    function = getattr(torch.linalg, name)
    a = torch.randn(4, 4, dtype=torch.float64)
    a = a @ a.mT + torch.eye(4, dtype=torch.float64)
    rest = [torch.ones(4, 2, dtype=torch.float64)] if name in ("solve", "lstsq") else []
    first = function(a, *rest)
    if not install():
        pytest.skip("this interpreter has no native entry")
    for _ in range(12):
        function(a, *rest)
    served = [found for word, found in _installed.items() if word.endswith(name)]
    with monkeypatch.context() as patched:
        for each in served:
            patched.setattr(each, "function", None)  # what is served needs no Python
        last = function(a, *rest)
    assert served
    pairs = zip(*((x if isinstance(x, tuple) else (x,)) for x in (first, last)), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    if name != "lstsq":
        for _ in range(2):
            with pytest.raises(LinAlgError):
                function(a * (float("nan") if name == "eigh" else -0.0), *rest)
