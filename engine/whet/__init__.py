"""Whet makes a search model better on your documents.

    import whet

    run = whet.fit("my/data")                       # a run folder: the better model and its report
    dataset = whet.load_dataset("my/data")          # a corpus, queries and judgments, checked
    encoder = whet.Encoder.load("minilm")           # texts to vectors
    whet.check(...), whet.encode(...), whet.mine(...), whet.evaluate(...)

`import whet` loads nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whet.api import check as check
    from whet.api import encode as encode
    from whet.api import evaluate as evaluate
    from whet.api import fit as fit
    from whet.api import mine as mine
    from whet.data.load import load_dataset as load_dataset
    from whet.errors import CheckpointError as CheckpointError
    from whet.errors import ConfigError as ConfigError
    from whet.errors import DataError as DataError
    from whet.errors import EnvironmentRefused as EnvironmentRefused
    from whet.errors import MiningError as MiningError
    from whet.errors import WhetError as WhetError
    from whet.model.encoder import Encoder as Encoder

__version__ = "0.1.0"

_HOME = {  # the module each public name lives in
    "fit": "whet.api",
    "check": "whet.api",
    "load_dataset": "whet.data.load",
    "Encoder": "whet.model.encoder",
    "WhetError": "whet.errors",
    "ConfigError": "whet.errors",
    "DataError": "whet.errors",
    "EnvironmentRefused": "whet.errors",
    "MiningError": "whet.errors",
    "CheckpointError": "whet.errors",
}
_CALLED = ("encode", "evaluate", "mine")  # modules that are called too: functions of `whet.api`

__all__ = ["__version__", *_HOME, *_CALLED]


class _CallableModule(ModuleType):
    """A module that is called as the function of `whet.api` of its name: `whet.mine(...)`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module("whet.api"), name)(*args, **options)


class _Root(ModuleType):
    """The package itself: when Python binds a submodule named in `_CALLED`, it becomes callable.

    So `whet.mine(...)` and `import whet.mine.search` both work, whichever comes first.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Root


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name in _CALLED:
        return import_module(f"whet.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'whet' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
