"""`whet fit`: in this process, in several of this machine, or on a cluster."""

from __future__ import annotations

from importlib import import_module

from whet.config import FitConfig
from whet.config.recorded import for_the_command_line
from whet.errors import ConfigError

FAR = {"job": "whet_launch.remote.jobs:submit", "kuberay": "whet_launch.remote.kuberay:show"}


def fit(config: FitConfig) -> int | None:
    """Do the job where `config.launch` says; an exit code where other processes decide it.

    One process of this machine needs no launcher, and loads none. KeyboardInterrupt has the run
    folder as its first argument; the others are words for the command that goes on.
    """
    from whet.config.ranges import check_options

    check_options(config)
    launch = config.launch
    if launch.min_workers is not None and launch.min_workers > launch.num_workers:
        raise ConfigError(
            f"launch.min_workers={launch.min_workers} is over launch.num_workers="
            f"{launch.num_workers}. Lower it, or leave it out for a fixed number of processes."
        )
    if launch.dry_run and launch.mode != "job":
        raise ConfigError(
            "launch.dry_run (--dry-run) lists what launch=job would send, and "
            f"launch={launch.mode} sends nothing of this folder. Leave it out, or write launch=job."
        )
    try:
        return _where_it_says(config)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(*interrupt.args, *_to_say_again(config)) from None


def _to_say_again(config: FitConfig) -> list[str]:
    """The words that a command which goes on with the run needs besides: a run folder does not
    decide where and by how many processes it is gone on with.
    """
    from whet_launch.options.words import as_typed, changed_options

    words, command_line = (
        changed_options(config, {"output": None, "resume": None}),
        for_the_command_line(FitConfig),
    )
    return [as_typed(word) for word in words if word.partition("=")[0] in command_line]


def _where_it_says(config: FitConfig) -> int | None:
    launch = config.launch
    if launch.mode in FAR:
        module, _, name = FAR[launch.mode].partition(":")
        code: int | None = getattr(import_module(module), name)(config)
        return code
    if launch.mode == "ray":
        from whet_launch.cluster.fit import fit_on_ray

        fit_on_ray(config)
        return None
    if launch.num_workers > 1:
        from whet_launch.machine.local import fit_here

        fit_here(config)
        return None
    from whet.api import fit as fit_alone

    fit_alone(config)
    return None
