"""Import a library without those of its own imports that are large and not used here."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _DeferredModule(ModuleType):
    """Stands for a module, and imports it when the first of its names is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def defer_modules(*names: str) -> Iterator[None]:
    """Let imports in the block import modules only when they are used.

    Args:
        names: Names of modules; one that is imported already is left as it is.
    """
    deferred = {n: _DeferredModule(n) for n in names if n not in sys.modules}
    sys.modules.update(deferred)
    try:
        yield
    finally:
        # Whoever imports them later gets the modules themselves.
        for name, module in deferred.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextlib.contextmanager
def hide_modules(*names: str) -> Iterator[None]:
    """Let imports in the block fail, as if the modules were not installed.

    Args:
        names: Names of modules; one that is imported already is left as it is.
    """
    hidden = [name for name in names if name not in sys.modules]
    # None in this table is Python's own way to say that a module cannot be imported.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
