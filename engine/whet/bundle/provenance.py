"""provenance.json: what made a bundle, as an in-toto Statement with SLSA's provenance for a build,
and a hash tree over all of it.

in-toto Statement v1 (in-toto.io/Statement/v1) and SLSA provenance v1 (slsa.dev/provenance/v1) say
what the fields mean; those that begin with `whet_` are ours. A group of the tree is the sha256 of
lines `sha256  name`, sorted, as sha256sum prints them; the root is the sha256 of the groups' lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from whet.bundle.contents import contents_of
from whet.bundle.facts import Facts
from whet.bundle.schema import (
    BASE,
    BUILD,
    BUILDER,
    CODE,
    DATA,
    PREDICATE,
    STATEMENT,
    Misshapen,
    check_shape,
)
from whet.errors import CheckpointError
from whet.printable import printable
from whet.storage.commit import file_sha256
from whet.storage.readable import readable_json, readable_text

NAME = "provenance.json"
SIGNATURE = f"{NAME}.sig"  # made by whoever signs it, so not among what is signed
MODEL_SIGNATURE = "model.sig"  # the same, by OpenSSF model signing
OWN = (NAME, SIGNATURE, MODEL_SIGNATURE)  # the files of a bundle that it does not list
MOST_BYTES = 32 << 20  # of a record; that of 50 files and all of Whet's code has a tenth of 1 MiB
RNG = "torch.manual_seed(numpy.random.SeedSequence([seed, step])) before each step"


def statement_of(facts: Facts, draft: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The statement about the files of a draft bundle; `results` are the `whet_` fields besides the
    machine, what was measured and what is permitted.
    """
    origin = facts.origin
    files = {name: file_sha256(draft / name) for name in bundle_files(draft)}
    products = [name for name in files if name.startswith("training/")]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {"config": facts.config},
            "internalParameters": {
                "seeds": {**origin["seeds"], "rng": RNG},
                "determinism": origin["determinism"],
                "processes": origin["processes"],
                "changed_when_resumed": origin["changed"],
            },
            "resolvedDependencies": list(_dependencies(origin)),
        },
        "runDetails": {
            "builder": {
                "id": BUILDER,
                "version": {**facts.environment["versions"], "whet": origin["code"]["version"]},
            },
            "metadata": {"startedOn": origin["begun"]},
            "byproducts": [_described(name, files[name]) for name in products],
        },
        "whet_machine": origin["machine"],
        **{f"whet_{name}": value for name, value in results.items()},
    }
    statement = {
        "_type": STATEMENT,
        "subject": [_described(name, digest) for name, digest in files.items()],
        "predicateType": PREDICATE,
        "predicate": predicate,
    }
    predicate["whet_tree"] = tree_of(statement)
    return statement


def bundle_files(folder: Path) -> list[str]:
    """The names of a bundle's files, sorted, without the record of them and its signatures."""
    return [name for name in contents_of(folder).files if name not in OWN]


def _described(name: str, digest: str, /, **notes: Any) -> dict[str, Any]:
    annotations = {"annotations": notes} if notes else {}
    return {"name": name, "digest": {"sha256": digest}, **annotations}


