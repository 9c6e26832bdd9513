"""Modules: what they register, save, load, print and convert."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import nn
from adjit.epoch import EPOCH
from adjit.nn import functional


class SimpleNet(nn.Module):
    """Two convolutions, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.pool1 = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.pool2 = nn.MaxPool2d(2, 2)
        self.fc = nn.Linear(320, 50)
        self.out = nn.Linear(50, 10)

    def forward(self, input: Any) -> Any:
        """Scores of ten classes."""
        x = self.pool1(functional.relu(self.conv1(input)))
        x = self.pool2(functional.relu(self.conv2(x)))
        x = x.view(x.size(0), -1)
        return functional.relu(self.out(functional.relu(self.fc(x))))


TEXT = """SimpleNet(
  (conv1): Conv2d(1, 10, kernel_size=(5, 5), stride=(1, 1))
  (pool1): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
  (conv2): Conv2d(10, 20, kernel_size=(5, 5), stride=(1, 1))
  (pool2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
  (fc): Linear(in_features=320, out_features=50, bias=True)
  (out): Linear(in_features=50, out_features=10, bias=True)
)"""

# As PyTorch 2.13 prints them.
REPRS: list[tuple[Callable[[], nn.Module], str]] = [
    (
        lambda: nn.Conv2d(4, 8, 3, 2, 1, 1, 2, False, "reflect"),
        "Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), groups=2, bias=False, "
        "padding_mode=reflect)",
    ),
    (
        lambda: nn.BatchNorm2d(4),
        "BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)",
    ),
    (lambda: nn.LayerNorm(4), "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (lambda: nn.Embedding(10, 3, 1), "Embedding(10, 3, padding_idx=1)"),
    (lambda: nn.ReLU(inplace=True), "ReLU(inplace=True)"),
    (lambda: nn.GELU(), "GELU(approximate='none')"),
    (lambda: nn.Dropout(), "Dropout(p=0.5, inplace=False)"),
    (lambda: nn.CrossEntropyLoss(), "CrossEntropyLoss()"),
    (lambda: nn.AvgPool1d(3), "AvgPool1d(kernel_size=(3,), stride=(3,), padding=(0,))"),
    (
        lambda: nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()]),
        "ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n  (2): ReLU()\n)",
    ),
    (lambda: nn.Sequential(), "Sequential()"),
]


def test_simple_net_prints_as_in_pytorch() -> None:
    assert repr(SimpleNet()) == TEXT


@pytest.mark.parametrize(("make", "text"), REPRS, ids=lambda item: item if isinstance(item, str) else "")
def test_layers_print_as_in_pytorch(make: Callable[[], nn.Module], text: str) -> None:
    assert repr(make()) == text


def test_parameter_prints_its_tensor() -> None:
    assert repr(nn.Parameter(torch.tensor([1.0, 2.0]))) == (
        "Parameter containing:\ntensor([1., 2.], requires_grad=True)"
    )


# -- registering -------------------------------------------------------------------------------------------------------
def test_names_in_order_of_registration() -> None:
    net = SimpleNet()
    assert [name for name, _ in net.named_parameters()] == [
        f"{layer}.{name}" for layer in ("conv1", "conv2", "fc", "out") for name in ("weight", "bias")
    ]
    assert [name for name, _ in net.named_modules()] == ["", "conv1", "pool1", "conv2", "pool2", "fc", "out"]
    assert [name for name, _ in net.named_children()] == ["conv1", "pool1", "conv2", "pool2", "fc", "out"]
    norm = nn.BatchNorm1d(3)
    assert [name for name, _ in norm.named_buffers()] == ["running_mean", "running_var", "num_batches_tracked"]
    assert sum(p.numel() for p in net.parameters()) == 21840


def test_a_shared_parameter_is_listed_once() -> None:
    layer = nn.Linear(2, 2)
    pair = nn.Sequential(layer, layer)
    assert len(list(pair.parameters())) == 2
    assert len(list(pair.modules())) == 2
    assert len(list(pair.named_parameters(remove_duplicate=False))) == 2


