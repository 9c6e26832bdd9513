"""Lazy layers, unpooling, adaptive softmax, bags, alignment losses, sampling grids: values written down or derived."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest

import adjit
from adjit.nn import functional


def test_lazy_layers_take_their_sizes_from_the_first_input() -> None:
    model = adjit.nn.Sequential(
        adjit.nn.LazyConv2d(3, 2), adjit.nn.LazyBatchNorm2d(), adjit.nn.Flatten(), adjit.nn.LazyLinear(4)
    )
    copied = copy.deepcopy(model)
    assert repr(model[0].weight) == "<UninitializedParameter>"
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized parameter"):
        _ = model[0].weight.shape
    assert model(adjit.randn(2, 1, 4, 4)).shape == (2, 4)
    assert [type(layer).__name__ for layer in model] == ["Conv2d", "BatchNorm2d", "Flatten", "Linear"]
    assert model[3].weight.shape == (4, 27)
    copied.load_state_dict(model.state_dict())
    x = adjit.randn(2, 1, 4, 4)
    assert adjit.allclose(copied(x), model(x))
    assert type(copied[3]) is adjit.nn.Linear


def test_lazy_layers_are_made_inside_a_compiled_function() -> None:
    model = adjit.nn.Sequential(adjit.nn.LazyLinear(3), adjit.nn.ReLU(), adjit.nn.LazyLinear(2))
    x = adjit.randn(5, 4)
    compiled = adjit.compile(model)(x)
    assert adjit.allclose(compiled, model(x))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling_puts_the_greatest_back(rank: int) -> None:
    x = adjit.randn(2, 3, *(4,) * rank)
    pool = getattr(functional, f"max_pool{rank}d")
    found, places = pool(x, 2, return_indices=True)
    back = getattr(functional, f"max_unpool{rank}d")(found, places, 2)
    assert back.shape == x.shape
    kept = back != 0
    assert int(kept.sum()) == found.numel()
    assert adjit.equal(back[kept], x[kept])


def test_adaptive_softmax_is_a_distribution() -> None:
    layer = adjit.nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6], div_value=2.0)
    x, target = adjit.randn(10, 8), adjit.arange(10)
    logs = layer.log_prob(x)
    np.testing.assert_allclose(logs.exp().sum(1).detach().numpy(), np.ones(10), rtol=1e-5)
    output, loss = layer(x, target)
    np.testing.assert_allclose(output.detach().numpy(), logs.gather(1, target.unsqueeze(1)).squeeze(1).detach().numpy(),
                               rtol=1e-5)  # fmt: skip
    assert float(loss) == pytest.approx(-float(output.mean()))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_by_offset_are_bags_by_row(mode: str) -> None:
    weight = adjit.randn(6, 3, dtype=adjit.float64, requires_grad=True)
    index = adjit.tensor([[1, 2, 5], [0, 1, 2]])
    whole = functional.embedding_bag(index, weight, mode=mode, padding_idx=2)
    runs = functional.embedding_bag(index.reshape(-1), weight, adjit.tensor([0, 3]), mode=mode, padding_idx=2)
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max}[mode]
    table = weight.detach().numpy()
    expected = np.stack([reduce(table[[1, 5]], 0), reduce(table[[0, 1]], 0)])
    np.testing.assert_allclose(whole.detach().numpy(), expected)
    np.testing.assert_allclose(runs.detach().numpy(), expected)
    first = adjit.autograd.grad(whole.sin().sum(), weight)[0]
    second = adjit.autograd.grad(runs.sin().sum(), weight)[0]
    np.testing.assert_allclose(first.numpy(), second.numpy())


def test_alignment_loss_is_the_sum_over_alignments() -> None:
    steps, classes, label = 4, 3, [1, 2]
    logs = adjit.randn(steps, 1, classes, dtype=adjit.float64).log_softmax(-1)
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [c for i, c in enumerate(path) if i == 0 or path[i - 1] != c]
        if [c for c in merged if c != 0] == label:
            total += math.exp(sum(float(logs[t, 0, c]) for t, c in enumerate(path)))
    found = functional.ctc_loss(logs, adjit.tensor([label]), (steps,), (2,), reduction="sum")
    assert float(found) == pytest.approx(-math.log(total))


def test_alignment_gradient_is_a_difference() -> None:
    scores = adjit.randn(5, 2, 4, dtype=adjit.float64, requires_grad=True)
    targets = adjit.tensor([[1, 1], [3, 2]])

    def loss(x: adjit.Tensor) -> adjit.Tensor:
        return functional.ctc_loss(x.log_softmax(-1), targets, (5, 4), (2, 1))

    loss(scores).backward()
    direction = adjit.randn(5, 2, 4, dtype=adjit.float64)
    with adjit.no_grad():
        slope = (loss(scores + 1e-6 * direction) - loss(scores - 1e-6 * direction)) / 2e-6
    assert float((scores.grad * direction).sum()) == pytest.approx(float(slope), rel=1e-6)


def test_the_identity_grid_gives_the_image_back() -> None:
    image = adjit.randn(2, 3, 4, 5)
    theta = adjit.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(2, 2, 3)
    grid = functional.affine_grid(theta, (2, 3, 4, 5), align_corners=False)
    for mode in ("bilinear", "nearest", "bicubic"):
        found = functional.grid_sample(image, grid, mode, align_corners=False)
        np.testing.assert_allclose(found.numpy(), image.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
def test_resampling_keeps_constants(mode: str, antialias: bool) -> None:
    found = functional.interpolate(adjit.full((1, 2, 6, 7), 3.0), (4, 9), mode=mode, antialias=antialias)
    np.testing.assert_allclose(found.numpy(), np.full((1, 2, 4, 9), 3.0), rtol=1e-6)


def resampled(x: np.ndarray, scale: float, mode: str) -> np.ndarray:
    """The last axis of x in `mode`, by the definition."""
    count = int(x.shape[-1] * scale)
    if mode == "nearest":
        return x[..., np.floor(np.arange(count) / scale + 1e-9).astype(int)]
    place = (np.arange(count) + 0.5) / scale - 0.5
    first = np.floor(place + 1e-9)
    t, a = place - first, -0.75
    near, far = (lambda d: ((a + 2) * d - a - 3) * d * d + 1), (lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)
    cubic = {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
    weights = cubic if mode == "bicubic" else {0: 1 - t, 1: t}
    ends = x.shape[-1] - 1
    return sum(x[..., np.clip(first + shift, 0, ends).astype(int)] * weight for shift, weight in weights.items())


@pytest.mark.parametrize("program", [lambda f: f, adjit.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [2, 3, 8, 0.5, 1 / 3, 0.25, 1.5])
def test_resampling_is_the_definition_along_each_axis(scale: float, mode: str, program: Any) -> None:
    x = np.random.default_rng(3).standard_normal((2, 1, 5, 9))
    expected = np.swapaxes(resampled(np.swapaxes(resampled(x, scale, mode), 2, 3), scale, mode), 2, 3)
    image = adjit.tensor(x).requires_grad_()
    found = program(lambda x: functional.interpolate(x, scale_factor=scale, mode=mode))(image)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-7, atol=1e-7)
    # What is linear in the image gives back along its gradient as much as it gives.
    (gradient,) = adjit.autograd.grad((found * found).sum(), image)
    assert float((gradient * image).sum()) == pytest.approx(2 * float((found * found).sum()), rel=1e-12)


@pytest.mark.parametrize("program", [lambda f: f, adjit.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize(("mode", "known"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
@pytest.mark.parametrize("dims", [(2, 1, 7, 58), (1, 3, 20, 40), (1, 2, 5, 150)])
def test_padding_is_numpys(dims: tuple[int, ...], mode: str, known: str, program: Any) -> None:
    x = np.random.default_rng(5).standard_normal(dims)
    widths = (1, 4, 3, 2)
    image = adjit.tensor(x).requires_grad_()
    found = program(lambda x: functional.pad(x, widths, mode=mode))(image)
    np.testing.assert_array_equal(found.detach().numpy(), np.pad(x, ((0, 0), (0, 0), (3, 2), (1, 4)), mode=known))
    (gradient,) = adjit.autograd.grad((found * found).sum(), image)
    assert float((gradient * image).sum()) == pytest.approx(2 * float((found * found).sum()), rel=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("widths", [(3, 64), (40, 1), (1, 70, 2), (31, 32, 5, 33)])
def test_narrow_parts_stand_in_their_rows(widths: tuple[int, ...], threads: int) -> None:
    parts = [np.random.default_rng(width).standard_normal((200, width)) for width in widths]
    joined = adjit.compile(lambda *parts: adjit.cat(parts, 1), threads=threads)(*map(adjit.tensor, parts))
    np.testing.assert_array_equal(joined.numpy(), np.concatenate(parts, 1))


def _padded_rows(mode: str, extent: int, low: int, high: int) -> list[int]:
    """The row of an axis that stands at each place behind `mode`'s padding."""
    places = range(-low, extent + high)
    if mode == "replicate":
        return [min(max(place, 0), extent - 1) for place in places]
    if mode == "reflect":
        return [extent - 1 - abs(extent - 1 - abs(place)) for place in places]
    first, kept = max(-low, 0), extent + min(low, 0) + min(high, 0)
    return [(place - first) % kept + first for place in places]


