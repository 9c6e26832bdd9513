"""Operators of one's own, attention given by functions, and other names that programs ask for."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import library
from adjit.distributions import utils
from adjit.nn import functional as F
from adjit.nn.attention.flex_attention import (
    and_masks,
    create_block_mask,
    create_mask,
    flex_attention,
    noop_mask,
    or_masks,
)


@pytest.fixture(autouse=True)
def _no_operators_left() -> Iterator[None]:
    yield
    library._OPERATORS.clear()


def cube() -> Any:
    @torch.library.custom_op("tests::cube", mutates_args=())
    def cube(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(x.numpy() ** 3 * scale)

    return cube


def with_gradient() -> Any:
    made = cube()
    made.register_fake(lambda x, scale=1.0: torch.empty_like(x))

    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.scale = inputs
        ctx.save_for_backward(x)

    def backward(ctx: Any, g: Any) -> Any:
        return g * 3 * ctx.saved_tensors[0] ** 2 * ctx.scale, None

    made.register_autograd(backward, setup_context=setup_context)
    return made


def test_an_operator_without_a_derivative_says_so_at_backward() -> None:
    made = cube()
    assert made(torch.tensor([1.0, 2.0])).tolist() == [1.0, 8.0]
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"Trying to backward through tests.cube.default but no autograd formula"):
        made(x).sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_an_operator_with_a_derivative(compiled: bool) -> None:
    made = with_gradient()

    def loss(x: Any) -> Any:
        return (made(x * 2, 0.5) + 1).sum()

    f = torch.compile(loss) if compiled else loss
    for _ in range(3):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = f(x)
        assert y.item() == 0.5 * (8 + 64) + 2
        y.backward()
        assert x.grad is not None
        assert x.grad.tolist() == [12.0, 48.0]


def test_operators_are_found_by_name() -> None:
    made = with_gradient()
    assert torch.ops.tests.cube is made
    assert torch.ops.tests.cube.default(torch.ones(1)).item() == 1.0
    with pytest.raises(AttributeError, match="'_OpNamespace' 'tests' object has no attribute 'sphere'"):
        _ = torch.ops.tests.sphere
    with pytest.raises(RuntimeError, match="operator tests::sphere does not exist"):
        torch.library.register_autograd("tests::sphere", lambda ctx, g: g)
    with pytest.raises(ValueError, match="namespace::name"):
        torch.library.custom_op("cube", lambda x: x)
    torch.library.register_kernel("tests::cube", "cpu", lambda x, scale=1.0: x * 0)
    assert made(torch.ones(2)).tolist() == [0.0, 0.0]


def test_operators_that_write_and_that_give_several_results() -> None:
    @torch.library.custom_op("tests::add_one_", mutates_args={"x"})
    def add_one_(x: torch.Tensor) -> None:
        x.numpy()[...] += 1

    x = torch.zeros(2)
    add_one_(x)
    assert x.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="Cannot register autograd formula for non-functional operator"):
        add_one_.register_autograd(lambda ctx, g: g)
    with pytest.raises(ValueError, match="mutates_args contains 'z'"):
        torch.library.custom_op("tests::bad", lambda x: None, mutates_args=("z",))

    @torch.library.custom_op("tests::parts", mutates_args=())
    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.floor(x.numpy())), torch.from_numpy(x.numpy() % 1)

    parts.register_fake(lambda x: (torch.empty_like(x), torch.empty_like(x)))
    f = torch.compile(lambda x: parts(x)[0] + 2 * parts(x)[1])
    assert f(torch.tensor([1.5, 2.25])).tolist() == [2.0, 2.5]


# -- attention ---------------------------------------------------------------------------------------------------------
def qkv(*shape: int) -> list[Any]:
    generator = np.random.default_rng(0)
    return [torch.tensor(generator.standard_normal(shape).astype(np.float32)) for _ in range(3)]


def test_flex_attention_is_attention() -> None:
    q, k, v = qkv(2, 3, 5, 4)
    assert torch.allclose(flex_attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)
    causal = create_block_mask(lambda b, h, i, j: i >= j, None, None, 5, 5, device="cpu")
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(flex_attention(q, k, v, block_mask=causal), expected, atol=1e-6)
    f = torch.compile(lambda q, k, v: flex_attention(q, k, v, block_mask=causal))
    assert torch.allclose(f(q, k, v), expected, atol=1e-6)


def test_scores_are_changed_by_a_function_of_their_place() -> None:
    q, k, v = qkv(2, 3, 5, 4)
    slopes, bias = torch.arange(3.0), torch.arange(50.0).reshape(2, 5, 5).sin()

    def score_mod(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return score + slopes[h] * (j - i) + bias[b, i, j]

    at = torch.arange(5)
    mask = slopes.view(3, 1, 1) * (at - at.view(-1, 1)) + bias[:, None]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    found, lse = flex_attention(q, k, v, score_mod, return_lse=True)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(lse, (q @ k.mT / 2 + mask).logsumexp(-1), atol=1e-5)
    slopes.requires_grad_()
    flex_attention(q, k, v, score_mod).sum().backward()
    assert slopes.grad is not None


def test_rows_that_see_nothing_are_zero_and_heads_are_shared() -> None:
    q, k, v = qkv(1, 4, 3, 2)
    hidden = create_block_mask(lambda b, h, i, j: i > j, 1, 1, 3, 3)
    q.requires_grad_()
    found = flex_attention(q, k[:, :2], v[:, :2], block_mask=hidden, enable_gqa=True)
    assert found[:, :, 0].abs().sum().item() == 0
    found.sum().backward()
    assert q.grad is not None
    assert bool(q.grad.isfinite().all())
    with pytest.raises(ValueError, match="Expect query and key/value to have the same number of heads but got Hq=4"):
        flex_attention(q, k[:, :2], v[:, :2])


def test_masks_of_blocks() -> None:
    causal = lambda b, h, i, j: i >= j  # noqa: E731
    near = lambda b, h, i, j: i - j <= 1  # noqa: E731
    band = create_mask(and_masks(causal, near), 1, 1, 4, 4)
    assert band[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert bool(create_mask(or_masks(causal, noop_mask), 2, 3, 2, 2).all())
    blocks = create_block_mask(causal, None, None, 5, 4, BLOCK_SIZE=2)
    assert blocks.to_dense().tolist() == [[[[1, 0], [1, 1], [1, 1]]]]
    assert blocks.shape == (1, 1, 5, 4)
    assert math.isclose(blocks.sparsity(), 100 / 6, rel_tol=1e-5)


# -- other names -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path", ["bernoulli.Bernoulli", "multivariate_normal.MultivariateNormal", "one_hot_categorical.OneHotCategorical"]
)
def test_distributions_are_found_in_pytorchs_modules(path: str) -> None:
    module, name = path.split(".")
    found = getattr(importlib.import_module(f"adjit.distributions.{module}"), name)
    assert found is getattr(torch.distributions, name)
    assert getattr(getattr(torch.distributions, module), name) is found


def test_what_distributions_are_written_with() -> None:
    logits = torch.tensor([0.0, 1.0])
    assert torch.allclose(utils.logits_to_probs(logits), torch.softmax(logits, 0))
    assert torch.allclose(utils.probs_to_logits(torch.sigmoid(logits), is_binary=True), logits, atol=1e-6)
    matrix = torch.arange(9.0).reshape(3, 3)
    assert utils.tril_matrix_to_vec(matrix).tolist() == [0.0, 3.0, 4.0, 6.0, 7.0, 8.0]
    assert utils.tril_matrix_to_vec(matrix, -1).tolist() == [3.0, 6.0, 7.0]
    for diagonal in (0, -1):
        vector = utils.tril_matrix_to_vec(matrix, diagonal)
        assert torch.equal(utils.vec_to_tril_matrix(vector, diagonal), matrix.tril(diagonal))
    with pytest.raises(ValueError, match="cannot be expressed as the lower triangular part"):
        utils.vec_to_tril_matrix(torch.ones(4))

    class Lazy:
        count = 0

        @utils.lazy_property
        def value(self) -> int:
            self.count += 1
            return 3

    lazy = Lazy()
    assert lazy.value + lazy.value == 6
    assert lazy.count == 1


def test_random_counts() -> None:
    torch.manual_seed(0)
    rate = torch.tensor([0.0, 4.0]).expand(4000, 2)
    found = torch.poisson(rate)
    assert found.dtype is torch.float32
    assert found[:, 0].sum().item() == 0
    assert abs(found[:, 1].mean().item() - 4) < 0.2
    tosses = torch.binomial(torch.full((4000,), 10.0), torch.tensor(0.3))
    assert abs(tosses.mean().item() - 3) < 0.2
    with pytest.raises(RuntimeError, match="invalid Poisson rate, expected rate to be non-negative"):
        torch.poisson(torch.tensor([-1.0]))
    with pytest.raises(NotImplementedError, match="\"poisson_cpu\" not implemented for 'Long'"):
        torch.poisson(torch.tensor([1]))
    with pytest.raises(ValueError, match="binomial only supports floating-point dtypes for count, got: Long"):
        torch.binomial(torch.tensor([1]), torch.tensor([0.5]))


def test_functionalize_is_the_function() -> None:
    def f(x: Any) -> Any:
        y = x.clone()
        y += 1
        return y

    assert torch.func.functionalize(f)(torch.ones(1)).item() == 2.0
    with pytest.raises(RuntimeError, match="received invalid argument for remove=views"):
        torch.func.functionalize(f, remove="views")
    assert torch.nn.attention.SDPBackend.MATH == 0
    assert torch.GradScaler is torch.amp.GradScaler