def _break(action: Callable[[nn.Module], Any]) -> Callable[[], Any]:
    def run() -> Any:
        net = nn.Sequential(OrderedDict(fc=nn.Linear(2, 2)))
        net.register_buffer("b", torch.zeros(1))
        return action(net)

    return run


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        _break(lambda net: setattr(net.fc, "weight", torch.zeros(1))),
        TypeError,
        "cannot assign 'torch.FloatTensor' as parameter 'weight' (torch.nn.Parameter or None expected)",
    ),
    (
        _break(lambda net: setattr(net, "fc", 3)),
        TypeError,
        "cannot assign 'int' as child module 'fc' (torch.nn.Module or None expected)",
    ),
    (
        _break(lambda net: setattr(net, "b", 3)),
        TypeError,
        "cannot assign 'int' as buffer 'b' (torch.nn.Buffer, torch.Tensor or None expected)",
    ),
    (_break(lambda net: net.missing), AttributeError, "'Sequential' object has no attribute 'missing'"),
    (
        _break(lambda net: net.register_parameter("a.b", None)),
        KeyError,
        repr("parameter name can't contain \".\""),
    ),
    (_break(lambda net: net.register_buffer("fc", None)), KeyError, '"attribute \'fc\' already exists"'),
    (
        _break(lambda net: net.register_buffer("q", 3)),  # type: ignore[arg-type]
        TypeError,
        "cannot assign 'int' object to buffer 'q' (torch Tensor or None required)",
    ),
    (_break(lambda net: net.add_module("q", 3)), TypeError, "int is not a Module subclass"),  # type: ignore[arg-type]
    (
        _break(lambda net: net.to(torch.int64)),
        TypeError,
        "nn.Module.to only accepts floating point or complex dtypes, but got desired dtype=torch.int64",
    ),
    (_break(lambda net: net.train(3)), ValueError, "training mode is expected to be boolean"),  # type: ignore[arg-type]
    (_break(lambda net: net.get_submodule("fc.x")), AttributeError, "Linear has no attribute `x`"),
]


@pytest.mark.parametrize(("action", "kind", "text"), ERRORS, ids=lambda item: item if isinstance(item, str) else "")
def test_errors_read_as_in_pytorch(action: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        action()
    assert str(caught.value).split("\n")[0] == text


def test_assignment_before_init() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"cannot assign module before Module\.__init__\(\) call"):
        Early()


def test_what_a_trace_reads_announces_its_changes() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    actions: list[Callable[[], Any]] = [
        lambda: setattr(net, "factor", 2),
        lambda: net.register_buffer("b", torch.zeros(1)),
        lambda: net.add_module("more", nn.ReLU()),
        lambda: delattr(net, "more"),
        lambda: net.eval(),
        lambda: net[0].requires_grad_(False),
        lambda: net.register_forward_hook(lambda *args: None),
        lambda: net.append(nn.ReLU()),
    ]
    for action in actions:
        before = EPOCH.count
        action()
        assert EPOCH.count > before


# -- saving, loading, copying ------------------------------------------------------------------------------------------
def test_state_dict_round_trip() -> None:
    one, other = SimpleNet(), SimpleNet()
    state = one.state_dict()
    assert list(state) == [name for name, _ in one.named_parameters()]
    assert not any(tensor.requires_grad for tensor in state.values())
    identities = [id(p) for p in other.parameters()]
    assert repr(other.load_state_dict(state)) == "<All keys matched successfully>"
    assert [id(p) for p in other.parameters()] == identities
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    state["fc.bias"].fill_(7.0)  # a state shares the module's memory
    assert float(one.fc.bias[0]) == 7.0 and float(other.fc.bias[0]) != 7.0


def test_strict_loading_lists_every_problem() -> None:
    net = SimpleNet()
    state = net.state_dict()
    del state["conv1.weight"]
    state["foo"] = torch.zeros(1)
    state["fc.bias"] = torch.zeros(3)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value).partition("\n  in ")[0] == (
        "Error(s) in loading state_dict for SimpleNet:\n"
        '\tMissing key(s) in state_dict: "conv1.weight". \n'
        '\tUnexpected key(s) in state_dict: "foo". \n'
        "\tsize mismatch for fc.bias: copying a param with shape torch.Size([3]) from checkpoint, the shape in current "
        "model is torch.Size([50])."
    )
    state["fc.bias"] = torch.zeros(50)
    found = net.load_state_dict(state, strict=False)
    assert repr(found) == "_IncompatibleKeys(missing_keys=['conv1.weight'], unexpected_keys=['foo'])"


def test_buffers_that_do_not_persist_stay_out() -> None:
    module = nn.Module()
    module.register_buffer("kept", torch.zeros(1))
    module.register_buffer("dropped", torch.zeros(1), persistent=False)
    assert list(module.state_dict()) == ["kept"]


def test_copies_are_independent() -> None:
    net = nn.Linear(2, 2)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other.weight, net.weight) and other.weight is not net.weight
        assert isinstance(other.weight, nn.Parameter) and other.weight.requires_grad
        with torch.no_grad():
            other.weight.add_(1.0)
        assert not torch.equal(other.weight, net.weight)


# -- conversion, modes -------------------------------------------------------------------------------------------------
def test_conversion_keeps_the_parameters() -> None:
    net = nn.BatchNorm1d(3)
    weight = net.weight
    assert net.double() is net
    assert net.weight is weight and weight.dtype is torch.float64 and weight.requires_grad
    assert net.running_mean.dtype is torch.float64 and net.num_batches_tracked.dtype is torch.int64
    assert net.to(torch.float32).weight.dtype is torch.float32
    assert net(torch.randn(4, 3)).dtype is torch.float32


