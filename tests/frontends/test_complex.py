"""Complex tensors as users have them: numbers, views, gradients, Fourier transforms; eager and compiled alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

torch.manual_seed(1)
X = torch.randn(3, 4, dtype=torch.complex128)
Y = torch.randn(3, 4, dtype=torch.complex128)

linalg = torch.linalg


def _square(x: Any) -> Any:
    """A batch of square matrices far from singular."""
    return torch.stack([x[:, :3] + 3 * torch.eye(3), x[:, 1:] - 3j * torch.eye(3)])


def _hermitian(x: Any) -> Any:
    return _square(x) + _square(x).mH


def _projector(vectors: Any) -> Any:
    """What of vectors does not depend on their phases."""
    return vectors[..., :1] @ vectors[..., :1].mH


def _singular(x: Any, full: bool) -> Any:
    u, s, vh = linalg.svd(x, full_matrices=full)
    return (u[:, :1] * s.sin()[:1]) @ vh[:1] + s.sum() + _projector(u).sum() + _projector(vh.mH).sum()


FACTORS: dict[str, Callable[[Any, Any], Any]] = {
    "solve": lambda x, y: linalg.solve(_square(x), _square(y)) + linalg.solve(_square(x), _square(y), left=False),
    "inv": lambda x, y: linalg.inv(_square(x)) @ linalg.matrix_power(_square(y), -2),
    "det": lambda x, y: linalg.det(_square(x)) * torch.logdet(_square(y)),
    "slogdet": lambda x, y: linalg.slogdet(_square(x))[0] * linalg.slogdet(_square(y))[1],
    "cholesky": lambda x, y: linalg.cholesky(_square(x) @ _square(x).mH) @ linalg.cholesky(
        _square(y) @ _square(y).mH, upper=True),
    "cholesky_solve": lambda x, y: torch.cholesky_solve(_square(y), linalg.cholesky(_square(x) @ _square(x).mH)),
    "lu": lambda x, y: linalg.lu(x)[1] @ linalg.lu(y)[2] + linalg.lu(x.mT)[1].sum() * linalg.lu(y.mT)[2].sum(),
    "lu_solve": lambda x, y: linalg.lu_solve(*linalg.lu_factor(_square(x)), _square(y), adjoint=True, left=False),
    "qr": lambda x, y: linalg.qr(x)[0].sum() * linalg.qr(y)[1] + linalg.qr(x.mT)[0].sum() * linalg.qr(y.mT)[1].sum(),
    "eigh": lambda x, y: linalg.eigvalsh(_hermitian(x)).sin().sum() * _projector(linalg.eigh(_hermitian(y))[1]),
    "eig": lambda x, y: linalg.eigvals(_square(x)).sin().sum() * linalg.eig(_square(y))[1].abs(),
    "svd": lambda x, y: _singular(x, False) * y + _singular(y.mT, True).sum(),
    "pinv": lambda x, y: linalg.pinv(x) @ y + linalg.lstsq(x, y, driver="gels")[0],
    "norms": lambda x, y: linalg.matrix_norm(x, "nuc") * linalg.cond(_square(y)) + linalg.matrix_norm(x, -2),
    "exp": lambda x, y: linalg.matrix_exp(_square(x) / 3) @ _square(y),
    "reflections": lambda x, y: torch.ormqr(x.mT, y[0, :3], y.mT) + linalg.householder_product(x.mT, y[0, :3]).sum(),
}  # fmt: skip
PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, y: (x * y - 2j) / (y + 1.5) + x.conj() * 3,
    "functions": lambda x, y: torch.exp(x) * torch.log(y) + torch.sqrt(x) - torch.tanh(y) * torch.sin(x) ** 2,
    "sizes": lambda x, y: x.abs() * y.angle() + x.sgn().real - y.imag,
    "powers": lambda x, y: x**y + x**3 + y**-1,
    "parts": lambda x, y: torch.complex(x.real * y.imag, x.imag) + torch.view_as_complex(torch.view_as_real(y) * 2),
    "polar": lambda x, y: torch.polar(x.abs(), y.angle()),
    "products": lambda x, y: x @ y.mH + torch.einsum("ij,kj->ik", x, y) + x.mm(y.t()),
    "reductions": lambda x, y: x.sum(0) * y.prod(0) + x.mean(0) - y.std(0) + torch.linalg.norm(x, dim=0),
    "running": lambda x, y: x.cumsum(0) + y.cumprod(1),
    "shapes": lambda x, y: torch.cat([x[:, ::2].t(), y[:2, :3].t()[:2]], 1).roll(1, 0).flip(1),
    "choices": lambda x, y: torch.where(x.real > 0, x, y).masked_fill(y.imag > 0, 1j),
    "fft": lambda x, y: torch.fft.fft(x, 5, norm="ortho") * torch.fft.ifft(y, 5),
    "real fft": lambda x, y: torch.fft.irfft(torch.fft.rfft(x.real, dim=0) * torch.fft.rfft(y.imag, dim=0), 3, dim=0),
    "several axes": lambda x, y: torch.fft.irfft2(torch.fft.rfft2(x.real) * torch.fft.fftn(y)[:, :3], s=(3, 4)),
    "hermitian": lambda x, y: torch.fft.hfft(x, 7) + torch.fft.ihfft(y.real, 12).abs().repeat(1, 7)[:, :7],
}  # fmt: skip


PROGRAMS.update(FACTORS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_is_eager_and_gradients_are_those_of_differences(name: str) -> None:
    program = PROGRAMS[name]
    compiled = torch.compile(program)
    x, y = X.clone().requires_grad_(), Y.clone().requires_grad_()
    eager = program(x, y)
    assert torch.allclose(compiled(x, y), eager, rtol=1e-12, atol=1e-12)
    weight = torch.randn(eager.shape, dtype=eager.dtype)
    ours = torch.autograd.grad(program(x, y), (x, y), weight)
    theirs = torch.autograd.grad(compiled(x, y), (x, y), weight)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
    # The change of Re <weight, f> along a direction is Re <gradient, direction>.
    directions = [torch.randn(3, 4, dtype=torch.complex128) for _ in range(2)]

    def moved(step: float) -> Any:
        found = program(X + step * directions[0], Y + step * directions[1])
        return (found * weight.conj()).real.sum() if found.is_complex() else (found * weight).sum()

    near, far = (moved(step) - moved(-step) for step in (1e-4, 2e-4))
    slope = (8 * near - far) / 12e-4  # differences whose error is of the fourth order: third derivatives may be large
    expected = sum((g.conj() * d).real.sum() for g, d in zip(ours, directions, strict=True))
    assert slope.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["cholesky", "eigh", "qr", "svd"])
def test_second_derivatives_of_factorizations(name: str) -> None:
    x = X.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: FACTORS[name](x, Y).abs().sum(), (x,))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("name", ["svd_backward", "linalg_eigh_backward", "linalg_eig_backward"])
def test_a_loss_that_depends_on_phases_is_refused(name: str, mode: str) -> None:
    vectors: dict[str, Callable[[Any], Any]] = {
        "svd_backward": lambda x: linalg.svd(x).U, "linalg_eigh_backward": lambda x: linalg.eigh(_hermitian(x))[1],
        "linalg_eig_backward": lambda x: linalg.eig(_square(x))[1],
    }  # fmt: skip

    def gradient(x: Any) -> Any:
        return torch.autograd.grad(vectors[name](x).real.sum(), x)[0]

    x = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=rf"^{name}: The (eigen|singular )vectors in the complex case are specified"):
        (torch.compile(gradient) if mode == "compiled" else gradient)(x)


def test_second_derivatives() -> None:
    x = X[0].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda v: torch.sin(v) * v.abs(), (x,))
    assert torch.autograd.gradgradcheck(lambda v: torch.fft.fft(v * v).abs().sum(), (x,))


def test_views_share_memory_eager_and_compiled() -> None:
    def written(z: Any) -> Any:
        z = z.clone()
        z.real[1:] = 3.0
        z.imag.add_(2.0)
        z[0] = 1j
        torch.view_as_real(z)[2, 0] = 9.0
        return z

    z = torch.zeros(3, dtype=torch.complex64)
    expected = [1j, 3 + 2j, 9 + 2j]
    assert written(z).tolist() == torch.compile(written)(z).tolist() == expected
    assert (z.real.stride(), z.imag.storage_offset(), torch.view_as_real(z).stride()) == ((2,), 1, (2, 1))


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: torch.tensor(1j), "complex64"),
        (lambda: torch.ones(2) * 1j, "complex64"),
        (lambda: torch.ones(2, dtype=torch.float64) * 1j, "complex128"),
        (lambda: torch.tensor([1]) + 1j, "complex64"),
        (lambda: torch.ones(2, dtype=torch.complex64) * torch.ones(2, dtype=torch.float64), "complex128"),
        (lambda: torch.ones(2, dtype=torch.complex64) * torch.ones((), dtype=torch.complex128), "complex64"),
        (lambda: torch.ones(2, dtype=torch.float64) * torch.ones((), dtype=torch.complex64), "complex128"),
        (lambda: torch.ones(2, dtype=torch.complex128).abs(), "float64"),
        (lambda: torch.fft.fft(torch.arange(3)), "complex64"),
        (lambda: torch.randn(2, dtype=torch.cdouble).real, "float64"),
    ],
)
def test_dtypes(make: Callable[[], Any], dtype: str) -> None:
    assert str(make().dtype) == f"torch.{dtype}"


def test_text() -> None:
    assert repr(torch.tensor([1 + 0j, 2.5 - 1e10j])) == "tensor([1.0000+0.0000e+00j, 2.5000-1.0000e+10j])"
    assert repr(torch.zeros(1, dtype=torch.complex128)) == "tensor([0.+0.j], dtype=torch.complex128)"
    assert repr(torch.tensor(complex(float("nan"), -0.0))) == "tensor(nan-0.j)"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda z: z > z, "\"gt_cpu\" not implemented for 'ComplexFloat'"),
        (lambda z: z.max(), "\"max_all\" not implemented for 'ComplexFloat'"),
        (lambda z: z.sort(), " Sort does not support complex dtypes on CPU"),
        (lambda z: z // 2, "\"div_floor_cpu\" not implemented for 'ComplexFloat'"),
        (lambda z: z.sum().requires_grad_().backward(), "grad can be implicitly created only for real scalar outputs "
                                                        "but got torch.complex64"),
        (lambda z: float(z[0]), "value cannot be converted to type double without overflow"),
        (lambda z: torch.ones(1).imag, "imag is not implemented for tensors with non-complex dtypes."),
        (lambda z: torch.view_as_complex(torch.ones(3)), "Tensor must have a last dimension of size 2"),
        (lambda z: torch.ones(2).add_(1j), "result type ComplexFloat can't be cast to the desired output type Float"),
        (lambda z: torch.fft.rfft(z), "rfft expects a real input tensor, but got ComplexFloat"),
        (lambda z: torch.einsum("i,i->", z, z.real), "expected scalar type ComplexFloat but found Float"),
        (lambda z: torch.fft.fft(z, 0), "Invalid number of data points (0) specified"),
        (lambda z: torch.fft.fft(z, norm="no"), 'Invalid normalization mode: "no"'),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(function: Callable[[Any], Any], text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        function(torch.tensor([1 + 2j]))
    assert str(caught.value).split("\n")[0] == text


def test_a_real_number_loses_its_imaginary_part_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="Casting complex values to real discards the imaginary part"):
        assert torch.tensor([1 + 2j]).to(torch.float32).tolist() == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.tensor([1j]).bool().tolist() == [True]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_optimizers_take_each_part_for_a_parameter(optimizer: str) -> None:
    options = {"lr": 0.05, **({"momentum": 0.5} if optimizer == "SGD" else {})}
    complex_one = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    real_one = torch.zeros(3, 2, requires_grad=True)
    goal = torch.tensor([1 + 1j, 2 - 1j, 0.5j])
    optimizers = [getattr(torch.optim, optimizer)([w], **options) for w in (complex_one, real_one)]
    for _ in range(5):
        for each in optimizers:
            each.zero_grad()
        ((complex_one - goal).abs() ** 2).sum().backward()
        ((real_one - torch.view_as_real(goal)) ** 2).sum().backward()
        for each in optimizers:
            each.step()
    assert torch.allclose(torch.view_as_real(complex_one.detach()), real_one.detach(), rtol=1e-5, atol=1e-6)


MATRIX = torch.randn(2, 3, 3, dtype=torch.complex128)


def reconstructed(a: Any) -> Any:
    """A matrix from its eigenvalues and eigenvectors, squared: phases have no influence."""
    values, vectors = torch.linalg.eig(a)
    return vectors @ torch.diag_embed(values * values) @ torch.linalg.inv(vectors)


def test_eigenvectors() -> None:
    values, vectors = torch.linalg.eig(MATRIX)
    assert torch.allclose(MATRIX @ vectors, vectors * values.unsqueeze(-2))
    assert torch.allclose(torch.linalg.eigvals(MATRIX).prod(-1), values.prod(-1))
    assert torch.allclose(reconstructed(MATRIX), MATRIX @ MATRIX)
    assert torch.allclose(torch.compile(reconstructed)(MATRIX), MATRIX @ MATRIX)
    rotation = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert torch.linalg.eigvals(rotation).tolist() == [1j, -1j]


@pytest.mark.parametrize(
    "function",
    [
        reconstructed,
        lambda a: torch.linalg.eigvals(a).abs().sum(-1),
        lambda a: torch.linalg.eig(a)[1].abs(),
        torch.linalg.inv,
        lambda a: torch.linalg.solve(a, a[..., :2] * 1j),
    ],
    ids=["product", "values", "sizes of vectors", "inv", "solve"],
)
def test_gradients_of_matrix_functions(function: Callable[[Any], Any]) -> None:
    assert torch.autograd.gradcheck(function, (MATRIX[0].clone().requires_grad_(),))


def test_fourier_transforms_with_open_sizes() -> None:
    calls = torch.compile(lambda x: torch.fft.irfft(torch.fft.rfft(x) * 2.0, x.shape[-1]), dynamic=True)
    for count in (4, 5, 8):
        x = torch.randn(count)
        assert torch.allclose(calls(x), 2 * x, atol=1e-6)


@pytest.mark.parametrize("window", ["hann_window", "hamming_window", "blackman_window", "kaiser_window"])
def test_short_time_transforms_go_back(window: str) -> None:
    weights = getattr(torch, window)(8, dtype=torch.float64)
    signal = torch.randn(2, 50, dtype=torch.float64)

    def there_and_back(x: Any) -> Any:
        spectrum = torch.stft(x, 10, 2, 8, weights, return_complex=True)
        return torch.istft(spectrum, 10, 2, 8, weights, length=50)

    assert torch.allclose(there_and_back(signal), signal)
    assert torch.allclose(torch.compile(there_and_back)(signal), signal)


def test_frequencies() -> None:
    assert torch.fft.fftfreq(5, 0.5).tolist() == pytest.approx(np.fft.fftfreq(5, 0.5).tolist())
    assert torch.fft.rfftfreq(6).tolist() == pytest.approx(np.fft.rfftfreq(6).tolist())
    assert torch.fft.fftshift(torch.arange(5)).tolist() == np.fft.fftshift(np.arange(5)).tolist()
    assert torch.fft.ifftshift(torch.arange(5)).tolist() == np.fft.ifftshift(np.arange(5)).tolist()


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True}, "Adam": {"amsgrad": True}, "RMSprop": {"centered": True}, "LBFGS": {}
}  # fmt: skip


# -- modules, optimizers, transformations ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_treats_parts_as_parameters_and_keeps_complex_state(name: str) -> None:
    whole = torch.nn.Parameter(X[:, :2].clone())
    parts = torch.nn.Parameter(torch.view_as_real(X[:, :2]).clone())
    optimizers = [getattr(torch.optim, name)([param], lr=0.1, **OPTIMIZERS[name]) for param in (whole, parts)]

    def step(optimizer: Any, number: Callable[[], Any]) -> Any:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = (number() - Y[:, :2]).abs().pow(2).sum()
            loss.backward()
            return loss

        return optimizer.step(closure)

    for _ in range(3):
        step(optimizers[0], lambda: whole)
        step(optimizers[1], lambda: torch.view_as_complex(parts))
    assert torch.allclose(torch.view_as_real(whole), parts, rtol=1e-9)
    if name != "LBFGS":
        kept = optimizers[0].state_dict()["state"][0]
        sums = [value for key, value in kept.items() if key != "step"]
        assert sums and all(value.dtype is torch.complex128 and value.shape == whole.shape for value in sums)
        optimizers[0].load_state_dict(optimizers[0].state_dict())
        step(optimizers[0], lambda: whole)


def test_modules_become_complex_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="Complex modules are a new feature"):
        layer = torch.nn.Linear(2, 3).to(torch.complex64)
    assert layer.weight.dtype is torch.complex64 and layer(torch.ones(2, dtype=torch.complex64)).is_complex()
    assert repr(layer.weight).count("Parameter containing") == 1
    assert torch.complex64.to_real() is torch.float32 and torch.float64.to_complex() is torch.complex128


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd, torch.func.hessian])
def test_jacobians_are_those_of_real_functions(transform: Any) -> None:
    with pytest.raises(RuntimeError, match="Expected all inputs to be real but received complex tensor at flattened"):
        transform(lambda z: (z * z).real.sum())(X)
    with pytest.raises(RuntimeError, match=r"Expected all (in|out)puts to be real"):
        transform(lambda x: torch.complex(x, x))(X.real)


@pytest.mark.parametrize("name", ["elu", "gelu", "hardswish", "mish", "relu", "softplus"])
def test_activations_name_the_kernel_that_takes_no_complex_numbers(name: str) -> None:
    with pytest.raises(NotImplementedError, match=r"not implemented for 'ComplexDouble'|clamp is not supported"):
        getattr(torch.nn.functional, name)(X)


def test_spaced_powers_between_complex_ends() -> None:
    found = torch.logspace(1j, 2, 3, base=2.0, dtype=torch.complex128)
    assert torch.allclose(found, 2.0 ** torch.tensor([1j, 1 + 0.5j, 2], dtype=torch.complex128))
