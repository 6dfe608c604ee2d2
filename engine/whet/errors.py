"""What can go wrong, one class per kind, each with the exit code the command line answers with.

A message says what is wrong, where it is (file, line, id) and what to do about it.
"""

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


class WhetError(Exception):
    """Base of every error a user can act on."""

    exit_code = 1


class ConfigError(WhetError):
    """An option is unknown, contradictory or out of range."""

    exit_code = 2


class UnsupportedModel(ConfigError):
    """A model that is whole, and made of parts that Whet does not have."""


class DataError(WhetError):
    """The user's data cannot be used as it is."""

    exit_code = 3


class EnvironmentRefused(WhetError):
    """This machine lacks something the command needs (a package, a GPU, a model)."""

    exit_code = 4


class MiningError(WhetError):
    """Vectors or a policy from which no negatives can be mined."""


class CheckpointError(WhetError):
    """A checkpoint or run folder is torn, foreign or missing."""


class AlreadyDone(WhetError):
    """What a command is to make is there, whole, made by the same command: no mistake."""

    exit_code = 0
