"""Names that PyTorch programs ask for beside tensors and layers: `torch.compiler`, `torch.jit`, `_foreach_*`."""

from __future__ import annotations

from collections import namedtuple
from importlib import import_module
from typing import Any

import pytest

import adjit as torch
from adjit import nn

F = nn.functional


def test_the_compiler_is_asked_and_told() -> None:
    from adjit.compiler import disable

    def which(x: Any) -> Any:
        return x * 2 if torch.compiler.is_compiling() else x * 3

    x = torch.ones(2)
    assert which(x).tolist() == [3.0, 3.0] and torch.compile(which)(x).tolist() == [2.0, 2.0]
    mapped = torch.compile(torch.vmap(which))
    assert mapped(x).tolist() == [2.0, 2.0] and torch.vmap(which)(x).tolist() == [3.0, 3.0]

    @torch.compiler.disable(recursive=False)
    def plain(x: Any) -> Any:
        return which(x)

    assert torch.compile(plain) is plain
    assert torch.compile(disable(nn.Linear(2, 2))).__class__ is nn.Linear
    assert torch.compile(lambda x: plain(x) + 1)(x).tolist() == [3.0, 3.0]  # part of the whole program
    torch.compiler.reset()
    with pytest.raises(AttributeError, match=r"module 'adjit.compiler' has no attribute 'nothing'"):
        _ = torch.compiler.nothing


def test_torchscript_stays_python() -> None:
    @torch.jit.script
    def gelu(x: torch.Tensor) -> torch.Tensor:
        return x * 0.5 * (1.0 + torch.erf(x / 1.41421))

    @torch.jit.ignore(drop=True)
    def ignored() -> int:
        return 1

    net = nn.Linear(2, 2)
    x = torch.ones(3, 2)
    assert torch.jit.trace(net, x) is net and torch.jit.script(net) is net
    assert torch.equal(torch.compile(gelu)(x), gelu(x)) or torch.allclose(torch.compile(gelu)(x), gelu(x))
    assert ignored() == 1 and not torch.jit.is_scripting() and torch.jit.annotate(list[int], [1]) == [1]
    assert torch.jit.isinstance([1], list[int]) and not isinstance(net, torch.jit.ScriptModule)