def _dependencies(origin: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All inputs, each file by name; a copy of it in the bundle has the same name."""
    data, model, code = origin["data"], origin["model"], origin["code"]
    about = {name: data[name] for name in ("kind", "hub", "file", "documents", "queries", "splits")}
    yield _described(f"{DATA}: ids, texts and judgments", data["digest"], input=DATA, **about)
    for file in data["files"]:
        yield _described(f"{DATA}/{file['name']}", file["sha256"], input=DATA, bytes=file["bytes"])
    about = {name: model[name] for name in ("name", "local", "package", "revision")}
    yield _described(f"{BASE}: what decides a vector", model["fingerprint"], input=BASE, **about)
    for name, file in model["files"].items():
        yield _described(f"{BASE}/{name}", file["sha256"], input=BASE, bytes=file["bytes"])
    if code["kind"] == "checkout" and code["commit"]:
        digest = {"gitCommit": code["commit"]}
        if code["diff"]:
            digest["sha256"] = code["diff"]  # of the difference from that commit
        about = {"input": CODE, "diff": bool(code["diff"]), "new_files": code["new_files"]}
        yield {"name": f"{CODE}: commit", "digest": digest, "annotations": about}
    for name, digest in code["files"].items():
        yield _described(f"{CODE}/{name}", digest, input=CODE)


def copied(statement: dict[str, Any], kind: str) -> dict[str, str]:
    """The files of the bundle's copy of an input by their names in it, with the sha256 listed."""
    files = (
        (entry["name"].partition("/"), entry["digest"]["sha256"]) for entry in statement["subject"]
    )
    return {name: digest for (first, _, name), digest in files if first == kind and name}


def inputs_of(statement: dict[str, Any], kind: str) -> dict[str, str]:
    """The files of an input (data, base or code) by their names in it, with their sha256."""
    digests = {}
    for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if entry["name"].startswith(f"{kind}/"):
            digests[entry["name"].removeprefix(f"{kind}/")] = entry["digest"]["sha256"]
    return digests


def about_input(statement: dict[str, Any], kind: str) -> dict[str, Any]:
    """What is said of an input as a whole, its `digest` among it; empty where nothing is."""
    for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if entry["name"].startswith(f"{kind}: "):
            return {**entry["annotations"], "digest": entry["digest"].get("sha256")}
    return {}


def made_by(statement: dict[str, Any]) -> tuple[str, str | None]:
    """The version of Whet that did the run, and its commit where that was a checkout's."""
    version = statement["predicate"]["runDetails"]["builder"]["version"]["whet"]
    for entry in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if "gitCommit" in entry["digest"]:
            return version, entry["digest"]["gitCommit"]
    return version, None


def tree_of(statement: dict[str, Any]) -> dict[str, Any]:
    """The hash tree over a statement: of each group of files, and over the groups the root."""
    predicate = {k: v for k, v in statement["predicate"].items() if k != "whet_tree"}
    bare = json.dumps({**statement, "predicate": predicate}, sort_keys=True)
    lines = {"record": [("the rest of provenance.json", hashlib.sha256(bare.encode()).hexdigest())]}
    for entry in statement["subject"]:
        lines.setdefault(_group(entry["name"]), []).append(
            (entry["name"], entry["digest"]["sha256"])
        )
    for entry in predicate["buildDefinition"]["resolvedDependencies"]:
        digests = entry["digest"]  # a commit has one of its own kind
        named = digests["sha256"] if set(digests) == {"sha256"} else json.dumps(digests)
        group = f"input: {entry['annotations']['input']}"
        lines.setdefault(group, []).append((entry["name"], named))
    groups = {group: _combined(lines[group]) for group in sorted(lines)}
    return {"groups": groups, "root": _combined(groups.items())}


def _group(name: str) -> str:
    if name.startswith(f"{DATA}/") or name.startswith((f"{BASE}/", f"{CODE}/")):
        return f"copy: {name.partition('/')[0]}"
    if not name.startswith("training/"):
        return "model"
    part = name.split("/")[1]
    named = {"config.yaml": "config", "packages.txt": "lock", "negatives": "negatives"}
    return named.get(part, "logs")


def _combined(named: Iterable[tuple[str, str]]) -> str:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(named))
    return hashlib.sha256(text.encode()).hexdigest()


def spelled(statement: dict[str, Any]) -> str:
    """The text of provenance.json."""
    return json.dumps(statement, indent=1, ensure_ascii=False) + "\n"


def read_statement(folder: Path) -> dict[str, Any]:
    """The statement of a bundle, whole. CheckpointError if there is none, it was changed, or is not
    of the shape that `whet bundle` writes: names that lead out of the folder are refused here,
    before any file is opened.
    """
    path, again = folder / NAME, "Get the bundle again, or give a folder that `whet bundle` made."
    if path.is_symlink():
        raise CheckpointError(f"{printable(path)} is a link, and a bundle has none. {again}")
    text = readable_text(path, remedy=again, most=MOST_BYTES)
    statement: dict[str, Any] = readable_json(path, remedy=again)
    try:
        check_shape(statement, OWN)
    except Misshapen as error:
        raise CheckpointError(
            f"{printable(path)} is no record that `whet bundle` wrote, or was changed: {error}. "
            f"{again}"
        ) from error
    kept, tree = statement["predicate"]["whet_tree"], tree_of(statement)
    if kept != tree:
        groups = {**kept["groups"], **tree["groups"]}
        odd = [g for g in groups if kept["groups"].get(g) != tree["groups"].get(g)]
        raise CheckpointError(
            f"{printable(path)} was changed: {printable(' and '.join(odd[:3])) or 'the root'} of "
            "its hash tree is not as written. Get the bundle again."
        )
    # The tree covers values; white space or doubled keys could still say something else.
    if text != spelled(statement):
        raise CheckpointError(
            f"{printable(path)} was changed, in its spelling alone. Get the bundle again."
        )
    return statement
