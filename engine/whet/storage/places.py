"""Where Whet keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where converted data and embeddings are kept: $WHET_CACHE, or ~/.cache/whet."""
    return Path(os.environ.get("WHET_CACHE") or Path.home() / ".cache" / "whet")
