"""`whet reproduce`: the fit that a bundle records, done again by as many processes as then."""

from __future__ import annotations

from whet.config import ReproduceConfig
from whet.errors import INTERRUPTED
from whet.progress import say
from whet_launch.dispatch.fit import fit


def reproduce_command(config: ReproduceConfig) -> int:
    """Do it; 0 if it is the same result, else 1; 130 if it was interrupted."""
    from whet.bundle.checking.reproduce import reproduce

    try:
        return reproduce(config, fit)
    except KeyboardInterrupt:
        say("whet: interrupted. A repeat begins anew: give the command again, with a new output=.")
        return INTERRUPTED
