"""`Module`: parameters, buffers and sub-modules by name, with hooks around `forward`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeVar

from adjit.autograd.modes import no_grad
from adjit.epoch import EPOCH
from adjit.errors import explained, misplaced_in, tell
from adjit.nn import global_hooks as shared
from adjit.nn.conversion import Conversion
from adjit.nn.hooks import BackwardHooks, attach_legacy
from adjit.nn.parameter import Buffer, Parameter, UninitializedBuffer
from adjit.nn.state_dict import StateDict
from adjit.nn.tree import Tree
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.utils.hooks import Hooks, RemovableHandle

Self = TypeVar("Self", bound="Module")

_HOOKS = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


_INIT_FIRST = "begin __init__ with super().__init__()"


class Module(StateDict, Conversion, Tree):
    """The base of all neural network modules: a subclass says what `forward` computes.

    Parameters, buffers and modules are registered by assigning them as attributes, after `super().__init__()`.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _is_full_backward_hook: bool | None
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _forward_hooks: Hooks
    _forward_pre_hooks: Hooks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            what = f"keyword argument '{next(iter(kwargs))}'" if kwargs else f"{len(args) + 1} positional arguments"
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected {what}"
                if kwargs
                else f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        own = self.__dict__
        own["training"] = True
        own["_parameters"], own["_buffers"], own["_modules"] = {}, {}, {}
        own["_non_persistent_buffers_set"] = set()
        own["_is_full_backward_hook"] = None
        for name in _HOOKS:
            own[name] = Hooks()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        first = f'Module [{type(self).__name__}] is missing the required "forward" function'
        raise explained(NotImplementedError, first, hint="define it in the class: def forward(self, x): ...")

    # -- calling ----------------------------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        try:
            if not (own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"]
                    or own["_backward_pre_hooks"] or shared.FORWARD or shared.FORWARD_PRE or shared.BACKWARD
                    or shared.BACKWARD_PRE or shared.LEGACY_BACKWARD):  # fmt: skip
                return self.forward(*args, **kwargs)
            return self._call_with_hooks(args, kwargs)
        except AttributeError as error:
            wrong = misplaced_in(error, _function_of)
            if wrong is None:
                tell(error, self.forward)
                raise
            raise wrong from None
        except Exception as error:
            tell(error, self.forward)
            raise

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs, _ in _listed(shared.FORWARD_PRE, self._forward_pre_hooks).values():
            args, kwargs = _before(self, hook, with_kwargs, args, kwargs)
        own_hooks = tuple(self._backward_hooks.values())
        full = self._is_full_backward_hook is not False
        hooks = (*shared.BACKWARD.values(), *(own_hooks if full else ()))
        legacy = (*shared.LEGACY_BACKWARD.values(), *(() if full else own_hooks))
        pre_hooks = (*shared.BACKWARD_PRE.values(), *self._backward_pre_hooks.values())
        backward = None
        if hooks or pre_hooks:
            backward = BackwardHooks(self, hooks, pre_hooks)
            args = backward.inputs(args)
        done: set[int] = set()
        try:
            result = self.forward(*args, **kwargs)
            for identity, (hook, with_kwargs, _) in _listed(shared.FORWARD, self._forward_hooks).items():
                done.add(identity)
                replaced = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                result = result if replaced is None else replaced
        except Exception:
            self._call_always(done, args, kwargs)
            raise
        if backward is not None:
            result = backward.outputs(result)
        if legacy and STATE.recording:
            attach_legacy(self, args, result, legacy)
        return result

    def _call_always(self, done: set[int], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run the forward hooks that asked to be called also when `forward` fails."""
        for identity, (hook, with_kwargs, always) in _listed(shared.FORWARD, self._forward_hooks).items():
            if not always or identity in done:
                continue
            try:
                if with_kwargs:
                    hook(self, args, kwargs, None)
                else:
                    hook(self, args, None)
            except Exception as error:
                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception that was silenced as another "
                    f"error was raised in forward: {error}",
                    stacklevel=2,
                )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """From here on calls of this module run its `forward` compiled; the arguments are those of `adjit.compile`."""
        from adjit.jit import compile as compiled

        self.__dict__["forward"] = compiled(type(self).forward.__get__(self), *args, **kwargs)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in _HOOKS:
            self.__dict__.setdefault(name, Hooks())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # -- attributes -------------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            found = own.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        EPOCH.advance()
        own = self.__dict__
        if isinstance(value, Parameter):
            self._require_init("parameters")
            self._forget(name, self._parameters)
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._require_init("module")
            self._forget(name, self._modules)
            self._modules[name] = shared.registered(shared.MODULE_REGISTRATION, self, name, value)
        elif isinstance(value, (Buffer, UninitializedBuffer)):
            self._require_init("buffer")
            self._forget(name, self._buffers)
            self.register_buffer(name, value, value.persistent)
        elif name in own.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self._parameters[name] = None
        elif name in own.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif name in own.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_name(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                    "expected)"
                )
            self._buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        EPOCH.advance()
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__, *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())

    def _require_init(self, what: str) -> None:
        if "_parameters" not in self.__dict__:
            raise explained(AttributeError, f"cannot assign {what} before Module.__init__() call", hint=_INIT_FIRST)

    def _forget(self, name: str, own: dict[str, Any]) -> None:
        """Make room for `name` in the table `own`; what stands there already keeps its place in the order."""
        self.__dict__.pop(name, None)
        for table in (self._parameters, self._buffers, self._modules):
            if table is not own:
                table.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    # -- registering ------------------------------------------------------------------------------------------------
    def _check_name(self, name: str, table: dict[str, Any], what: str) -> None:
        if "_parameters" not in self.__dict__:
            raise explained(AttributeError, f"cannot assign {what} before Module.__init__() call", hint=_INIT_FIRST)
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {_type_name(name)}")
        if "." in name:
            raise KeyError(f"{what} name can't contain \".\"" + (f", got: {name}" if what == "module" else ""))
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None to keep the name.

        Errors: KeyError for a name that is taken, TypeError for no `Parameter`, ValueError for a tensor with history.
        """
        self._check_name(name, self.__dict__.get("_parameters", {}), "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_name(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                "required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        EPOCH.advance()
        if shared.PARAMETER_REGISTRATION:
            param = shared.registered(shared.PARAMETER_REGISTRATION, self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is part of the state but no parameter; only a persistent one is in `state_dict`."""
        self._check_name(name, self.__dict__.get("_buffers", {}), "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        EPOCH.advance()
        if shared.BUFFER_REGISTRATION:
            tensor = shared.registered(shared.BUFFER_REGISTRATION, self, name, tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module.  Errors: TypeError for what is no module, KeyError for a name that is taken."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_type_name(module)} is not a Module subclass")
        self._check_name(name, self.__dict__.get("_modules", {}), "module")
        EPOCH.advance()
        self._modules[name] = shared.registered(shared.MODULE_REGISTRATION, self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # -- hooks ------------------------------------------------------------------------------------------------------
    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if anything, replaces the arguments."""
        return _register(self._forward_pre_hooks, (hook, with_kwargs, False), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; what it returns, if anything, replaces the output."""
        return _register(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs are there; it may replace them."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are there.

        `grad_input` has an entry for each positional argument, None where that needs no gradient; a returned tuple
        replaces it.
        """
        self._choose_backward_hooks(True)
        return _register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` on the node that made the output; deprecated.

        `grad_input` has an entry for each operand of that node: for a `Conv2d` input, weight and bias, for a `Linear`
        bias, input and transposed weight.
        """
        self._choose_backward_hooks(False)
        return _register(self._backward_hooks, hook, False)

    def _choose_backward_hooks(self, full: bool) -> None:
        if self._is_full_backward_hook is not None and self._is_full_backward_hook is not full:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only "
                "one of them."
            )
        self._is_full_backward_hook = full

    # -- modes ------------------------------------------------------------------------------------------------------
    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and in all modules inside: it concerns dropout and batch normalisation."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Set whether the parameters require grad."""
        EPOCH.advance()
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                with no_grad():
                    parameter.grad.zero_()

    # -- text -------------------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """What stands between the parentheses beside the children."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        children = [f"({name}): " + _indented(repr(module), 2) for name, module in self._modules.items()]
        if len(own) == 1 and not children:
            return f"{self._get_name()}({own[0]})"
        lines = own + children
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)" if lines else f"{self._get_name()}()"


def _indented(text: str, width: int) -> str:
    """`text` with all lines but the first moved to the right."""
    return text.replace("\n", "\n" + " " * width)


def _type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.type())
    kind = value if isinstance(value, type) else type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _listed(common: Hooks, own: Hooks) -> dict[int, Any]:
    """A copy of forward hooks, each with its options, so that a hook may remove itself while it runs."""
    return {**common, **own}


def _register(hooks: Hooks, hook: Any, prepend: bool) -> RemovableHandle:
    handle = RemovableHandle(hooks, hook)
    if prepend:
        others = [(key, value) for key, value in hooks.items() if key != handle.id]
        for key, value in others:  # dicts keep the order of insertion
            del hooks[key]
            hooks[key] = value
    return handle


def _before(
    module: Module, hook: Callable[..., Any], with_kwargs: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as a forward-pre-hook leaves them."""
    if not with_kwargs:
        result = hook(module, args)
        if result is None:
            return args, kwargs
        return (result if isinstance(result, tuple) else (result,)), kwargs
    result = hook(module, args, kwargs)
    if result is None:
        return args, kwargs
    if not isinstance(result, tuple) or len(result) != 2:
        raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result}.")
    return result


def _function_of(code: CodeType) -> Any:
    """The function of `nn.functional` with this code, or None."""
    from adjit.native.install import function_with
    from adjit.nn import functional

    found = vars(functional).get(code.co_name)
    return found if getattr(found, "__code__", None) is code else function_with(code)
