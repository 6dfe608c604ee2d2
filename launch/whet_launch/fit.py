"""`whet fit`: in this process, in several of this machine, or on a cluster."""

from __future__ import annotations

from importlib import import_module

from whet.config import FitConfig
from whet.errors import ConfigError

FAR = {"job": "whet_launch.jobs:submit", "kuberay": "whet_launch.kuberay:show"}


def fit(config: FitConfig) -> int | None:
    """Do the job where `config.launch` says; an exit code where other processes decide it.

    One process of this machine needs no launcher, and loads none.
    """
    from whet.options import check_options

    check_options(config)
    launch = config.launch
    if launch.min_workers is not None and launch.min_workers > launch.num_workers:
        raise ConfigError(
            f"launch.min_workers={launch.min_workers} is over launch.num_workers="
            f"{launch.num_workers}. Lower it, or leave it out for a fixed number of processes."
        )
    if launch.mode in FAR:
        module, _, name = FAR[launch.mode].partition(":")
        return getattr(import_module(module), name)(config)
    if launch.mode == "ray":
        from whet_launch.ray_fit import fit_on_ray

        fit_on_ray(config)
        return None
    if launch.num_workers > 1:
        from whet_launch.local import fit_here

        fit_here(config)
        return None
    from whet.api import fit as fit_alone

    fit_alone(config)
    return None
