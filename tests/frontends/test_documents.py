"""The programs that introductions to PyTorch show, eager and compiled: numbers, flags, texts of errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import nn
from adjit.nn import functional as F

Step = Callable[..., Any]
BOTH = pytest.mark.parametrize("prepare", [lambda f: f, torch.compile], ids=["eager", "compiled"])
LINES = {
    "no gradient": "element 0 of tensors does not require grad and does not have a grad_fn",
    "second time": "Trying to backward through the graph a second time (or directly access saved tensors after they "
    "have already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
    "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or if you need "
    "to access saved tensors after calling backward.",
}


def leaf(*values: float) -> Any:
    """A vector, or a number, that requires grad."""
    return torch.tensor(list(values) if len(values) > 1 else values[0], requires_grad=True)


# -- gradients in closed form -----------------------------------------------------------------------------------------
def square_and_shift(w: Any) -> None:
    y = w**2
    (10 * y + 50).backward()


def cube_weighted(x: Any) -> None:
    (x**3).backward(torch.tensor(3.0))


def scaled(x: Any) -> None:
    (x * 3).backward(torch.tensor([100, 0.1], dtype=torch.float))


def scaled_twice(x: Any) -> None:
    weights = torch.tensor([100, 0.1], dtype=torch.float)
    y = x * 3
    y.backward(weights, retain_graph=True)
    y.backward(weights)


@BOTH
@pytest.mark.parametrize(
    ("step", "start", "expected"),
    [
        (square_and_shift, [2.0], 40.0),
        (cube_weighted, [1.0], 9.0),
        (scaled, [0.3, -0.7], [300.0, 0.3]),
        (scaled_twice, [0.3, -0.7], [600.0, 0.6]),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_gradients_of_small_programs(prepare: Any, step: Step, start: list[float], expected: Any) -> None:
    x = leaf(*start)
    assert x.grad is None
    prepare(step)(x)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)


@BOTH
def test_a_vector_of_errors(prepare: Any) -> None:
    a, b = leaf(2.0, 3.0), leaf(6.0, 4.0)

    def errors(a: Any, b: Any) -> Any:
        return 3 * a**3 - b**2

    q = prepare(errors)(a, b)
    q.backward(gradient=torch.tensor([1.0, 1.0]))
    assert (a.grad.tolist(), b.grad.tolist()) == ([36.0, 81.0], [-12.0, -8.0])
    assert (9 * a**2 == a.grad).all() and (-2 * b == b.grad).all()


@BOTH
def test_what_a_product_knows_of_itself(prepare: Any) -> None:
    a, b = leaf(2.0), torch.tensor(3.0)
    c = prepare(lambda a, b: a * b)(a, b)
    assert (float(a), a.grad, a.grad_fn, a.is_leaf, a.requires_grad) == (2.0, None, None, True, True)
    assert (float(b), b.grad, b.grad_fn, b.is_leaf, b.requires_grad) == (3.0, None, None, True, False)
    assert (float(c), c.is_leaf, c.requires_grad) == (6.0, False, True)
    assert c.grad_fn.name() in ("MulBackward0", "CompiledBackward0")


def test_the_printed_history_of_results() -> None:
    x = torch.tensor([2.0, -1.5], requires_grad=True)
    y, z = x * 3, x / 2
    assert repr((x + y, y, z)) == (
        "(tensor([ 8., -6.], grad_fn=<AddBackward0>), tensor([ 6.0000, -4.5000], grad_fn=<MulBackward0>), "
        "tensor([ 1.0000, -0.7500], grad_fn=<DivBackward0>))"
    )


def test_the_gradient_of_a_result_is_asked_for_with_a_warning() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    y.backward(torch.ones(2))
    with pytest.warns(UserWarning, match="The .grad attribute of a Tensor that is not a leaf Tensor is being accessed"):
        assert y.grad is None
    z = x * 3
    z.retain_grad()
    z.backward(torch.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert z.grad.tolist() == [1.0, 1.0]


# -- recording and not recording --------------------------------------------------------------------------------------
@BOTH
def test_no_grad_and_detach(prepare: Any) -> None:
    def three_ways(x: Any) -> Any:
        kept = x * 2
        with torch.no_grad():
            dropped = x * 2
        return kept, dropped, x.detach()

    x = leaf(1.0)
    kept, dropped, cut = prepare(three_ways)(x)
    assert [t.requires_grad for t in (kept, dropped, cut)] == [True, False, False]
    assert bool(x.eq(cut).all())


@BOTH
def test_two_networks_of_which_one_is_trained(prepare: Any) -> None:
    first, second = leaf(2.0), leaf(5.0)

    def loss(first: Any, second: Any) -> Any:
        between = (first * 3).detach()
        return between * second

    prepare(loss)(first, second).backward()
    assert first.grad is None
    assert second.grad.item() == 6.0


@BOTH
@pytest.mark.parametrize("case", ["no gradient", "second time"])
def test_the_two_errors_of_backward(prepare: Any, case: str) -> None:
    x = torch.tensor([0.5, 0.25], requires_grad=case == "second time")
    weights = torch.tensor([100, 0.1])

    def step(x: Any) -> None:
        y = x * 3
        y.backward(weights)
        y.backward(weights)

    with pytest.raises(RuntimeError) as caught:
        prepare(step)(x)
    assert str(caught.value).splitlines()[0] == LINES[case]


# -- memory -----------------------------------------------------------------------------------------------------------
@BOTH
def test_a_view_shares_memory_and_a_reshaped_transpose_does_not(prepare: Any) -> None:
    def fill(a: Any) -> Any:
        b, c = a.view(2, 3), a.t().reshape(6)
        a.fill_(1)
        return b, c

    a = torch.zeros(3, 2)
    b, c = prepare(fill)(a)
    assert a.tolist() == [[1.0, 1.0]] * 3
    assert b.tolist() == [[1.0] * 3] * 2
    assert c.tolist() == [0.0] * 6


def test_products_of_matrices_vectors_and_batches() -> None:
    left, right = torch.FloatTensor(np.arange(10).reshape(2, 5)), torch.FloatTensor(np.arange(10).reshape(5, 2))
    assert left.mm(right).tolist() == [[60.0, 70.0], [160.0, 195.0]]
    with pytest.raises(RuntimeError, match="1D tensors expected"):
        left.dot(right)
    a, b = torch.rand(10), torch.rand(10)
    assert abs(a.dot(b).item() - float((a.numpy() * b.numpy()).sum())) < 1e-5
    with pytest.raises(RuntimeError, match="self must be a matrix"):
        a.mm(b)
    batch, vector = torch.rand(5, 2, 3), torch.rand(3)
    rows = [batch[i].mm(torch.unsqueeze(vector, 1)).squeeze(1).tolist() for i in range(5)]
    np.testing.assert_allclose(batch.matmul(vector).numpy(), rows, rtol=1e-6)
    with pytest.raises(RuntimeError):
        batch.mm(vector)


def test_arithmetic_by_name() -> None:
    first = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    second = torch.tensor([[[9.0, 10.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    for name, expected in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide)):
        found = getattr(torch, name)(first, second)
        np.testing.assert_array_equal(found.numpy(), expected(first.numpy(), second.numpy()))
    np.testing.assert_allclose(torch.matmul(first, second).numpy(), first.numpy() @ second.numpy())


def test_arrays_become_tensors() -> None:
    data = [[1, 2], [3, 4]]
    assert torch.tensor(data).tolist() == data
    assert torch.from_numpy(np.array(data)).tolist() == data
    array = np.arange(10).reshape(2, 5)
    tensor = torch.FloatTensor(array)
    assert (tensor.ndim, tensor.shape) == (2, torch.Size([2, 5]))
    assert repr(tensor) == "tensor([[0., 1., 2., 3., 4.],\n        [5., 6., 7., 8., 9.]])"
    assert torch.tensor(data).device == torch.device("cpu")
    assert not torch.cuda.is_available()


def test_softmax_classes_and_one_hot() -> None:
    found = F.softmax(torch.FloatTensor([0.5, 0.7, 0.1]), dim=0)
    np.testing.assert_allclose(found.numpy(), [0.3458, 0.4224, 0.2831 - 0.0513], atol=6e-5)
    drawn = torch.randint(5, (10, 5))
    assert drawn.argmax(dim=0).shape == (5,) and drawn.argmax(dim=1).shape == (10,)
    label = torch.tensor([1, 3, 0, 2])
    assert F.one_hot(label).tolist() == np.eye(4, dtype=int)[[1, 3, 0, 2]].tolist()


# -- networks ---------------------------------------------------------------------------------------------------------
@BOTH
def test_a_recurrent_cell(prepare: Any) -> None:
    torch.manual_seed(0)
    w_h, w_x = torch.randn(20, 20, requires_grad=True), torch.randn(20, 10, requires_grad=True)
    x, h = torch.randn(1, 10), torch.randn(1, 20)

    def cell(w_h: Any, w_x: Any) -> Any:
        return (torch.mm(w_h, h.t()) + torch.mm(w_x, x.t())).tanh().sum()

    prepare(cell)(w_h, w_x).backward()
    slope = 1 - np.tanh(w_h.detach().numpy() @ h.numpy().T + w_x.detach().numpy() @ x.numpy().T) ** 2
    np.testing.assert_allclose(w_h.grad.numpy(), slope @ h.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(w_x.grad.numpy(), slope @ x.numpy(), rtol=1e-4, atol=1e-6)


@BOTH
def test_one_layer_with_logits(prepare: Any) -> None:
    x, y = torch.ones(5), torch.zeros(3)
    torch.manual_seed(1)
    w, b = torch.randn(5, 3, requires_grad=True), torch.randn(3, requires_grad=True)

    def loss(w: Any, b: Any) -> Any:
        return F.binary_cross_entropy_with_logits(torch.matmul(x, w) + b, y)

    prepare(loss)(w, b).backward()
    expected = 1 / (1 + np.exp(-(w.detach().numpy().sum(0) + b.detach().numpy()))) / 3
    np.testing.assert_allclose(b.grad.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(w.grad.numpy(), np.broadcast_to(expected, (5, 3)), rtol=1e-5)
    z = torch.matmul(x, w) + b
    with torch.no_grad():
        silent = torch.matmul(x, w) + b
    assert (z.requires_grad, silent.requires_grad) == (True, False)


def test_two_layers_for_five_hundred_steps() -> None:
    rate, losses = 1e-6, {}
    for name, prepare in (("eager", lambda f: f), ("compiled", lambda f: torch.compile(f, strict=True))):
        torch.manual_seed(2)
        x, y = torch.randn(16, 40), torch.randn(16, 4)
        w1, w2 = torch.randn(40, 20, requires_grad=True), torch.randn(20, 4, requires_grad=True)

        def step() -> Any:
            loss = (x.mm(w1).clamp(min=0).mm(w2) - y).pow(2).sum()  # noqa: B023
            loss.backward()
            with torch.no_grad():
                for w in (w1, w2):  # noqa: B023
                    w -= rate * w.grad
                    w.grad.zero_()
            return loss

        run = prepare(step)
        losses[name] = [run().item() for _ in range(500)]
    assert losses["eager"] == losses["compiled"]
    assert losses["eager"][-1] < 0.5 * losses["eager"][0]


class ThreeLayers(nn.Module):
    """Two convolutions with pooling, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool1 = nn.Conv2d(1, 10, 5), nn.MaxPool2d(2, 2)
        self.conv2, self.pool2 = nn.Conv2d(10, 20, 5), nn.MaxPool2d(2, 2)
        self.fc, self.out = nn.Linear(320, 50), nn.Linear(50, 10)

    def forward(self, input: Any) -> Any:
        x = self.pool1(F.relu(self.conv1(input)))
        x = self.pool2(F.relu(self.conv2(x)))
        x = F.relu(self.fc(x.view(x.size(0), -1)))
        return F.relu(self.out(x))