@pytest.mark.parametrize(
    ("mode", "sides"),
    [("replicate", (-3, 2)), ("replicate", (2, -4)), ("reflect", (-3, 1)), ("reflect", (1, -2)), ("circular", (-3, 1)),
     ("circular", (2, -2))],
)  # fmt: skip
def test_negative_sides_at_changing_sizes(mode: str, sides: tuple[int, int]) -> None:
    padded = adjit.compile(lambda x: functional.pad(x, sides, mode))
    for extent in (9, 7, 5, 4, 6, 8):
        x = adjit.randn(2, extent, requires_grad=True)
        rows = _padded_rows(mode, extent, *sides)
        found = padded(x)
        assert found.tolist() == [[line[row] for row in rows] for line in x.tolist()]
        found.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [[float(rows.count(place)) for place in range(extent)]] * 2


def test_sides_that_cut_everything() -> None:
    replicated = adjit.compile(lambda x: functional.pad(x, (-3, 1, 1, 1), "replicate"))
    repeated = adjit.compile(lambda x: functional.pad(x, (-3, 1), "circular"))
    for extent in (9, 7, 2, 3, 6):
        x = adjit.randn(1, 2, extent, requires_grad=True)
        found = replicated(x)
        assert tuple(found.shape) == (1, 4, extent - 2)
        found.sum().backward()
        assert tuple(x.grad.shape) == (1, 2, extent)
        assert tuple(repeated(x).shape) == (1, 2, extent - 2)
    reflected = adjit.compile(lambda x: functional.pad(x, (-4, 1), "reflect"))
    for call, extent in ((replicated, 1), (repeated, 1), (reflected, 2)):
        with pytest.raises(RuntimeError, match=r"negative dimension -1|resulting in an empty|too small"):
            call(adjit.ones(1, 2, extent))
    assert functional.pad(adjit.ones(1, 3, 2), (-3, 2), "circular").tolist() == [[[0.0]] * 3]


