"""Functions of layers in the order of arguments of PyTorch's kernels are the functions of `nn.functional`."""

from __future__ import annotations

import adjit as torch
from adjit.nn import functional as F


def test_normalizations() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    scale, shift = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    found, mean, deviation = torch.native_layer_norm(x, (3,), None, None, 1e-5)
    torch.testing.assert_close(found, torch.layer_norm(x, (3,)))
    torch.testing.assert_close((x - mean) * deviation, found)
    found, mean, deviation = torch.native_group_norm(x, scale, shift, 2, 4, 3, 2, 1e-5)
    torch.testing.assert_close(found, F.group_norm(x, 2, scale, shift))
    assert mean.shape == deviation.shape == (2, 2)
    moving = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    found = torch.batch_norm(x, scale, shift, *moving, False, 0.1, 1e-5, False)
    torch.testing.assert_close(found, F.batch_norm(x, *moving, scale, shift))
    found = torch.instance_norm(x, scale, shift, None, None, True, 0.1, 1e-5, False)
    torch.testing.assert_close(found, F.instance_norm(x, None, None, scale, shift))


def test_padding_sampling_and_rows() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert torch.constant_pad_nd(x[0, 0], (1, 0), 7.0).tolist() == [[7, 0, 1], [7, 2, 3]]
    assert torch.constant_pad_nd(torch.ones(1, dtype=torch.complex64), (1, 0), 1j).tolist() == [1j, 1 + 0j]
    grid = torch.tensor([[[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]]])
    assert torch.grid_sampler(x, grid, 0, 0, True).tolist() == [[[[0.0, 3.0, 1.5]]]]
    assert torch.grid_sampler_2d(x, grid, 1, 1, True)[..., :2].tolist() == [[[[0.0, 3.0]]]]
    assert torch.embedding(torch.eye(3), torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
