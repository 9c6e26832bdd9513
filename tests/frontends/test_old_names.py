"""Names that older scripts use: `torch.range`, `Variable`, and the modules under `torch.cuda`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
import adjit.cuda.amp
from adjit.autograd import Variable


def test_range_includes_its_end() -> None:
    with pytest.warns(UserWarning, match="torch.range is deprecated and will be removed in a future release"):
        assert torch.range(1, 4).tolist() == [1.0, 2.0, 3.0, 4.0]
    with pytest.warns(UserWarning):
        found = torch.range(5, 1, -2, dtype=torch.int64)
    assert found.tolist() == [5, 3, 1] and found.dtype == torch.int64


@pytest.mark.parametrize(
    ("parts", "text"), [((1, 2, 0), "step must be nonzero"), ((3, 1), "upper bound and lower bound inconsistent")]
)
def test_range_refuses(parts: tuple[int, ...], text: str) -> None:
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match=text):
        torch.range(*parts)


def test_a_variable_is_a_tensor_on_the_same_memory() -> None:
    data = torch.zeros(2)
    found = Variable(data, requires_grad=True)
    data[0] = 3.0
    assert type(found) is torch.Tensor and found.requires_grad and found.tolist() == [3.0, 0.0]
    assert isinstance(data, Variable) and not isinstance(1.0, Variable)
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got list"):
        Variable([1.0])


def test_cuda_is_a_module_of_answers() -> None:
    from adjit.cuda import device_count, is_available

    assert not is_available() and device_count() == 0 and torch.cuda.amp is adjit.cuda.amp
    with pytest.raises(ImportError):
        from adjit.cuda import nonsense  # noqa: F401


OLD: dict[str, tuple[Callable[[Any], Any], str]] = {
    "GradScaler": (lambda amp: amp.GradScaler(enabled=False), "`torch.amp.GradScaler('cuda', args...)`"),
    "autocast": (lambda amp: amp.autocast(False), "`torch.amp.autocast('cuda', args...)`"),
    "custom_fwd": (lambda amp: amp.custom_fwd(len), "`torch.amp.custom_fwd(args..., device_type='cuda')`"),
    "custom_bwd": (lambda amp: amp.custom_bwd(len), "`torch.amp.custom_bwd(args..., device_type='cuda')`"),
}


@pytest.mark.parametrize("name", OLD)
def test_names_for_cuda_warn(name: str) -> None:
    use, instead = OLD[name]
    with pytest.warns(FutureWarning) as caught:
        use(torch.cuda.amp)
    text = f"`torch.cuda.amp.{name}(args...)` is deprecated. Please use {instead} instead."
    assert [str(item.message) for item in caught] == [text]
    assert caught[0].filename == __file__