def test_hooks_of_layers_print_and_go(capsys: pytest.CaptureFixture[str]) -> None:
    def forward(self: Any, input: Any, output: Any) -> None:
        print("Inside", type(self).__name__, type(input), input[0].shape, output.shape)

    def before(self: Any, input: Any) -> None:
        print("Before", type(self).__name__, input[0].shape)

    def backward(self: Any, grad_input: Any, grad_output: Any) -> None:
        print(len(grad_input), grad_input[1].shape, grad_input[2].shape, len(grad_output), grad_output[0].shape)

    net = ThreeLayers()
    handles = [layer.register_forward_hook(forward) for layer in (net.conv1, net.conv2)]
    handles.append(net.conv1.register_forward_pre_hook(before))
    image = torch.randn(1, 1, 28, 28)
    net(image)
    assert capsys.readouterr().out.splitlines() == [
        "Before Conv2d torch.Size([1, 1, 28, 28])",
        "Inside Conv2d <class 'tuple'> torch.Size([1, 1, 28, 28]) torch.Size([1, 10, 24, 24])",
        "Inside Conv2d <class 'tuple'> torch.Size([1, 10, 12, 12]) torch.Size([1, 20, 8, 8])",
    ]
    for handle in handles:
        handle.remove()
    net.conv1.register_backward_hook(backward)
    with pytest.warns(FutureWarning, match="Using a non-full backward hook"):
        out = net(image)
    nn.CrossEntropyLoss()(out, torch.tensor([3], dtype=torch.long)).backward()
    assert capsys.readouterr().out == "3 torch.Size([10, 1, 5, 5]) torch.Size([10]) 1 torch.Size([1, 10, 24, 24])\n"


