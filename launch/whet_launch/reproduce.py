"""`whet reproduce`: the fit that a bundle records, done again by as many processes as then."""

from __future__ import annotations

from whet.config import ReproduceConfig
from whet_launch.fit import fit


def reproduce_command(config: ReproduceConfig) -> int:
    """Do it; 0 if it is the same result, else 1."""
    from whet.bundle.reproduce import reproduce

    return reproduce(config, fit)
