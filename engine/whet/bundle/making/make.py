"""`whet bundle`: one folder to publish, made of a finished run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from whet.bundle.facts import Facts, naming_damage, read_facts
from whet.bundle.making import croissant
from whet.bundle.making.card import bundle_card
from whet.bundle.making.copies import copies_of, write_copies
from whet.bundle.making.licences import Licence, licence_of
from whet.bundle.making.openness import Openness, openness_of
from whet.bundle.provenance import NAME, read_statement, spelled, statement_of
from whet.bundle.schema import BASE, CODE, DATA
from whet.bundle.signing import sign_bundle, signer_of
from whet.bundle.spread import spread_of
from whet.config import BundleConfig, PushConfig
from whet.errors import ConfigError
from whet.printable import printable
from whet.progress import say
from whet.storage.commit import whole_folder
from whet.storage.places import user_path

LANGUAGE = re.compile(r"[a-z]{2,3}|multilingual|code")


def bundle_command(config: BundleConfig) -> None:
    """`whet bundle`: write the folder, print what is open in it."""
    folder, openness, root = make_bundle(config)
    width = max(len(part.name) for part in openness.parts)
    for part in openness.parts:
        licence = part.licence or "licence unknown"
        print(f"{part.name:<{width}}  {part.state}: {part.where} ({licence})")
    for line in openness.sentences:
        print(line)
    print(f"root {root}")
    checked = f"whet verify {folder}" + (" key=PUBLIC_KEY" if config.sign is not None else "")
    say(f"Bundle: {folder}\nCheck it: {checked}")


def make_bundle(config: BundleConfig) -> tuple[Path, Openness, str]:
    """Write the bundle; its folder, what is open in it, the root of its hash tree.

    ConfigError for options that cannot be, CheckpointError for a run that is not done or damaged,
    DataError where data have changed since.
    """
    facts = read_facts(Path(config.run))
    target = Path(config.output) if config.output else facts.folder / "bundle"
    if target.exists():
        raise ConfigError(f"{target} exists already. Move it away, or choose another output.")
    signer = None if config.sign is None else signer_of(config.sign)
    with naming_damage(facts.folder):
        openness, root = _publish(facts, config, target, signer)
    return target, openness, root


def _publish(facts: Facts, config: BundleConfig, target: Path, signer: Any) -> tuple[Openness, str]:
    """Write it, whole or not at all."""
    licences = licences_of(facts, config)
    openness = openness_of(facts, config, licences["training data"], licences["base weights"])
    language = checked_language(config.language)
    copies = copies_of(facts, config, licences)
    results = {
        "measures": facts.metrics,
        "spread": spread_of(facts, config.spread_of),
        "seconds": facts.environment["seconds"],
        "joules": facts.environment["joules"] or "not measured",
        "openness": openness.to_dict(),
    }
    with whole_folder(target) as draft:
        write_copies(copies, draft)
        _write_training(facts, draft / "training")
        source = config.data_source
        croissant_record = croissant.croissant_of(
            facts, licences["training data"].expression, source=source
        )
        _write(
            draft / croissant.NAME,
            json.dumps(croissant_record, indent=1, ensure_ascii=False) + "\n",
        )
        _write(draft / "README.md", bundle_card(facts, openness, licences, results, language))
        statement = statement_of(facts, draft, results)
        _write(draft / NAME, spelled(statement))
        refuse_private(facts, draft)
        read_statement(draft)  # what could not be verified is not published
        if signer is not None:
            sign_bundle(draft, signer)
    return openness, statement["predicate"]["whet_tree"]["root"]


def licences_of(facts: Facts, config: BundleConfig | PushConfig) -> dict[str, Licence]:
    """The licences of what made the weights, as given or as their files state them."""
    return {
        "training data": licence_of(
            "data_licence", config.data_licence, _licence_statements(facts, "data")
        ),
        "base weights": licence_of(
            "base_licence", config.base_licence, _licence_statements(facts, "model")
        ),
    }


def checked_language(codes: list[str]) -> list[str]:
    """The codes, as hubs know languages; ConfigError for what is none."""
    for code in codes:
        if not LANGUAGE.fullmatch(code):
            raise ConfigError(
                f"language={printable(code)} is no code of a language. Write two or three letters "
                "of ISO 639, such as en, de or deu, or multilingual."
            )
    return codes


def _licence_statements(facts: Facts, part: str) -> list[dict[str, str]]:
    statements: list[dict[str, str]] = facts.origin[part]["statements"]
    return statements


def _write_training(facts: Facts, folder: Path) -> None:
    """What made the run, as files of their own."""
    import yaml

    text = yaml.safe_dump(facts.config, sort_keys=False, allow_unicode=True)
    _write(folder / "config.yaml", text)
    _write(folder / "packages.txt", "".join(f"{package}\n" for package in facts.origin["packages"]))
    comparison = json.dumps(facts.comparison, indent=1, ensure_ascii=False)
    _write(folder / "comparison.json", comparison + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def refuse_private(facts: Facts, draft: Path) -> None:
    """A last look: no folder of this machine may be in what is published. ConfigError names it."""
    private = {str(facts.folder.resolve()), str(user_path("~").resolve()) + "/"}
    named = (facts.private["data"]["path"], facts.private["model"]["name"])
    private |= {str(user_path(name).resolve()) for name in named if Path(name).exists()}
    # A home like / or /a would be found everywhere.
    marks = [mark.encode() for mark in private if len(mark) > 4]
    for path in sorted(draft.rglob("*")):
        copied = path.relative_to(draft).parts[0] in (DATA, BASE, CODE)
        if copied or not path.is_file() or path.suffix == ".safetensors":
            continue
        content = _with_metadata(path)
        if any(mark in content for mark in marks):
            name = path.relative_to(draft).as_posix()
            raise ConfigError(
                f"{name} would publish a path of this machine. Look for it in the run folder or "
                "the base model's files, and name models and data by what others know them by."
            )


def _with_metadata(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pyarrow.parquet as pq

    return b" ".join((pq.read_schema(path).metadata or {}).values())
