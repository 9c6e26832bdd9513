"""Functions of networks against NumPy, and their gradients against differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
import adjit.nn.functional as functional
from adjit import nn

GENERATOR = np.random.default_rng(7)


def draw(*shape: int) -> Any:
    """Normal numbers in float64, far from each other's kinks by chance."""
    return torch.tensor(GENERATOR.standard_normal(shape))


def share(*shape: int) -> Any:
    """Numbers in 0.1..0.9 in float64."""
    return torch.tensor(GENERATOR.uniform(0.1, 0.9, shape))


def difference_gradients(function: Callable[..., Any], tensors: list[Any], step: float = 1e-6) -> list[np.ndarray]:
    """Central differences of a scalar function, one element at a time."""
    found = []
    for tensor in tensors:
        gradient = np.zeros(tuple(tensor.shape))
        values = tensor.numpy()
        for place in np.ndindex(*gradient.shape):
            kept = values[place]
            ends = []
            for sign in (1, -1):
                values[place] = kept + sign * step
                ends.append(float(function(*tensors)))
            values[place] = kept
            gradient[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(gradient)
    return found


LABELS = torch.tensor([2, 0, 3, -100])
CASES: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "linear": (functional.linear, ((2, 3), (4, 3), (4,))),
    "linear over many axes": (functional.linear, ((2, 2, 3), (4, 3), (4,))),
    "bilinear": (functional.bilinear, ((2, 2), (2, 3), (2, 2, 3))),
    "conv1d": (lambda x, w, b: functional.conv1d(x, w, b, stride=2, padding=1), ((2, 2, 5), (3, 2, 2), (3,))),
    "conv2d": (lambda x, w, b: functional.conv2d(x, w, b, stride=(2, 1), padding=1, groups=2),
               ((1, 4, 4, 3), (2, 2, 2, 2), (2,))),
    "conv2d same": (lambda x, w: functional.conv2d(x, w, padding="same", dilation=2), ((1, 1, 4, 4), (1, 1, 2, 3))),
    "conv_transpose2d": (lambda x, w: functional.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
                         ((1, 2, 3, 2), (2, 1, 3, 3))),
    "max_pool2d": (lambda x: functional.max_pool2d(x, 2), ((1, 2, 5, 4),)),
    "max_pool2d overlapping": (lambda x: functional.max_pool2d(x, 3, 1, 1), ((1, 1, 4, 4),)),
    "avg_pool2d": (lambda x: functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False), ((1, 1, 5, 5),)),
    "adaptive_avg_pool2d": (lambda x: functional.adaptive_avg_pool2d(x, (2, 3)), ((1, 1, 4, 5),)),
    "adaptive_max_pool2d": (lambda x: functional.adaptive_max_pool2d(x, (2, 3)), ((1, 1, 4, 5),)),
    "batch_norm": (lambda x, w, b: functional.batch_norm(x, None, None, w, b, True) ** 3, ((3, 2, 2), (2,), (2,))),
    "layer_norm": (lambda x, w, b: functional.layer_norm(x, (3,), w, b) ** 3, ((2, 3), (3,), (3,))),
    "rms_norm": (lambda x, w: functional.rms_norm(x, (3,), w) ** 3, ((2, 3), (3,))),
    "group_norm": (lambda x, w, b: functional.group_norm(x, 2, w, b) ** 3, ((2, 4, 2), (4,), (4,))),
    "instance_norm": (lambda x: functional.instance_norm(x) ** 3, ((2, 2, 3),)),
    "normalize": (lambda x: functional.normalize(x) ** 3, ((2, 3),)),
    "cosine_similarity": (functional.cosine_similarity, ((2, 3), (2, 3))),
    "cross_entropy": (lambda x: functional.cross_entropy(x, LABELS), ((4, 5),)),
    "cross_entropy smoothed": (lambda x: functional.cross_entropy(x, LABELS, label_smoothing=0.2), ((4, 5),)),
    "cross_entropy of shares": (lambda x, t: functional.cross_entropy(x, t), ((4, 3), (4, 3))),
    "bce_with_logits": (functional.binary_cross_entropy_with_logits, ((2, 3), (2, 3))),
    "huber": (lambda x, y: functional.huber_loss(x, y, delta=0.7), ((2, 3), (2, 3))),
    "smooth_l1": (lambda x, y: functional.smooth_l1_loss(x, y, beta=0.7), ((2, 3), (2, 3))),
    "kl_div": (lambda x, t: functional.kl_div(x, t, reduction="batchmean", log_target=True), ((2, 3), (2, 3))),
    "embedding": (lambda w: functional.embedding(torch.tensor([[1, 0], [3, 1]]), w), ((4, 2),)),
    "pad": (lambda x: functional.pad(x, (1, 2), "reflect"), ((1, 2, 4),)),
    "interpolate": (lambda x: functional.interpolate(x, (5, 3), mode="bilinear"), ((1, 1, 3, 4),)),
    "attention": (lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True),
                  ((1, 3, 2), (1, 3, 2), (1, 3, 2))),
    "glu": (functional.glu, ((2, 4),)),
    "prelu": (functional.prelu, ((2, 3, 2), (3,))),
    "unfold": (lambda x: functional.unfold(x, 2), ((1, 2, 3, 3),)),
    "fold": (lambda x: functional.fold(x, (3, 3), 2), ((1, 4, 4),)),
}  # fmt: skip
for _name in ("relu", "elu", "selu", "celu", "silu", "mish", "gelu", "softplus", "leaky_relu", "hardswish", "hardtanh",
              "logsigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink", "hardsigmoid", "relu6"):  # fmt: skip
    CASES[_name] = (getattr(functional, _name), ((3, 3),))


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_differences(name: str) -> None:
    function, shapes = CASES[name]
    tensors = [draw(*shape).requires_grad_() for shape in shapes]

    with torch.no_grad():
        weight = draw(*function(*tensors).shape)

    def weighted(*given: Any) -> Any:
        return (function(*given) * weight).sum()

    weighted(*tensors).backward()
    expected = difference_gradients(weighted, [tensor.detach() for tensor in tensors])
    for tensor, gradient in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(tensor.grad.numpy(), gradient, rtol=2e-6, atol=2e-7)


