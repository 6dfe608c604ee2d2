"""`whet VERB ...`: the verb, its help, and how errors are told.

Nothing heavy is imported for help, version or a mistyped key; Hydra comes when a job is composed,
torch when it runs.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable

from whet.errors import INTERRUPTED, WhetError
from whet.printable import printable_lines
from whet.storage.disk import disk_errors_name, is_of_disk, of_disk, remedy
from whet_launch.cli.printing import printable_output
from whet_launch.options.environment import prepare_for_torch

VERSION_FLAGS = ("--version", "-V", "-v")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; `arguments` without the program's name, by default those of the process.

    Returns the exit code: 0 done, 1 failed, 2 a mistake in the command, 3 data refused, 4
    environment refused, 130 interrupted.
    """
    prepare_for_torch(os.environ)
    words = sys.argv[1:] if arguments is None else arguments
    with printable_output():
        return exit_code_of(lambda: _dispatch(words), shlex.join(["whet", *words]))


def exit_code_of(action: Callable[[], int], command: str = "the same command") -> int:
    """Do `action`; an error a user can act on is told without a traceback and becomes an exit code.

    `command` is what to give again after an interruption or an error of the disk. WHET_DEBUG=1
    adds the traceback. An interrupted job may name its run folder, and what else its command needs
    to go on, as the arguments of KeyboardInterrupt.
    """
    try:
        code = action()
        _flush()
        return code
    except WhetError as error:
        return _tell(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            words = " ".join(map(str, interrupt.args))
            return _tell(f"interrupted. Go on with: whet fit resume={words}", INTERRUPTED)
        if command.startswith("whet fit"):  # before it had a checkpoint, or while it went on
            command = f"{command}, or, once it has a run folder, whet fit resume=RUN_FOLDER"
        return _tell(f"interrupted. Go on with: {command}", INTERRUPTED)
    except BrokenPipeError:  # `whet check ... | head`: nobody reads on, which is no error
        _print_no_more()
        return 0
    except OSError as error:
        if is_of_disk(error):
            error = _print_no_more() or error
            return _tell(f"{of_disk(error)}. {remedy(error)}, then give again: {command}", 1)
        return _tell(f"{error}. WHET_DEBUG=1 shows where.", 1)


def _flush() -> None:
    """Print what waits while an error can be told: at its end Python does it without a word."""
    if sys.stdout is not None:  # it is where the stream was closed before the start
        with disk_errors_name("/dev/stdout"):
            sys.stdout.flush()


def _print_no_more() -> OSError | None:
    """Where printing fails, Python is not to try again at its end; the error."""
    try:
        _flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _tell(message: str, code: int) -> int:
    if os.environ.get("WHET_DEBUG") == "1":
        traceback.print_exc()
    print(f"whet: {printable_lines(message)}", file=sys.stderr, flush=True)
    return code


def _dispatch(words: list[str]) -> int:
    if words[1:] and words[0] == "help":
        return _run_verb(words[1], ["--help"])
    if not words or words[0] in ("--help", "-h", "help"):
        from whet_launch.cli.helptext import overview

        print(overview(), end="")
        return 0 if words else 2
    if words[0] in ("version", *VERSION_FLAGS):
        return _tell_version()
    if words[0] in ("-sc", "--shell-completion"):
        return _complete(words)
    return _run_verb(words[0], words[1:])


def _tell_version() -> int:
    from whet_launch.options.version import version_line

    print(version_line())
    return 0


def _run_verb(name: str, words: list[str]) -> int:
    from whet_launch.cli.overrides import find_verb, to_hydra

    command = shlex.join(["whet", name, *words])
    if name == "mine" and words[:1] == ["audit"]:
        name, words = "audit", words[1:]
    if name == "plan" and words[:1] == ["adapt"]:
        name, words = "plan_adapt", words[1:]
    verb = find_verb(name)
    if set(VERSION_FLAGS) & set(words):
        return _tell_version()
    asks = words == ["help"] and not os.path.exists("help")  # data of that name are data
    if asks or {"--help", "-h"} & set(words):
        from whet_launch.cli.helptext import of_verb

        print(of_verb(verb), end="")
        return 0
    arguments = to_hydra(verb, words)
    from whet_launch.cli.compose import run

    return run(verb, arguments, lambda action: exit_code_of(action, command))


def _complete(words: list[str]) -> int:
    """The shell asks what may come next: a verb is ours to offer, the rest is Hydra's."""
    from whet_launch.cli.compose import run
    from whet_launch.cli.verbs import VERBS

    typed = os.environ.get("COMP_LINE", "").split(" ")
    if words[1:] and words[1].startswith("query="):
        if len(typed) < 3 or typed[1] not in VERBS:
            print(" ".join(VERBS))
            return 0
        os.environ["COMP_LINE"] = " ".join([typed[0], *typed[2:]])
        return run(VERBS[typed[1]], words, exit_code_of)
    return run(VERBS["fit"], words, exit_code_of)
