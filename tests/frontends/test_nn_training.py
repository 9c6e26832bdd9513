"""Training small networks: shapes, gradients, and compiled steps that equal eager ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
import adjit.nn.functional as functional
from adjit import nn, optim
from tests.frontends.test_nn_module import SimpleNet


def test_simple_net_forward_and_backward() -> None:
    net = SimpleNet()
    out = net(torch.randn(2, 1, 28, 28))
    assert list(out.shape) == [2, 10]
    functional.cross_entropy(out, torch.tensor([3, 7])).backward()
    for parameter in net.parameters():
        assert parameter.grad is not None and parameter.grad.shape == parameter.shape


def test_simple_net_gradients_are_differences() -> None:
    torch.manual_seed(2)
    net = SimpleNet().double()
    x, target = torch.randn(1, 1, 28, 28, dtype=torch.float64), torch.tensor([3])

    def loss() -> Any:
        scores = net.fc(net.pool2(functional.relu(net.conv2(net.pool1(functional.relu(net.conv1(x)))))).flatten(1))
        return functional.cross_entropy(net.out(functional.relu(scores)), target)

    loss().backward()
    rng = np.random.default_rng(0)
    for name, parameter in net.named_parameters():
        values = parameter.detach().numpy()
        direction = rng.standard_normal(values.shape)
        kept, ends = values.copy(), []
        for sign in (1, -1):
            values[...] = kept + sign * 1e-6 * direction
            with torch.no_grad():
                ends.append(float(loss()))
        values[...] = kept
        slope = float((parameter.grad.numpy() * direction).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-8), name


class Attention(nn.Module):
    """One block of causal attention over eight places."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 24)
        self.outer = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        """Scores of five classes."""
        query, key, value = self.inner(x.view(x.size(0), 8, 8)).chunk(3, -1)
        return self.outer(functional.scaled_dot_product_attention(query, key, value, is_causal=True).mean(1))


NETS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d((2, 2)),
        nn.Flatten(), nn.Linear(16, 5),
    ),
    "layers": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.LayerNorm(8), nn.GELU(), nn.BatchNorm1d(8), nn.Linear(8, 5)
    ),
    "groups": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.SiLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(4, 5),
    ),
    "attention": Attention,
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_compiled_training_equals_eager_training(name: str) -> None:
    torch.manual_seed(0)
    one, other = NETS[name](), NETS[name]()
    other.load_state_dict(one.state_dict())

    def new_step(net: nn.Module) -> Callable[..., Any]:
        # Not Adam: it makes steps of full size of gradients that are nothing but rounding.
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            return loss

        return step

    eager, compiled = new_step(one), torch.compile(new_step(other))
    rng = np.random.default_rng(0)
    for count in (6, 6, 4, 9, 5, 6):  # the sizes of batches change
        x = torch.tensor(rng.standard_normal((count, 1, 8, 8)).astype(np.float32))
        y = torch.tensor(rng.integers(0, 5, count))
        assert float(eager(x, y)) == pytest.approx(float(compiled(x, y)), rel=1e-4)
    assert compiled.compile_count == 2  # a size that has changed once stays open
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-5)


def test_a_compiled_module_follows_its_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    compiled, x = torch.compile(net), torch.ones(3, 4)
    torch.manual_seed(0)
    assert (compiled(x) == 0).any()
    net.eval()
    np.testing.assert_allclose(compiled(x).detach().numpy(), net(x).detach().numpy(), rtol=1e-6)
    net.train()
    assert (compiled(x) == 0).any()


def test_a_class_outside_is_an_error_in_compiled_code_too() -> None:
    compiled = torch.compile(functional.cross_entropy)
    with pytest.raises(IndexError):
        compiled(torch.zeros(2, 5), torch.tensor([1, 10]))


def test_a_small_net_learns() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    optimizer = optim.Adam(net.parameters(), lr=0.05)

    @torch.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [float(step(x, y)) for _ in range(150)]
    assert losses[-1] < 0.1 < 0.5 < losses[0]
    assert float((net(x).argmax(1) == y).float().mean()) > 0.95


def test_cumulative_moments_of_float64_are_not_rounded() -> None:
    layer = nn.BatchNorm1d(1, momentum=None, dtype=torch.float64)
    for mean in (0.1, 0.2, 0.6):
        layer(torch.tensor([[mean - 1.0], [mean + 1.0]], dtype=torch.float64))
    assert layer.running_mean.item() == pytest.approx(0.3, rel=1e-14)


def test_empty_batches_add_nothing_to_gradients() -> None:
    layer = nn.BatchNorm1d(2)
    x = torch.zeros(0, 2, requires_grad=True)
    for net in (layer, torch.compile(layer)):
        layer.zero_grad()
        net(x).sum().backward()
        assert layer.weight.grad.tolist() == [0.0, 0.0] and layer.bias.grad.tolist() == [0.0, 0.0]
        assert layer.running_var.tolist() == [1.0, 1.0]


def test_instance_normalisation_looks_at_the_number_of_channels() -> None:
    x = torch.randn(2, 3, 4)
    with pytest.raises(ValueError, match=r"^expected input's size at dim=1 to match num_features \(2\), but got: 3"):
        nn.InstanceNorm1d(2, affine=True)(x)
    with pytest.warns(UserWarning, match="^input's size at dim=0 does not match num_features"):
        assert nn.InstanceNorm1d(2)(x[0]).shape == (3, 4)
