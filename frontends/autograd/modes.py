"""Modes of recording: contexts, and decorators of functions and generators."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from inspect import isgeneratorfunction
from typing import TYPE_CHECKING, Any

from adjit.state import ASKED, INFERENCE, STATE


class _Mode:
    """A context manager that is also a decorator; it can be entered more than once."""

    __slots__ = ("_before",)
    _before: list[tuple[bool, int]]

    def __new__(cls, *_: Any, **__: Any) -> Any:
        mode = object.__new__(cls)
        mode._before = []
        return mode

    def _enter(self) -> None:
        raise TypeError("a mode says what it switches")

    def __enter__(self) -> None:
        self._before.append((STATE.recording, STATE.inference))
        self._enter()

    def __exit__(self, *exception: object) -> None:
        _restore(*self._before.pop())

    def clone(self) -> _Mode:
        """A fresh mode of the same kind."""
        made: _Mode = type(self)()
        return made

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if isgeneratorfunction(function):
            return self._wrap_generator(function)

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The mode holds while the generator runs, never in the code that drives it."""

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator = function(*args, **kwargs)
            try:
                with self.clone():
                    item = next(generator)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        with self.clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        with self.clone():
                            item = generator.throw(error)
                    else:
                        with self.clone():
                            item = generator.send(sent)
            except StopIteration as stop:
                return stop.value

        return wrapped


class no_grad(_Mode):
    """Operations inside are not recorded.  As context, or `@no_grad()`, or `@no_grad`."""

    __slots__ = ()

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        mode = object.__new__(cls)
        mode._before = []
        return mode if function is None else mode(function)

    if TYPE_CHECKING:

        def __init__(self, function: Callable[..., Any] | None = None) -> None: ...

    def _enter(self) -> None:
        _record(False)
        if STATE.duals is not None:
            STATE.duals()


class enable_grad(no_grad):
    """Operations inside are recorded, also within `no_grad`."""

    __slots__ = ()

    def _enter(self) -> None:
        _record(True)


class set_grad_enabled(_Mode):
    """Switch recording on or off: at once as a function, for a block as a context."""

    __slots__ = ("mode",)

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before.append((STATE.recording, STATE.inference))
        self._enter()

    def __enter__(self) -> None:
        return  # it is in force since it was made

    def _enter(self) -> None:
        _record(self.mode)
        if STATE.duals is not None:
            STATE.duals()

    def clone(self) -> _Mode:
        return type(self)(self.mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _restore(*self._before.pop())  # a decorator leaves the present mode alone
        return super().__call__(function)


class inference_mode(_Mode):
    """No recording, and tensors made inside cannot take part in recording later."""

    __slots__ = ("mode",)

    def __new__(cls, mode: Any = True) -> Any:
        made = super().__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__(True)
        return made(mode)

    def __init__(self, mode: Any = True) -> None:
        self.mode = bool(mode)

    def _enter(self) -> None:
        if self.mode:
            STATE.recording, STATE.inference = False, INFERENCE
        else:
            STATE.recording, STATE.inference = True, 0

    def clone(self) -> _Mode:
        made: _Mode = type(self)(self.mode)
        return made


def _record(wanted: bool) -> None:
    """Switch recording on or off; in inference mode nothing is recorded, whatever is wanted."""
    inference = STATE.inference
    if inference:
        _restore(False, ASKED if wanted else INFERENCE)
    elif STATE.recording is not wanted:
        STATE.recording = wanted


def _restore(recording: bool, inference: int) -> None:
    """What was in force before; what is in force is not set again, for after a change native calls ask for the mode."""
    if STATE.recording is not recording:
        STATE.recording = recording
    if STATE.inference != inference:
        STATE.inference = inference


def is_grad_enabled() -> bool:
    """Whether operations are being recorded, or would be but for inference mode."""
    return STATE.recording or STATE.inference == ASKED


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return STATE.inference > 0
