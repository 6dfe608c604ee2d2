"""`whet bundle`: one folder to publish, made of a finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from whet.bundle import croissant
from whet.bundle.card import bundle_card
from whet.bundle.facts import Facts, read_run
from whet.bundle.licences import Licence, licence_of
from whet.bundle.openness import CODE_LICENCE, Openness, may_pass_on, openness_of
from whet.bundle.provenance import BASE, CODE, DATA, NAME, spelled, statement_of
from whet.bundle.spread import spread_of
from whet.checkpoint import MANIFEST, file_sha256, verify_folder, whole_folder
from whet.config import BundleConfig, ModelConfig
from whet.data.detect import find_source
from whet.errors import ConfigError, DataError
from whet.model.folder import find_folder
from whet.origin import code_folder
from whet.progress import say
from whet.statements import states_licence

KEPT = ("metrics.json", "per_query.jsonl", "train_log.jsonl")  # ids and numbers, no texts


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
    say(f"Bundle: {folder}\nCheck it: whet verify {folder}")


def make_bundle(config: BundleConfig) -> tuple[Path, Openness, str]:
    """Write the bundle; its folder, what is open in it, the root of its hash tree.

    ConfigError for options that cannot be, CheckpointError for a run that is not done or damaged,
    DataError where data have changed since.
    """
    facts = read_run(Path(config.run))
    target = Path(config.output) if config.output else facts.folder / "bundle"
    if target.exists():
        raise ConfigError(f"{target} exists already. Move it away, or choose another output.")
    verify_folder(facts.folder / "model")
    licences = {
        "training data": licence_of("data_licence", config.data_licence, _said(facts, "data")),
        "base weights": licence_of("base_licence", config.base_licence, _said(facts, "model")),
    }
    openness = openness_of(facts, config, licences["training data"], licences["base weights"])
    copies = _copies(facts, config, licences)
    results = {
        "measures": facts.metrics,
        "spread": spread_of(facts, config.spread_of),
        "seconds": facts.environment["seconds"],
        "joules": facts.environment["joules"] or "not measured",
        "openness": openness.to_dict(),
    }
    with whole_folder(target) as draft:
        _copy(copies, draft)
        _write_training(facts, draft / "training")
        source = config.data_source
        said = croissant.croissant_of(facts, licences["training data"].expression, source=source)
        _write(draft / croissant.NAME, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
        _write(draft / "README.md", bundle_card(facts, openness, licences, results))
        statement = statement_of(facts, draft, results)
        _write(draft / NAME, spelled(statement))
        _refuse_private(facts, draft)
    return target, openness, statement["predicate"]["whet_tree"]["root"]


def _said(facts: Facts, part: str) -> list[dict[str, str]]:
    return facts.origin[part]["statements"]


def _copies(
    facts: Facts, config: BundleConfig, licences: dict[str, Licence]
) -> list[tuple[Path, str]]:
    """What is copied as it is: files, and their names in the bundle."""
    unknown = [name for name in config.include if name not in (DATA, BASE, CODE)]
    if unknown:
        raise ConfigError(f"include={unknown[0]} is unknown. It takes data, base and code.")
    model = facts.folder / "model"
    found = [
        (path, path.relative_to(model).as_posix())
        for path in sorted(model.rglob("*"))
        # the bundle has a card and a record of its own
        if path.is_file() and path.relative_to(model).as_posix() not in ("README.md", MANIFEST)
    ]
    negatives = sorted((facts.folder / "negatives").glob("*.parquet"))
    found += [(path, f"training/negatives/{path.name}") for path in negatives]
    found += [(facts.folder / name, f"training/{name}") for name in KEPT]
    if DATA in config.include:
        _may_include(DATA, "data_licence", licences["training data"])
        found += _data_copies(facts)
    if BASE in config.include:
        _may_include(BASE, "base_licence", licences["base weights"])
        root = find_folder(ModelConfig(**facts.private["model"]))
        files = {name: said["sha256"] for name, said in facts.origin["model"]["files"].items()}
        found += _unchanged(BASE, root, files)
    if CODE in config.include:
        assert may_pass_on(CODE_LICENCE)
        for name, digest in facts.origin["code"]["files"].items():
            package, _, inner = name.partition("/")
            path = code_folder(package) / inner
            found += _checked(path, digest, name, f"{CODE}/{name}")
    return found


def _may_include(part: str, option: str, licence: Licence) -> None:
    if may_pass_on(licence.expression):
        return
    reason = (
        f"its licence is unknown ({licence.source})"
        if licence.expression is None
        else f"{licence.expression} is not known to permit passing it on"
    )
    raise ConfigError(
        f"include={part}: {reason}. Leave it out, or if you know better say {option}=SPDX."
    )


def _data_copies(facts: Facts) -> list[tuple[Path, str]]:
    """The data's files, and those beside them that state their licence."""
    if facts.origin["data"]["hub"]:
        raise ConfigError(
            "include=data: these data are the hub's, and no files of ours. Leave it out: they are "
            "referenced by name."
        )
    path = facts.private["data"]["path"]
    root = find_source(path).root
    files = {file["name"]: file["sha256"] for file in facts.origin["data"]["files"]}
    beside = sorted(root.iterdir()) if Path(path).is_dir() else []
    stated = [one for one in beside if one.is_file() and states_licence(one.name)]
    extra = [(one, f"{DATA}/{one.name}") for one in stated if one.name not in files]
    return [*_unchanged(DATA, root, files), *extra]


def _unchanged(kind: str, root: Path, files: dict[str, str]) -> list[tuple[Path, str]]:
    found = []
    for name, digest in files.items():
        found += _checked(root / name, digest, name, f"{kind}/{name}")
    return found


def _checked(path: Path, digest: str, name: str, target: str) -> list[tuple[Path, str]]:
    if not path.is_file() or file_sha256(path) != digest:
        raise DataError(
            f"{path} has changed since the run: {name} is not what the model was made from. "
            f"Restore it, or leave {target.partition('/')[0]} out of include."
        )
    return [(path, target)]


def _copy(copies: list[tuple[Path, str]], draft: Path) -> None:
    for path, name in copies:
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _write_training(facts: Facts, folder: Path) -> None:
    """What made the run, as files of their own."""
    import yaml

    text = yaml.safe_dump(facts.config, sort_keys=False, allow_unicode=True)
    _write(folder / "config.yaml", text)
    _write(folder / "packages.txt", "".join(f"{one}\n" for one in facts.origin["packages"]))
    said = json.dumps(facts.comparison, indent=1, ensure_ascii=False)
    _write(folder / "comparison.json", said + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _refuse_private(facts: Facts, draft: Path) -> None:
    """A last look: no folder of this machine may be in what is published. ConfigError names it."""
    private = {str(facts.folder.resolve()), str(Path.home().resolve()) + "/"}
    named = (facts.private["data"]["path"], facts.private["model"]["name"])
    private |= {str(Path(name).expanduser().resolve()) for name in named if Path(name).exists()}
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