FREQUENT = [
    (lambda w, i: functional.embedding(i, w, scale_grad_by_freq=True), [[3.5], [4.0], [10 / 3]]),
    (lambda w, i: functional.embedding(i, w, padding_idx=2, scale_grad_by_freq=True), [[3.5], [4.0], [0.0]]),
    (lambda w, i: functional.embedding_bag(i, w, adjit.tensor([0, 2]), scale_grad_by_freq=True, mode="sum"),
     [[1.5], [2.0], [5 / 3]]),
]


@pytest.mark.parametrize("mode", [lambda f: f, adjit.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize(("of", "expected"), FREQUENT, ids=["rows", "padding", "bags"])
def test_gradients_of_rows_are_divided_by_how_often_they_are_named(of: Any, expected: Any, mode: Any) -> None:
    def step(weight: Any, index: Any) -> Any:
        found = of(weight, index)
        (found * adjit.arange(1.0, len(found) + 1).unsqueeze(-1)).sum().backward()
        return found

    weight, index = adjit.ones(4, 1, requires_grad=True), adjit.tensor([0, 2, 2, 1, 2, 0])
    mode(step)(weight, index)
    assert np.allclose(weight.grad.numpy(), [*expected, [0.0]])
    plain = weight.detach()
    found = adjit.func.grad(lambda w: of(w, index).sum())(plain)
    assert found.shape == (4, 1) and found[3].item() == 0.0


def test_what_layers_refuse_and_warn_of() -> None:
    x = adjit.randn(2, 3, 4)
    refused = [
        (RuntimeError, "ZeroDivisionError: alpha cannot be 0 for CELU", lambda: functional.celu(x, 0.0)),
        (RuntimeError, "dropout1d: Expected 2D or 3D input, but received a 1D input. ",
         lambda: functional.dropout1d(x[0, 0])),
        (RuntimeError, "glu does not support scalars because halving size must be even",
         lambda: functional.glu(adjit.tensor(1.0))),
        (IndexError, "Dimension out of range (expected to be in range of [-3, 2], but got 5)",
         lambda: functional.glu(x, 5)),
        (ValueError, "TripletMarginLoss: expected margin to be greater than 0, got 0 instead",
         lambda: adjit.nn.TripletMarginLoss(margin=0)),
        (ValueError, "bad is not a valid value for reduction",
         lambda: functional.ctc_loss(x.log_softmax(-1), adjit.ones(3, 1).long(), (2, 2, 2), (1, 1, 1), 0, "bad")),
    ]  # fmt: skip
    for kind, text, call in refused:
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value).startswith(text)
    with pytest.warns(UserWarning, match="^dropout2d: Received a 3D input to dropout2d and assuming"):
        functional.dropout2d(x)
    with pytest.warns(UserWarning, match=r"2 spatial dimensions, .* \(i\.e\. 3D or 4D inputs\)\.$"):
        functional.dropout2d(x[0])


def test_losses_and_layers_of_odd_shapes() -> None:
    x, target = adjit.tensor([[0.5, 2.0], [3.0, 0.25]]), adjit.tensor([1.0, -1.0])
    assert functional.hinge_embedding_loss(x, target, reduction="none").tolist() == [[0.5, 0.0], [3.0, 0.75]]
    weight, bias = adjit.zeros(2, 0), adjit.tensor([1.0, 2.0], requires_grad=True)
    found = functional.linear(adjit.zeros(3, 4, 0), weight, bias)
    found.sum().backward()
    assert adjit.equal(found, bias.expand(3, 4, 2)) and bias.grad.tolist() == [12.0, 12.0]


def test_groups_of_one_value_are_refused() -> None:
    for shape, groups in (((1, 10), 10), ((1, 4, 1), 4)):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel when training, got input size"):
            functional.group_norm(adjit.ones(shape), groups)
    for shape, groups in (((2, 4, 1), 4), ((1, 4, 1), 2), ((0, 4, 1), 4), ((1, 4, 0), 4)):
        assert functional.group_norm(adjit.ones(shape), groups).shape == shape


def test_tables_of_bounded_rows_take_short_indices() -> None:
    table = adjit.full((4, 3), 2.0)
    found = functional.embedding(adjit.tensor([1, 2], dtype=adjit.int32), table, max_norm=1.0)
    adjit.testing.assert_close(found.norm(dim=1), adjit.ones(2))
    assert table[0].tolist() == [2.0, 2.0, 2.0]


def test_an_unknown_parameter_takes_a_single_size() -> None:
    parameter = adjit.nn.UninitializedParameter()
    parameter.materialize(5)
    assert parameter.shape == (5,) and isinstance(parameter, adjit.nn.Parameter)