def test_lists_of_tensors() -> None:
    tensors = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
    others = [torch.tensor([2.0, 2.0]), torch.tensor([[4.0]])]
    assert [t.tolist() for t in torch._foreach_add(tensors, others, alpha=2)] == [[5.0, 2.0], [[11.0]]]
    assert [t.tolist() for t in torch._foreach_mul(tensors, [2, 3])] == [[2.0, -4.0], [[9.0]]]
    assert [t.item() for t in torch._foreach_norm([torch.tensor([3.0, 4.0])])] == [5.0]
    assert [t.tolist() for t in torch._foreach_maximum(tensors, 0.5)] == [[1.0, 0.5], [[3.0]]]
    assert [t.tolist() for t in torch._foreach_addcmul(tensors, others, others, 0.5)] == [[3.0, 0.0], [[11.0]]]
    assert torch._foreach_lerp_(tensors, others, 0.5) is tensors and tensors[0].tolist() == [1.5, 0.0]
    torch._foreach_copy_(tensors, others)
    torch._foreach_zero_(others)
    assert tensors[0].tolist() == [2.0, 2.0] and others[1].item() == 0.0
    with pytest.raises(RuntimeError, match="Tensor lists must have the same number of tensors, got 2 and 1"):
        torch._foreach_add(tensors, tensors[:1])
    with pytest.raises(RuntimeError, match="Tensor list must have same number of elements as scalar list"):
        torch._foreach_add(tensors, [1])

    @torch.compile
    def average(means: list[Any], values: list[Any]) -> None:
        torch._foreach_mul_(means, 0.5)
        torch._foreach_add_(means, values, alpha=0.5)

    average(tensors, others)
    assert tensors[0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("compiled", [False, True])
def test_fake_quantization(compiled: bool) -> None:
    """The figures are PyTorch's."""
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([nan, inf, 1e30, -0.25, 0.15, 0.05], requires_grad=True)

    def quantized(x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7)

    found = (torch.compile(quantized) if compiled else quantized)(x)
    assert torch.allclose(found, torch.tensor([-0.8, 0.7, 0.7, -0.2, 0.2, 0.0]))
    found.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    shifted = torch.fake_quantize_per_tensor_affine(x, torch.tensor(0.1), torch.tensor(2), 0, 15)
    assert torch.allclose(shifted, torch.tensor([-0.2, 1.3, 1.3, -0.2, 0.2, 0.0]))
    rows = torch.tensor([[0.26, 5.0], [0.26, 5.0]], dtype=torch.float64)
    zeros = torch.zeros(2, dtype=torch.int32)
    each = torch.fake_quantize_per_channel_affine(rows, torch.tensor([0.1, 0.2]), zeros, 0, -8, 7)
    assert each.dtype is torch.float64
    assert torch.allclose(each, torch.tensor([[0.3, 0.7], [0.2, 1.4]], dtype=torch.float64))
    for given, text in (((0.1, 20, -8, 7), "`zero_point` must be between"), ((0.1, 0, 8, 7), "less than or equal")):
        with pytest.raises(RuntimeError, match=text):
            torch.fake_quantize_per_tensor_affine(rows, *given)
    with pytest.raises(RuntimeError, match="Zero-point must be Int32, Float or Half, found Long"):
        torch.fake_quantize_per_channel_affine(rows, torch.ones(2), zeros.long(), 0, -8, 7)


def test_fake_quantization_adds_whole_zero_points_after_rounding() -> None:
    """The figures are PyTorch's."""
    x = torch.tensor([0.05, 0.15, 0.25, -0.05])
    found = torch.fake_quantize_per_tensor_affine(x, 0.1, 3, -8, 7)
    assert torch.allclose(found, torch.tensor([0.0, 0.2, 0.2, 0.0]))
    scales, zeros = torch.tensor([0.1]), torch.tensor([3], dtype=torch.int32)
    assert torch.equal(torch.fake_quantize_per_channel_affine(x[None], scales, zeros, 0, -8, 7)[0], found)
    floats = torch.fake_quantize_per_channel_affine(x[None], scales, zeros.float(), 0, -8, 7)[0]
    assert torch.allclose(floats, torch.tensor([0.1, 0.1, 0.3, -0.1]))
    with pytest.raises(RuntimeError, match="`axis` must be between 0"):
        torch.fake_quantize_per_channel_affine(x[None], torch.ones(4), torch.zeros(4), -1, -8, 7)
    with pytest.raises(IndexError, match="Dimension out of range"):
        torch.fake_quantize_per_channel_affine(x[None], scales, zeros, 2, -8, 7)


def test_lists_of_no_tensors_are_refused() -> None:
    for call in (torch._foreach_sqrt, torch._foreach_norm, torch._foreach_zero_):
        with pytest.raises(RuntimeError, match="Tensor list must have at least one tensor"):
            call([])


def test_types_with_parameters_are_asked_for() -> None:
    asked = torch.jit.isinstance
    assert asked(None, int | None) and asked(3, int | None) and not asked("a", int | None)
    assert asked([1], list[int]) and not asked(["a"], list[int]) and asked([], list[int])
    assert asked({1: "a"}, dict[int, str]) and not asked({1: 2}, dict[int, str])
    assert asked((1, "a"), tuple[int, str]) and not asked((1,), tuple[int, str]) and asked(3, (int, float))


def test_trees() -> None:
    from adjit.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_map_only, tree_unflatten

    tree = {"a": [1, (2, None)], "b": torch.ones(1)}
    leaves, structure = tree_flatten(tree)
    assert len(leaves) == 4 and tree_unflatten(leaves, structure)["a"] == [1, (2, None)]
    assert tree_map(lambda x, y: (x, y), [1, 2], [3, 4]) == [(1, 3), (2, 4)]
    assert tree_leaves(tree_map_only(int, lambda x: x * 10, [1, "x", (2,)])) == [10, "x", 20]
    with pytest.raises(ValueError, match="Node structure mismatch"):
        tree_map(lambda x, y: x, [1], [1, 2])


def test_conditions() -> None:
    torch._check(True)
    torch._assert(torch.tensor(True), "fine")
    with pytest.raises(RuntimeError, match="a message"):
        torch._check(False, lambda: "a message")
    with pytest.raises(AssertionError, match="a message"):
        torch._assert(torch.tensor(False), "a message")
    with torch.inference_mode():
        assert torch.is_inference(torch.ones(1)) == torch.ones(1).is_inference()


ADDRESSES = (
    "nn.modules.activation:MultiheadAttention", "nn.modules.normalization:LayerNorm", "nn.modules.pooling:MaxPool2d",
    "nn.modules.sparse:Embedding", "nn.modules.dropout:Dropout", "nn.modules.flatten:Flatten",
    "nn.modules.padding:ZeroPad2d", "nn.modules.upsampling:Upsample", "nn.modules.distance:CosineSimilarity",
    "nn.modules.conv:_ConvNd", "nn.modules.conv:LazyConv2d", "nn.modules.loss:HingeEmbeddingLoss",
    "nn.modules.rnn:LSTMCell", "nn.modules.adaptive:AdaptiveLogSoftmaxWithLoss", "nn.modules.fold:Unfold",
    "nn.modules.pixelshuffle:PixelShuffle", "nn.common_types:_size_2_t",
    "utils.data.dataloader:default_collate", "optim.lr_scheduler:_LRScheduler", "nn.attention:SDPBackend",
    "distributed:is_available", "jit:ScriptModule", "compiler:is_compiling",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_second_addresses(address: str) -> None:
    module, _, name = address.partition(":")
    found = getattr(import_module(f"adjit.{module}"), name)
    assert not hasattr(nn, name) or found is getattr(nn, name)


def test_a_scheduler_by_the_base_s_earlier_name() -> None:
    from adjit.optim.lr_scheduler import LRScheduler, _LRScheduler

    class Warm(_LRScheduler):
        def get_lr(self) -> list[float]:
            return [base * min(1.0, (self.last_epoch + 1) / 4) for base in self.base_lrs]

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    schedule = Warm(optimizer)
    optimizer.step()
    schedule.step()
    assert isinstance(schedule, LRScheduler) and optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


def test_the_kernel_of_attention_is_chosen() -> None:
    from adjit.nn.attention import SDPBackend, sdpa_kernel

    q = torch.ones(1, 2, 3)
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert F.scaled_dot_product_attention(q, q, q).shape == (1, 2, 3)
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"), sdpa_kernel("math"):  # type: ignore[arg-type]
        pass
    assert not torch.distributed.is_available() and not torch.distributed.is_initialized()


def test_ways_to_the_leaves_of_a_tree() -> None:
    from adjit.utils import _pytree as pytree

    pair = namedtuple("pair", "u v")
    tree = {"a": [1, (2, 3)], "b": pair(None, [4])}
    ways = [(pytree.keystr(way), leaf) for way, leaf in pytree.tree_leaves_with_path(tree)]
    assert ways == [("['a'][0]", 1), ("['a'][1][0]", 2), ("['a'][1][1]", 3), ("['b'].u", None), ("['b'].v[0]", 4)]
    assert [pytree.key_get(tree, way) for way, _ in pytree.tree_leaves_with_path(tree)] == [1, 2, 3, None, 4]
    named = pytree.tree_map_with_path(lambda way, one, other: f"{pytree.keystr(way)} {one} {other}", [1, 2], [3, 4])
    assert named == ["[0] 1 3", "[1] 2 4"]
    assert pytree.tree_all_only(int, lambda leaf: leaf > 0, tree)
    assert not pytree.tree_any_only(int, lambda leaf: leaf > 4, tree)
    assert list(pytree.tree_iter(tree)) == [1, 2, 3, None, 4]
    assert pytree.tree_unflatten([1, 2], pytree.tree_structure([0, 0])) == [1, 2]


def test_classes_of_results_are_named_by_their_functions() -> None:
    x = torch.eye(2)
    results = {
        "max": torch.max(x, 0), "sort": torch.sort(x), "mode": torch.mode(x), "frexp": torch.frexp(x),
        "linalg_qr": torch.linalg.qr(x), "linalg_slogdet": torch.linalg.slogdet(x),
        "histogram": torch.histogram(x, 2),
    }  # fmt: skip
    for name, result in results.items():
        assert type(result) is getattr(torch.return_types, name)
    names = dir(torch.return_types)
    assert [getattr(torch.return_types, name).__name__ for name in names] == names
    with pytest.raises(AttributeError, match="no attribute 'sum'"):
        _ = torch.return_types.sum


def test_modules_by_the_names_that_programs_import() -> None:
    from adjit.amp.autocast_mode import autocast
    from adjit.amp.grad_scaler import GradScaler
    from adjit.types import Device, FileLike, Number, _size

    assert autocast is torch.autocast
    assert GradScaler is torch.amp.GradScaler
    assert isinstance(3, Number)
    assert Device
    assert FileLike
    assert _size
    assert not torch.is_anomaly_enabled()
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        assert torch.is_anomaly_enabled()
        assert not torch.is_anomaly_check_nan_enabled()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_of_convolutions_by_name(rank: int) -> None:
    from adjit.nn import grad

    torch.manual_seed(0)
    x = torch.randn(2, 4, *(5, 4, 6)[:rank], requires_grad=True)
    weight = torch.randn(6, 2, *(2, 3, 2)[:rank], requires_grad=True)
    options = {"stride": 2, "padding": 1, "groups": 2}
    y = getattr(torch.nn.functional, f"conv{rank}d")(x, weight, **options)
    cotangent = torch.randn_like(y)
    of_input, of_weight = torch.autograd.grad(y, [x, weight], cotangent, create_graph=True)
    found = getattr(grad, f"conv{rank}d_input")(x.shape, weight, cotangent, **options)
    torch.testing.assert_close(found, of_input)
    (further,) = torch.autograd.grad(found.square().sum(), weight)
    torch.testing.assert_close(further, torch.autograd.grad(of_input.square().sum(), weight)[0])
    found = getattr(grad, f"conv{rank}d_weight")(x.detach(), weight.shape, cotangent, **options)
    torch.testing.assert_close(found, of_weight)
    assert not found.requires_grad


def test_matrices_of_no_entries_have_the_size_of_their_offset() -> None:
    assert torch.diagflat(torch.tensor([]), offset=2).tolist() == [[0.0, 0.0]] * 2
    assert torch.diag_embed(torch.zeros(2, 0), offset=-1).tolist() == [[[0.0]], [[0.0]]]
    assert torch.diag(torch.zeros(0, dtype=torch.bool)).shape == (0, 0)
    assert torch.block_diag().shape == (1, 0)


def test_sums_of_truth_values_take_alpha_as_one() -> None:
    yes, no = torch.tensor([True]), torch.tensor([False])
    for alpha, found in ((0, False), (2, True), (True, True), (False, False)):
        for other in (yes, True):
            assert torch.equal(torch.add(no, other, alpha=alpha), torch.tensor([found]))
    assert no.clone().add_(yes, alpha=2).tolist() == [True]
    for function in (torch.add, torch.sub, torch.rsub):
        with pytest.raises(RuntimeError, match=r"^Boolean alpha only supported for Boolean results"):
            function(torch.ones(2), torch.ones(2), alpha=True)


def test_spaced_numbers_fill_an_out_of_as_many_elements() -> None:
    makers = (lambda out: torch.arange(4, out=out), lambda out: torch.linspace(0, 3, 4, out=out))
    for make in makers:
        base = torch.zeros(2, 3)
        assert make(base[:, 1:]).shape == (2, 2)
        assert base.tolist() == [[0.0, 0.0, 1.0], [0.0, 2.0, 3.0]]
        assert make(torch.zeros(4)).tolist() == make(torch.zeros(0)).tolist() == [0.0, 1.0, 2.0, 3.0]
    assert torch.logspace(0, 3, 4, 2, out=torch.zeros(2, 2).t()).tolist() == [[1.0, 2.0], [4.0, 8.0]]


def test_joins_of_one_tensor_and_flips_of_no_axis_are_refused() -> None:
    for name in ("stack", "hstack", "vstack", "dstack", "column_stack"):
        with pytest.raises(TypeError, match=rf"^{name}\(\): argument 'tensors' \(position 1\) must be tuple"):
            getattr(torch, name)(torch.ones(2, 2))
    with pytest.raises(TypeError, match=r"^flip\(\) missing 1 required positional arguments"):
        torch.ones(2).flip()
    assert torch.arange(2).flip([]).tolist() == [0, 1]


def test_elements_of_three_tensors_are_put_through_a_function() -> None:
    x = torch.ones(2, 2)
    assert x.map2_(torch.tensor([1.0, 2.0]), torch.tensor([[1.0], [5.0]]), lambda a, b, c: a + b * c) is x
    assert x.tolist() == [[2.0, 3.0], [6.0, 11.0]]
    with pytest.raises(RuntimeError, match=r"^Can't call map2_"):
        x.map2_(x, torch.ones(2, requires_grad=True), lambda a, b, c: a)


def test_rows_are_scaled_down_in_place() -> None:
    x = torch.ones(2, 4)
    assert x.renorm_(2, 0, 1.0) is x and x.tolist() == [[0.5] * 4] * 2
    assert torch.linalg.matrix_rank(torch.ones(2, 2), 0.0, True).item() == 1


class Reflecting:
    """An object that takes over what stands left of it."""

    def __radd__(self, other: Any) -> str:
        return "sum"

    def __rfloordiv__(self, other: Any) -> str:
        return "quotient"


@pytest.mark.parametrize("rounds", [1, 20])
def test_augmented_assignments_leave_unknown_operands_to_them(rounds: int) -> None:
    for _ in range(rounds):
        x = y = z = torch.ones(2)
        y += Reflecting()
        z //= Reflecting()
        assert (y, z) == ("sum", "quotient") and x.tolist() == [1.0, 1.0]
        with pytest.raises(TypeError, match=r"^unsupported operand type\(s\) for -="):
            x -= Reflecting()
        x += x
        assert x.tolist() == [2.0, 2.0]


def test_outs_hold_what_functions_give() -> None:
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"^all only supports bool tensor for result, got: Float"):
        torch.all(x, out=torch.zeros(()))
    assert torch.any(x.byte(), out=torch.zeros((), dtype=torch.bool)).item() is True
    with pytest.raises(RuntimeError, match=r"^the output given to float_power has dtype Float but the operation's"):
        torch.float_power(x, 2, out=torch.zeros(2))
    with pytest.raises(RuntimeError, match=r"^the base given to float_power_ has dtype Float but the operation's"):
        x.float_power_(2)
    assert (x.double() * 2).float_power_(3).tolist() == [8.0, 8.0]
    with pytest.raises(RuntimeError, match=r"^nonzero does not support the out kwarg when as_tuple is True"):
        torch.nonzero(x, as_tuple=True, out=torch.zeros(0, dtype=torch.int64))
    with pytest.raises(RuntimeError, match=r"^heaviside is not yet implemented for tensors with different dtypes"):
        torch.heaviside(x, x.double())
    assert torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), values=torch.tensor(5.0)).tolist() == [0.0, 5.0, 1.0]
    with pytest.raises(RuntimeError, match=r"^Could not set tensor of type double to a tensor of type float"):
        x.set_(x.double())


def test_old_constructors_take_a_device_and_a_size() -> None:
    assert torch.FloatTensor(2, 3, device="cpu").shape == torch.Tensor(2, 3, device="cpu").shape == (2, 3)
    assert torch.ones(1).new(size=(3, 4)).shape == torch.ones(1).new(3, 4, device="cpu").shape == (3, 4)
    assert torch.ones(1).double().type(torch.Tensor).dtype is torch.float32


def test_the_old_default_type_is_the_default_dtype() -> None:
    with pytest.warns(UserWarning, match=r"^torch.set_default_tensor_type\(\) is deprecated"):
        torch.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert torch.ones(1).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for given in (torch.IntTensor, "torch.cuda.FloatTensor", 3):
        with pytest.raises(TypeError):
            torch.set_default_tensor_type(given)
