"""A module that is another one in everything but what its calls do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

T = TypeVar("T", bound="Wrapper")


class Wrapper(nn.Module):
    """Parameters, buffers, submodules, keys, mode and attributes are those of `_model`."""

    _OWN: ClassVar[tuple[str, ...]] = ("_model",)  # attributes that are not the model's

    def __init__(self, model: nn.Module) -> None:
        own, mode = self.__dict__, model.training
        own["_model"] = model
        super().__init__()
        model.training = mode  # nn.Module.__init__ sets the flag, which is the model's here
        own["_parameters"], own["_buffers"] = model._parameters, model._buffers
        own["_modules"] = model._modules

    @property
    def training(self) -> bool:
        """The model's own flag."""
        return bool(self._model.training)

    @training.setter
    def training(self, mode: bool) -> None:
        if mode != self._model.training:
            self._model.training = mode

    def train(self: T, mode: bool = True) -> T:
        if mode or any(module.training for module in self._model.modules()):
            self._model.train(mode)  # which an exported program, always in eval mode, refuses
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self._model.load_state_dict(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        yield from self._model.named_modules(*args, **kwargs)

    def _apply(self: T, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> T:
        self._model._apply(fn, recurse)
        return self

    def __getattr__(self, name: str) -> Any:
        if name in type(self)._OWN:
            raise AttributeError(name)
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" or name in type(self)._OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._model, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._model, name)
