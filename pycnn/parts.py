"""A model whose whole cannot be captured, run as it is around submodules that can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import nn

Wrap = Callable[[nn.Module], nn.Module]
_LISTS = (nn.ModuleList, nn.ModuleDict)  # have no forward: their entries are called one by one


class Parts:
    """`twin` is the model: its class's forward, hooks and attributes, in the same __dict__; but a submodule with
    submodules of its own that its code reads by name is given wrapped.

    A layer by itself stays torch's: a plan for one layer saves nothing and may cost two changes of layout.
    """

    def __init__(self, model: nn.Module, wrap: Wrap) -> None:
        self._wrap = wrap
        self._made: dict[str, tuple[nn.Module, tuple[int, ...], nn.Module]] = {}
        self.twin = self._twin_of(model)

    def _twin_of(self, model: nn.Module) -> nn.Module:
        kind, child = type(model), self._child

        def getattr_(twin: nn.Module, name: str) -> Any:
            module = twin.__dict__["_modules"].get(name)
            if isinstance(module, nn.Module):
                return child(name, module)
            return kind.__getattr__(twin, name)

        namespace: dict[str, Any] = {
            "__getattr__": getattr_,
            "__module__": kind.__module__,
            "__doc__": kind.__doc__,
        }
        if isinstance(model, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
            namespace |= self._entries(kind)
        twin_class: type[nn.Module] = type(kind.__name__, (kind,), namespace)
        twin = object.__new__(twin_class)
        object.__setattr__(twin, "__dict__", model.__dict__)
        return twin

    def _entries(self, kind: type[nn.Module]) -> dict[str, Any]:
        """What the forward of a container's class goes through its entries with."""
        child = self._child

        def items(twin: nn.Module) -> list[tuple[str, nn.Module]]:
            return [(k, child(k, m)) for k, m in twin._modules.items() if m is not None]

        def values(twin: nn.Module) -> Iterator[nn.Module]:
            return (m for _, m in items(twin))

        if issubclass(kind, nn.ModuleDict):
            return {"items": items, "values": values}
        return {"__iter__": values}

    def _child(self, name: str, module: nn.Module) -> nn.Module:
        entries = tuple(map(id, module.modules())) if type(module) in _LISTS else ()
        known = self._made.get(name)
        if known is None or known[0] is not module or known[1] != entries:
            known = self._made[name] = (module, entries, self._made_of(module))
        return known[2]

    def _made_of(self, module: nn.Module) -> nn.Module:
        if type(module) is nn.ModuleList:
            return nn.ModuleList([self._made_of(entry) for entry in module]).train(module.training)
        if type(module) is nn.ModuleDict:
            entries = {key: self._made_of(entry) for key, entry in module.items()}
            return nn.ModuleDict(entries).train(module.training)
        return self._wrap(module) if any(module.children()) else module

    def wrapped(self) -> dict[str, nn.Module]:
        """By path below the model: the wrapped submodules that its code has asked for."""
        found: dict[str, nn.Module] = {}

        def visit(path: str, module: nn.Module, made: nn.Module) -> None:
            if type(module) in _LISTS:
                for key, entry in module._modules.items():
                    assert entry is not None
                    visit(f"{path}.{key}", entry, cast(nn.Module, made._modules[key]))
            elif made is not module:
                found[path] = made

        for name, (module, _, made) in self._made.items():
            visit(name, module, made)
        return found
