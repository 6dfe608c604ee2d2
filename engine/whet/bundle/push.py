"""`whet push`: a run's model, or a bundle, on the Hugging Face hub.

What is sent is listed with its hash by the run or the bundle, and nothing that only lies beside it.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import whet.version
from whet.bundle.checking.verify import check_bundle, first_bad
from whet.bundle.contents import contents_of
from whet.bundle.facts import Facts, naming_damage, read_facts
from whet.bundle.making.card import stated_in_words
from whet.bundle.making.copies import Copies, model_copies
from whet.bundle.making.licences import licence_fields
from whet.bundle.making.make import checked_language, licences_of, refuse_private
from whet.bundle.making.openness import licence_together
from whet.bundle.provenance import NAME
from whet.config import PushConfig
from whet.errors import CheckpointError, ConfigError, EnvironmentRefused
from whet.printable import printable
from whet.progress import say
from whet.run.model_card import HERE, front_matter, words_section
from whet.storage.readable import readable_text

CARD = "README.md"
FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def push_command(config: PushConfig) -> None:
    """`whet push`: say what is sent, send it, print where it is."""
    _check_name(config.to)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "push"
        folder.mkdir()
        _fill(folder, config)
        for line in _listed(folder, config):
            print(line)
        if config.dry_run:
            card = FRONT.match((folder / CARD).read_text(encoding="utf-8"))
            print(f"\n{CARD} begins\n{card[0] if card else ''}".rstrip())
            say("Nothing was sent: leave out dry_run to send it.")
            return
        say(f"Pushed: {_send(folder, config)}")


def _check_name(name: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        if name.count("/") == 1:
            return
    except HFValidationError:
        pass
    raise ConfigError(
        f"to={printable(name)} is no name on the hub. Write OWNER/NAME: your user name or "
        "organisation there, and a name of letters, digits, '-', '_' and '.'."
    )


def _fill(folder: Path, config: PushConfig) -> None:
    """Everything that is sent, in a folder: the card as a file, the rest as links."""
    run = Path(config.run)
    if (run / NAME).is_file():
        _link(folder, _files_of_bundle(run, config))
        return
    facts = read_facts(run)
    with naming_damage(run):
        _link(folder, model_copies(facts))
        (folder / CARD).write_text(_card(facts, config), encoding="utf-8")
        refuse_private(facts, folder)


def _link(folder: Path, files: Copies) -> None:
    for path, name in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path.resolve())
        except OSError:  # Windows asks for a right that few have
            shutil.copyfile(path, target)


def _files_of_bundle(bundle: Path, config: PushConfig) -> Copies:
    """A bundle as it is: what it says of itself is in its record, hash by hash."""
    decided = {"language": config.language or None, "data_licence": config.data_licence}
    for option, value in {**decided, "base_licence": config.base_licence}.items():
        if value is not None:
            raise ConfigError(
                f"{option} is written into a bundle when it is made, and {printable(bundle)} is "
                f"one. Leave it out, or run `whet bundle` with {option}."
            )
    _, rows = check_bundle(bundle)
    bad = first_bad(rows)
    if bad is not None:
        raise CheckpointError(
            f"{printable(bundle)} is not what its record says: {bad}. Make the bundle again."
        )
    return [(bundle / name, name) for name in contents_of(bundle).files]


def _card(facts: Facts, config: PushConfig) -> str:
    """The run's card, with what hubs ask for at its head."""
    licences = licences_of(facts, config)
    licence = licence_together(licences.values())
    front = front_matter(
        facts.origin,
        facts.comparison["rows"],
        licence=licence_fields(licence),
        language=checked_language(config.language),
    )
    card = readable_text(facts.folder / "model" / CARD, remedy="Run the fit again.")
    beside = words_section(facts.folder / "model")
    quoted = stated_in_words(licences).rstrip("\n")
    if quoted:
        beside += f"\n\n## Licences\n\n{quoted}\n"
    return f"{front}\n{FRONT.sub('', card)}{beside}".replace(HERE, config.to)


def _listed(folder: Path, config: PushConfig) -> Iterator[str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    whose = "private" if config.private else "public"
    yield f"{len(files)} files, {total / 1e6:,.1f} MB, to {config.to} ({whose}):"
    for path in files:
        yield f"  {path.stat().st_size:>13,}  {printable(path.relative_to(folder).as_posix())}"


def _send(folder: Path, config: PushConfig) -> str:
    """Where it is on the hub. ConfigError where the repository is not as asked for."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi(library_name="whet", library_version=whet.version.VERSION)
    with _hubs_errors(config):
        _check_there(api, config)
        url = api.create_repo(config.to, private=config.private, exist_ok=True)
        api.upload_folder(
            repo_id=config.to,
            folder_path=folder,
            commit_message=f"Whet {whet.version.VERSION}",
            delete_patterns=["*"] if config.replace else None,
        )
    return str(url)


def _check_there(api: Any, config: PushConfig) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        there = api.repo_info(config.to)
    except RepositoryNotFoundError:
        return
    if there.private != config.private:
        now = "private" if there.private else "public"
        raise ConfigError(
            f"to={config.to} is there already, and {now}. Add private={str(there.private).lower()} "
            "to push to it, or choose another name."
        )
    held = [file.rfilename for file in there.siblings or [] if file.rfilename != ".gitattributes"]
    if held and not config.replace:
        raise ConfigError(
            f"to={config.to} holds {len(held)} files already, such as {printable(held[0])}. Add "
            "replace=true to put this in their place, or choose another name."
        )


@contextmanager
def _hubs_errors(config: PushConfig) -> Iterator[None]:
    """What the hub or the way to it says, in one line, without the token."""
    from huggingface_hub import get_token

    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # its client raises a dozen unrelated types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[0] if lines else type(error).__name__).rstrip(".")
        token = get_token()
        if token:
            reason = reason.replace(token, "[token]")
        raise EnvironmentRefused(
            f"to={config.to}: the hub took nothing ({printable(reason[:200])}). Run `hf auth "
            "login` or set HF_TOKEN, with a token that may write there, and check the network."
        ) from error