# -- values ------------------------------------------------------------------------------------------------------------
def correlate(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Cross-correlation over two axes, written as loops."""
    wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kh, kw = w.shape[2:]
    rows, columns = (wide.shape[2] - kh) // stride + 1, (wide.shape[3] - kw) // stride + 1
    out = np.zeros((x.shape[0], w.shape[0], rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = wide[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, :, i, j] = np.einsum("nchw,ochw->no", patch, w) + b
    return out


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_conv2d(stride: int, padding: int) -> None:
    x, w, b = draw(2, 3, 7, 6), draw(4, 3, 3, 2), draw(4)
    found = functional.conv2d(x, w, b, stride, padding)
    np.testing.assert_allclose(found.numpy(), correlate(x.numpy(), w.numpy(), b.numpy(), stride, padding), rtol=1e-12)


def test_transposed_convolution_is_the_transpose() -> None:
    x, w, y = draw(1, 2, 5, 5), draw(3, 2, 3, 3), draw(1, 3, 3, 3)
    forward = (functional.conv2d(x, w, stride=2, padding=1) * y).sum()
    back = (functional.conv_transpose2d(y, w, stride=2, padding=1) * x).sum()
    assert float(forward) == pytest.approx(float(back), rel=1e-12)


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1)])
def test_max_pool2d_and_its_places(size: int, stride: int, padding: int) -> None:
    x = draw(2, 2, 6, 7)
    found, places = functional.max_pool2d(x, size, stride, padding, return_indices=True)
    flat = x.reshape(2, 2, -1).gather(2, places.reshape(2, 2, -1)).reshape(found.shape)
    assert torch.equal(found, flat)
    wide = np.pad(x.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(wide, (size, size), (2, 3))[:, :, ::stride, ::stride]
    np.testing.assert_array_equal(found.numpy(), views.max((-2, -1)))


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    functional.max_pool2d(x, 2).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("program", [lambda f: f, torch.compile], ids=["eager", "compiled"])
def test_wide_windows_and_uneven_bins_give_the_gradient_to_the_first(program: Any) -> None:
    x = torch.zeros(1, 1, 7, 7, requires_grad=True)
    program(lambda x: functional.max_pool2d(x, 5, 1, 2).sum())(x).backward()
    expected = torch.zeros(7, 7)
    for row, column in itertools.product(range(7), repeat=2):
        expected[max(row - 2, 0), max(column - 2, 0)] += 1
    assert x.grad[0, 0].tolist() == expected.tolist()
    y = torch.zeros(1, 1, 5, 7, requires_grad=True)
    found, places = program(lambda y: functional.adaptive_max_pool2d(y, (2, 3), return_indices=True))(y)
    found.sum().backward()
    assert places[0, 0].tolist() == [[0, 2, 4], [14, 16, 18]]
    assert y.grad.flatten().nonzero().flatten().tolist() == places.flatten().tolist()


@pytest.mark.parametrize("program", [lambda f: f, torch.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("pool", [functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d])
def test_no_bins_have_no_elements(pool: Any, program: Any) -> None:
    x = torch.ones(1, 2, 4, 5, requires_grad=True)
    for bins in ((0, 3), (3, 0), (0, 0), (1, 0)):
        found = program(lambda x, bins=bins: pool(x, bins))(x)
        assert tuple(found.shape) == (1, 2, *bins)
        assert torch.autograd.grad(found.sum(), x)[0].abs().sum() == 0
    assert tuple(functional.adaptive_max_pool2d(x, (0, 3), True)[1].shape) == (1, 2, 0, 3)


def test_batch_norm_names_the_first_wrong_operand_as_pytorch_does() -> None:
    x, one = torch.ones(4, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    bias, mean = one.float(), one.half()
    for training, name in ((False, "Float"), (True, "Half")):
        with pytest.raises(RuntimeError, match=f"expected scalar type Double but found {name}"):
            functional.batch_norm(x, mean, one, one, bias, training)
    with pytest.raises(ValueError, match="must either both be None or neither be None"):
        functional.batch_norm(x, None, one, training=True)


def test_cross_entropy_is_log_of_the_share() -> None:
    x, target, weight = draw(4, 5), torch.tensor([1, 4, 0, 2]), share(5)
    logs = x.numpy() - np.log(np.exp(x.numpy()).sum(1, keepdims=True))
    picked, factor = -logs[np.arange(4), target.numpy()], weight.numpy()[target.numpy()]
    assert float(functional.cross_entropy(x, target)) == pytest.approx(picked.mean(), rel=1e-12)
    assert float(functional.cross_entropy(x, target, weight)) == pytest.approx(
        (picked * factor).sum() / factor.sum(), rel=1e-12
    )
    ignored = functional.cross_entropy(x, target, ignore_index=4, reduction="none")
    np.testing.assert_allclose(ignored.numpy(), np.where(target.numpy() == 4, 0, picked), rtol=1e-12)
    assert math.isfinite(float(functional.cross_entropy(torch.tensor([[1000.0, 0.0]]), torch.tensor([1]))))


def test_running_moments() -> None:
    norm, x = nn.BatchNorm2d(2, momentum=0.3), draw(3, 2, 4, 4).float()
    norm(x)
    values = x.numpy().transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.3 * values.mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.7 + 0.3 * values.var(1, ddof=1), rtol=1e-5)
    assert int(norm.num_batches_tracked) == 1
    norm.eval()
    expected = (x.numpy() - norm.running_mean.numpy()[:, None, None]) / np.sqrt(
        norm.running_var.numpy()[:, None, None] + 1e-5
    )
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_dropout_keeps_the_mean_and_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, requires_grad=True)
    y = functional.dropout(x, 0.25)
    assert set(np.unique(y.detach().numpy())) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(float(y.mean()) - 1) < 0.05
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert functional.dropout(x, 0.25, training=False) is x
    assert not functional.dropout(x, 1.0).any()
    channels = functional.dropout2d(torch.ones(2, 8, 3, 3), 0.5)
    assert all(len(set(channel.flatten().tolist())) == 1 for sample in channels for channel in sample)


def test_padding_row_gets_no_gradient() -> None:
    layer = nn.Embedding(4, 2, padding_idx=1)
    assert not layer.weight[1].any()
    layer(torch.tensor([[1, 2], [2, 3]])).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0], [0, 0], [2, 2], [1, 1]]


def test_in_place_activation() -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1.0
    assert functional.relu(y, inplace=True) is y and y.tolist() == [0.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        functional.relu_(x)


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: functional.conv2d(draw(1, 3, 8, 8), draw(10, 1, 5, 5)),
        RuntimeError,
        "Given groups=1, weight of size [10, 1, 5, 5], expected input[1, 3, 8, 8] to have 1 channels, but got 3 "
        "channels instead",
    ),
    (
        lambda: functional.conv2d(draw(8, 8), draw(10, 1, 5, 5)),
        RuntimeError,
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [8, 8]",
    ),
    (
        lambda: functional.conv2d(draw(1, 1, 3, 3), draw(1, 1, 5, 5)),
        RuntimeError,
        "Calculated padded input size per channel: (3 x 3). Kernel size: (5 x 5). Kernel size can't be greater than "
        "actual input size",
    ),
    (
        lambda: functional.max_pool2d(draw(2, 3, 1, 1), 2),
        RuntimeError,
        "Given input size: (3x1x1). Calculated output size: (3x0x0). Output size is too small",
    ),
    (
        lambda: functional.cross_entropy(draw(2, 5), torch.tensor([1, 10])),
        IndexError,
        "Target 10 is out of bounds.",
    ),
    (
        lambda: functional.cross_entropy(draw(2, 5), torch.tensor([1, 2, 3])),
        ValueError,
        "Expected input batch_size (2) to match target batch_size (3).",
    ),
    (
        lambda: functional.embedding(torch.tensor([9]), draw(4, 2)),
        IndexError,
        "index out of range in self",
    ),
    (
        lambda: functional.dropout(draw(2), 1.5),
        ValueError,
        "dropout probability has to be between 0 and 1, but got 1.5",
    ),
    (
        lambda: functional.mse_loss(draw(2), draw(2), reduction="average"),
        ValueError,
        "average is not a valid value for reduction",
    ),
    (
        lambda: functional.batch_norm(draw(1, 3), None, None, training=True),
        ValueError,
        "Expected more than 1 value per channel when training, got input size torch.Size([1, 3])",
    ),
]


@pytest.mark.parametrize(("action", "kind", "text"), ERRORS, ids=lambda item: item if isinstance(item, str) else "")
def test_errors_read_as_in_pytorch(action: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        action()
    assert str(caught.value).split("\n")[0] == text


def test_a_size_that_broadcasts_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="Using a target size"):
        functional.mse_loss(draw(2, 1), draw(2))


def test_names_of_functions_in_the_graph() -> None:
    x = draw(1, 1, 4, 4).requires_grad_()
    layer = nn.Conv2d(1, 2, 3).double()
    assert functional.relu(x).grad_fn.name() == "ReluBackward0"
    assert layer(x).grad_fn.name() == "ConvolutionBackward0"
    assert functional.linear(draw(2, 3), draw(4, 3).requires_grad_(), draw(4)).grad_fn.name() == "AddmmBackward0"
    loss = functional.cross_entropy(draw(2, 3).requires_grad_(), torch.tensor([0, 1]))
    assert loss.grad_fn.name() == "NllLossBackward0"
    assert loss.grad_fn.next_functions[0][0].name() == "LogSoftmaxBackward0"


def test_points_at_the_edge_of_a_bordered_image_do_not_move_it() -> None:
    grid = torch.tensor([[[[-0.75, 0.1], [0.2, 0.75], [0.1, 0.2]]]], requires_grad=True)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    functional.grid_sample(image, grid, padding_mode="border", align_corners=False).sum().backward()
    assert (grid.grad[0, 0] != 0).tolist() == [[False, True], [True, False], [True, True]]


@pytest.mark.parametrize("sizes", ((1, 16, 16, 14), (3, 32, 17, 9), (2, 8, 8, 9)), ids=str)
def test_convolutions_and_gradients_compiled_strictly_have_the_bits_of_eager_mode(sizes: tuple[int, ...]) -> None:
    """Where 3 x 3 taps go by Winograd's method, and where they do not."""
    samples, channels, features, side = sizes
    shapes = (samples, channels, side, side), (features, channels, 3, 3), (samples, features, side, side)
    x, w, cotangent = (draw(*shape).to(torch.float32) for shape in shapes)

    def convolve(x: Any, w: Any) -> Any:
        return functional.conv2d(x, w, padding=1)

    def gradients(x: Any, w: Any) -> Any:
        return torch.func.vjp(convolve, x, w)[1](cotangent)

    def run(convolve: Callable[..., Any]) -> list[Any]:
        operands = [each.clone().requires_grad_() for each in (x, w)]
        found = convolve(*operands)
        found.backward(cotangent)
        return [found.detach(), *(each.grad for each in operands)]

    expected = run(convolve)
    found = [*run(torch.compile(convolve, strict=True)), *torch.compile(gradients, strict=True)(x, w)]
    for ours, theirs in zip(found, [*expected, *expected[1:]], strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("extent", "count"), [(7, 3), (5, 7), (9, 1), (3, 2), (10, 4), (8, 4), (1, 3)])
def test_means_of_bins_meet_their_own_members_alone(extent: int, count: int, special: float) -> None:
    for place in range(extent):
        x = np.arange(1.0, extent + 1)
        x[place] = special
        bins = [x[i * extent // count : -(-(i + 1) * extent // count)] for i in range(count)]
        found = torch.nn.functional.adaptive_avg_pool1d(torch.tensor(x)[None], count)
        np.testing.assert_allclose(found.numpy()[0], [part.mean() for part in bins], rtol=1e-12)
        grid = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x)[None, None].expand(1, 2, extent), (2, count))
        np.testing.assert_allclose(grid.numpy()[0, 1], [part.mean() for part in bins], rtol=1e-12)


def test_infinite_elements_are_put_back_where_they_were() -> None:
    x = torch.tensor([[[1.0, np.inf, 3.0, -np.inf, 5.0, np.nan]]], requires_grad=True)
    places = torch.tensor([[[0, 3, 5, 6, 9, 11]]])
    found = torch.nn.functional.max_unpool1d(x, places, 2)
    wanted = np.zeros(12)
    wanted[[0, 3, 5, 6, 9, 11]] = [1, np.inf, 3, -np.inf, 5, np.nan]
    np.testing.assert_array_equal(found.detach().numpy()[0, 0], wanted)
    (gradient,) = torch.autograd.grad((found * torch.arange(12.0)).nan_to_num(0, 0, 0).sum(), x)
    assert gradient[0, 0, [0, 2, 4]].tolist() == [0.0, 5.0, 9.0]
    (gradient,) = torch.autograd.grad(torch.nn.functional.max_unpool1d(x, places, 2), x, torch.arange(12.0)[None, None])
    assert gradient[0, 0].tolist() == [0.0, 3.0, 5.0, 6.0, 9.0, 11.0]