def test_modes_reach_everything_inside() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    assert not any(module.training for module in net.eval().modules())
    assert all(module.training for module in net.train().modules())
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())
    seen: list[str] = []
    net.apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Dropout", "BatchNorm1d", "Sequential", "Sequential"]


def test_zero_grad() -> None:
    net = nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.weight.grad is not None and not net.weight.grad.any()
    net.zero_grad()
    assert net.weight.grad is None


# -- containers --------------------------------------------------------------------------------------------------------
def test_sequential_is_a_sequence() -> None:
    a, b, c = nn.Linear(1, 1), nn.ReLU(), nn.Tanh()
    net = nn.Sequential(a, b)
    net.append(c)
    assert list(net) == [a, b, c] and net[-1] is c and list(net[1:]) == [b, c]
    net.insert(1, c)
    del net[0]
    assert list(net) == [c, b, c] and len(net) == 3
    assert list(net + nn.Sequential(a)) == [c, b, c, a]
    assert list(net._modules) == ["0", "1", "2"]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        net[9]


def test_dictionaries_and_lists_of_parameters() -> None:
    modules = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    assert list(modules) == ["a", "b"] and "a" in modules
    parameters = nn.ParameterList([torch.zeros(2, 3)])
    assert isinstance(parameters[0], nn.Parameter) and len(list(parameters.parameters())) == 1
    assert repr(parameters) == "ParameterList(  (0): Parameter containing: [torch.float32 of size 2x3])"
    named = nn.ParameterDict({"w": torch.zeros(1)})
    assert [name for name, _ in named.named_parameters()] == ["w"]


def test_parameter_lists_keep_what_is_no_tensor() -> None:
    held = nn.ParameterList([torch.zeros(2), 3, "a"])
    held += [torch.ones(1)]
    assert [type(item) for item in held] == [nn.Parameter, int, str, nn.Parameter] and held[-1] is held[3]
    assert list(held.state_dict()) == ["0", "3"] and len(held[1:]) == 3
    assert "  (1): Object of type: int\n" in repr(held)
    for values, kind in ((3, "int"), ("ab", "str"), (torch.ones(2), "Tensor")):
        with pytest.raises(TypeError, match=f"called with an iterable, but got {kind}"):
            held.extend(values)


def test_states_without_a_version_need_no_count_of_batches() -> None:
    norm = nn.BatchNorm1d(2)
    state = {name: torch.ones(2) for name in ("weight", "bias", "running_mean", "running_var")}
    assert str(norm.load_state_dict(state)) == "<All keys matched successfully>"
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 0
    saved = norm.state_dict()  # which says its version
    del saved["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        norm.load_state_dict(saved)


def test_parameters_of_integers_have_pytorchs_words() -> None:
    with pytest.raises(RuntimeError, match=r"Only Tensors of floating point and complex dtype can require gradients"):
        nn.Parameter(torch.tensor([1]))
    assert nn.Parameter(torch.tensor([1]), requires_grad=False).tolist() == [1]


def test_memory_formats_are_for_parameters_with_as_many_axes() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Linear(2, 2))
    x = torch.ones(1, 3, 3, 3, dtype=torch.float64)
    wanted = net.double()(x)
    assert net.float().to(torch.float64, memory_format=torch.channels_last) is net
    assert [parameter.stride() for parameter in net.parameters()] == [(12, 1, 6, 3), (1,), (1,), (1,), (2, 1), (1,)]
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), wanted, rtol=1e-6, atol=1e-6)
    with pytest.raises(RuntimeError, match="required rank 5 tensor to use channels_last_3d format"):
        net.to(memory_format=torch.channels_last_3d)


def test_dictionaries_of_modules_take_modules_in_every_form() -> None:
    layers = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1)})
    layers.update(torch.nn.ModuleDict([("b", torch.nn.Linear(1, 1))]))
    layers.update({"c": torch.nn.Linear(1, 1)}.items())
    assert list(layers) == ["a", "b", "c"]
    for given, error, text in (
        (1, TypeError, "iterable of key/value pairs, but got int"),
        ([("a",)], ValueError, "element #0 has length 1; 2 is required"),
        ([3], TypeError, "element #0 should be Iterable; isint"),
    ):
        with pytest.raises(error, match=text):
            layers.update(given)


def test_lazy_modules_and_handles_are_pickled() -> None:
    made = pickle.loads(pickle.dumps(torch.nn.LazyLinear(3)))
    assert made(torch.ones(2, 4)).shape == (2, 3) and type(made) is torch.nn.Linear
    layer = torch.nn.Linear(1, 1)
    handle = layer.register_forward_pre_hook(_said)
    copy, of_copy = pickle.loads(pickle.dumps((layer, handle)))
    with pytest.raises(KeyError, match="called"):
        copy(torch.ones(1))
    of_copy.remove()
    assert copy(torch.ones(1)).shape == (1,) and len(layer._forward_pre_hooks) == 1


def _said(module: torch.nn.Module, args: object) -> None:
    raise KeyError("called")
