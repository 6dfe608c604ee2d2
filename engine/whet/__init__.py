"""Whet makes a search model better on your documents.

    import whet

    run = whet.fit("my/data")                       # a run folder: the better model and its report
    dataset = whet.load_dataset("my/data")          # a corpus, queries and judgments, checked
    encoder = whet.Encoder.load("minilm")           # texts to vectors
    whet.adapt("my/documents")                      # words beside vectors, where nobody judged
    whet.check(...), whet.encode(...), whet.mine(...), whet.evaluate(...)

`import whet` loads nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lazy_loader

from whet import moved
from whet.version import VERSION as __version__

if TYPE_CHECKING:
    from whet.api import adapt as adapt
    from whet.api import check as check
    from whet.api import encode as encode
    from whet.api import evaluate as evaluate
    from whet.api import fit as fit
    from whet.api import load_dataset as load_dataset
    from whet.api import mine as mine
    from whet.errors import CheckpointError as CheckpointError
    from whet.errors import ConfigError as ConfigError
    from whet.errors import DataError as DataError
    from whet.errors import EnvironmentRefused as EnvironmentRefused
    from whet.errors import MiningError as MiningError
    from whet.errors import WhetError as WhetError
    from whet.model.encoder import Encoder as Encoder

ERRORS = (
    "WhetError",
    "ConfigError",
    "DataError",
    "EnvironmentRefused",
    "MiningError",
    "CheckpointError",
)
_load, _, _names = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api": ["adapt", "fit", "check", "encode", "mine", "evaluate", "load_dataset"],
        "model.encoder": ["Encoder"],
        "errors": list(ERRORS),
    },
)
__all__ = ["__version__", *_names]
moved.tell()


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562, SPEC 1)."""
    try:
        return _load(name)
    except AttributeError as error:
        known = ", ".join(__all__)
        raise AttributeError(
            f"module 'whet' has no attribute {name!r}. It has: {known}."
        ) from error
