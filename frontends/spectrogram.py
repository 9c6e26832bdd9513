"""Short-time Fourier transforms, and the windows that they take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from adjit.creation import finished, ones, zeros
from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import default_float, dtype_argument, public
from adjit.elementwise import cos, mul, sqrt, where
from adjit.ir.primitive import primitive_named
from adjit.ranges import arange
from adjit.tensor import Tensor
from adjit.warning import warn

_NEEDS_CHOICE = (
    "stft requires the return_complex parameter be given for real inputs, and will further require that "
    "return_complex=True in a future PyTorch release."
)


# -- transforms -----------------------------------------------------------------------------------------------------
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The transforms of overlapping windows of a signal: out[..., k, t] is frequency k of the window from t*hop on.

    Shapes: [n] or [batch, n] -> c64[(batch,) n_fft//2 + 1 (or n_fft), frames].
    Errors: RuntimeError for lengths that do not fit, and for a real signal without `return_complex`.
    """
    from adjit.fft import fft, rfft
    from adjit.nn.functional import pad

    hop, span = _lengths("stft", n_fft, hop_length, win_length)
    rank = len(shape_of(input))
    if rank not in (1, 2):
        raise RuntimeError(f"stft expected a tensor with 1 or 2 dimensions, but got {rank}")
    either_complex = input._dtype.is_complex or (window is not None and window._dtype.is_complex)
    if return_complex is None and not either_complex:
        raise RuntimeError(_NEEDS_CHOICE)
    rows = input if rank == 2 else input.unsqueeze(0)
    if center:
        rows = pad(rows.unsqueeze(0), (n_fft // 2, n_fft // 2), mode=pad_mode).squeeze(0)
    count = shape_of(rows)[-1]
    if not 0 < n_fft <= count:
        raise RuntimeError(f"stft: expected 0 < n_fft < {count}, but got n_fft={n_fft}")
    weights = _window("stft", input, window, span, n_fft)
    frames = rows.unfold(-1, n_fft, hop) * weights
    half = not either_complex if onesided is None else onesided
    if half and either_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    norm = "ortho" if normalized else "backward"
    found: Tensor = (rfft if half else fft)(frames, norm=norm).transpose(1, 2)
    found = found if rank == 2 else found.squeeze(0)
    if return_complex is False:
        from adjit.complex_parts import view_as_real

        return view_as_real(found)
    return found


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The inverse of `stft`: windows added where they overlap, over the sum of the squared windows.

    Shapes: c64[(batch,) frequencies, frames] -> [(batch,) n].
    Errors: RuntimeError where the windows leave a place out.
    """
    from adjit.fft import ifft, irfft

    hop, span = _lengths("istft", n_fft, hop_length, win_length)
    if not input._dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    rank = len(shape_of(input))
    if rank not in (2, 3):
        raise RuntimeError(f"istft expected a tensor with 2 or 3 dimensions, but got {rank}")
    spectrum = (input if rank == 3 else input.unsqueeze(0)).transpose(1, 2)
    _, frames, frequencies = shape_of(spectrum)
    half = frequencies != n_fft if onesided is None else onesided
    if return_complex and half:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    wanted = n_fft // 2 + 1 if half else n_fft
    if frequencies != wanted:
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match "
            f"{'n_fft / 2 + 1' if half else 'n_fft'} when onesided={half}, but got {frequencies}"
        )
    weights = _window("istft", input, window, span, n_fft)
    norm = "ortho" if normalized else "backward"
    # A real signal is told by the first half of its spectrum.
    rows = ifft(spectrum, norm=norm) if return_complex else irfft(spectrum, n_fft, norm=norm)
    total = n_fft + hop * (frames - 1)
    added = _overlapped(rows * weights, total, hop)
    squares = _overlapped((weights * weights).expand(1, frames, n_fft), total, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - start
    envelope = squares[:, start : min(end, total)]
    if envelope._array is not None and not bool((envelope.abs() > 1e-11).all()):
        raise RuntimeError("window overlap add min: 1")
    found = added[:, start : min(end, total)] / envelope
    if end > total:
        warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. "
            "Please check your center and hop_length settings.",
            UserWarning,
            stacklevel=2,
        )
        from adjit.nn.functional import pad

        found = pad(found, (0, end - total))
    return found if rank == 3 else found.squeeze(0)


def _lengths(name: str, n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    """The step between windows, and their length."""
    hop = n_fft // 4 if hop_length is None else hop_length
    span = n_fft if win_length is None else win_length
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < span <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={span}")
    return hop, span


def _window(name: str, like: Tensor, window: Tensor | None, span: int, n_fft: int) -> Tensor:
    """The window, in the middle of n_fft places."""
    if window is not None and tuple(shape_of(window)) != (span,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={span}, but got window with size "
            f"{list(shape_of(window))}"
        )
    found = ones(span, dtype=public(like._dtype.part)) if window is None else window
    if span == n_fft:
        return found
    from adjit.nn.functional import pad

    left = (n_fft - span) // 2
    return pad(found, (left, n_fft - span - left))


def _overlapped(rows: Tensor, total: Any, hop: int) -> Tensor:
    """[batch, frames, size] added up where they lie, hop after hop: [batch, total]."""
    batch, _, size = shape_of(rows)
    attributes: dict[str, Any] = {
        "axes": (1,), "size": (size,), "stride": (hop,), "dilation": (1,), "shape": (batch, total)
    }  # fmt: skip
    return apply(primitive_named("fold"), (rows,), attributes)  # type: ignore[no-any-return]


# -- windows --------------------------------------------------------------------------------------------------------
def _cosines(name: str, coefficients: tuple[float, ...], doc: str) -> Callable[..., Tensor]:
    """A window that is a sum of cosines: c0 - c1*cos(2*pi*i/n) + c2*cos(4*pi*i/n)."""

    def make(
        window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        return finished(_sum_of_cosines(window_length, periodic, coefficients, name, dtype), requires_grad)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = doc
    return make


def _places(count: int, periodic: bool, name: str, dtype: Any) -> tuple[Tensor, int] | Tensor:
    """0, 1, ... count - 1 with the period; a window of fewer than two places as it is."""
    if count < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={count}")
    target = public(dtype_argument(dtype, name) or default_float())
    if count < 2:
        return ones(count, dtype=target) if count else zeros(0, dtype=target)
    return arange(count, dtype=target), count if periodic else count - 1


def _sum_of_cosines(count: int, periodic: bool, coefficients: tuple[float, ...], name: str, dtype: Any) -> Tensor:
    found = _places(count, periodic, name, dtype)
    if isinstance(found, Tensor):
        return found
    places, period = found
    total: Any = coefficients[0]
    for order, coefficient in enumerate(coefficients[1:], start=1):
        sign = -1 if order % 2 else 1
        total = mul(cos(mul(places, 2 * math.pi * order / period)), sign * coefficient) + total
    return total  # type: ignore[no-any-return]


hann_window = _cosines("hann_window", (0.5, 0.5), "(1 - cos(2*pi*i/n))/2.")
blackman_window = _cosines(
    "blackman_window", (0.42, 0.5, 0.08), "0.42 - 0.5*cos(2*pi*i/n) + 0.08*cos(4*pi*i/n)."
)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta*cos(2*pi*i/n)."""
    return finished(_sum_of_cosines(window_length, periodic, (alpha, beta), "hamming_window", dtype), requires_grad)


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """1 - |2*i/n - 1|: a triangle."""
    found = _places(window_length, periodic, "bartlett_window", dtype)
    if not isinstance(found, Tensor):
        places, period = found
        ramp = mul(places, 2.0 / period)
        found = where(ramp <= 1, ramp, 2.0 - ramp)
    return finished(found, requires_grad)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """I0(beta*sqrt(1 - (2*i/n - 1)**2))/I0(beta)."""
    from adjit.special_functions import i0

    found = _places(window_length, periodic, "kaiser_window", dtype)
    if not isinstance(found, Tensor):
        places, period = found
        offset = mul(places, 2.0 / period) - 1.0
        inside = sqrt((1.0 - offset * offset).clamp(min=0.0))
        found = i0(inside * beta) / i0(ones((), dtype=places.dtype) * beta)
    return finished(found, requires_grad)


METHODS: dict[str, Callable[..., Any]] = {"istft": istft, "stft": stft}
__all__ = [
    "bartlett_window", "blackman_window", "hamming_window", "hann_window", "istft", "kaiser_window", "stft",
]  # fmt: skip