def test_activations_are_kept_by_a_hook() -> None:
    net, kept = ThreeLayers(), []

    def keep(module: Any, input: Any, output: Any) -> Any:
        kept.append(output)
        return output

    for name, module in net.named_modules():
        if name == "conv2":
            module.register_forward_hook(keep)
    image = torch.randn(1, 28, 28).unsqueeze(0)
    assert net(image)[0].shape == (10,)
    assert [tuple(t.shape) for t in kept] == [(1, 20, 8, 8)]


@BOTH
def test_a_hook_on_a_tensor_sees_and_changes_its_gradient(prepare: Any) -> None:
    seen: list[Any] = []

    def step(x: Any) -> None:
        y = x * 2
        y.register_hook(lambda grad: seen.append(tuple(grad.shape)))
        y.register_hook(lambda grad: grad * 10)
        (y * y).sum().backward()

    x = leaf(1.0, 2.0)
    prepare(step)(x)
    assert x.grad.tolist() == [80.0, 160.0]
    assert seen == [(2,)]


def test_compiled_one_hot_of_classes_beyond_32_bits() -> None:
    """Of a class outside no element is 1, also where its last 32 bits are those of a class."""
    classes = torch.tensor([1, -1, 3, 2**32 + 1, -(2**32), 2])
    found = torch.compile(lambda classes: F.one_hot(classes, 3))(classes)
    assert found.dtype is torch.int64
    assert found.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
