"""Which format a path holds, told by its content."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from whet.config import DataConfig
from whet.data.readers import beir, hub, ir_sets
from whet.data.readers.files import arrays, picture_folder, text_folder
from whet.data.readers.lines import read_some
from whet.data.readers.records import Source, files_under, hidden
from whet.data.readers.rows import row_files
from whet.data.readers.rows.kinds import is_row_file, split_name
from whet.errors import ConfigError, DataError
from whet.printable import printable
from whet.storage.places import user_path

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_OFFICE = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "Save its table as csv (UTF-8)"),
    **dict.fromkeys((".docx", ".doc", ".odt", ".pptx", ".pdf"), "Give the folder it lies in"),
}
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# what lies beside data and is none of it
_BESIDE = ("readme", "license", "licence", "source.md", "citation", "notice", "changelog")
_DESCRIBES = ("dataset_info", "dataset_infos", "croissant", "metadata.json", "datapackage.json")


def find_source(path: str, config: DataConfig | None = None) -> Source:
    """The data at `path` (file, folder or the name of a set), not read yet. `config` names columns.

    DataError if there is none or it is of no known format, ConfigError for an empty path and for
    columns that are named where there are none, EnvironmentRefused if it would be on the hub, which
    cannot be reached.
    """
    config = config or DataConfig(path)
    source = _found(path, config)
    named = config.query or config.positive or config.negatives
    if named and source.kind in ("BEIR folder", "text files", "ir_datasets"):
        raise ConfigError(
            f"{printable(path)}: is a {source.kind}, which has no columns to name. Leave out "
            "data.query, data.positive and data.negatives."
        )
    labels_apply = source.labelled or source.pictures or config.label in (None, "off")
    if not labels_apply:
        raise ConfigError(
            f"{printable(path)}: is a {source.kind} with its own judgments. Leave out data.label."
        )
    if (source.pictures or source.labelled) and config.passages != "off":
        what = "pictures" if source.pictures else "texts with classes"
        raise ConfigError(
            f"{printable(path)}: holds {what}, which are not cut. Leave out data.passages."
        )
    how = (config.query, config.positive, config.negatives, config.relevant_from)
    cut = config.passages != "off"
    if any(part is not None for part in how) or cut:
        fingerprint = f"{source.fingerprint} {how} {config.passages}"
        source = replace(source, fingerprint=fingerprint, passages=cut)
    return source


def _found(path: str, config: DataConfig) -> Source:
    if not path.strip():
        raise ConfigError("data is empty. Give a folder, a file or a name; data=. is this folder.")
    place = user_path(path)
    if place.is_file():
        if place.suffix.lower() == arrays.ENDING:
            return arrays.source_of_arrays(place, labels=config.label != "off")
        _refuse_archive(place)
        return row_files.source_of_file(place, config)
    if place.is_dir():
        return _folder(place, config)
    if path.startswith(ir_sets.PREFIXES):
        return ir_sets.source_of_name(path)
    _refuse_address(path)
    near = _near(place)
    if near or not hub.NAME.match(path) or path.startswith(".") or _is_under_a_folder(path):
        hint = f"Did you mean {' or '.join(map(printable, near))}?" if near else "Check the path."
        raise DataError(f"{printable(path)}: no such file or folder. {hint}")
    return hub.source_of_name(path, config)


def _folder(root: Path, config: DataConfig) -> Source:
    source = (
        hub.source_of_folder(root, config)
        or beir.source_of(root, config)
        or row_files.source_of_folder(root, config)
        or _inner_folder(root, config)
        or picture_folder.source_of(root, labels=config.label != "off")
        or text_folder.source_of(root)
    )
    if source is None:
        names = sorted(path.name for path in root.iterdir() if not hidden(path))[:8]
        held = f"holds {', '.join(map(printable, names))}" if names else "is empty"
        raise DataError(
            f"{printable(root)}: {held}, no format known here. Give it corpus.jsonl, queries.jsonl"
            " and qrels/train.tsv, or train.jsonl with query and positive, or texts (.txt, .md) or "
            "pictures (.png, .jpg)."
        )
    return replace(source, left_out=_left_out(root, source.files))


def _inner_folder(root: Path, config: DataConfig) -> Source | None:
    """Row files one folder down, as a clone of a hub data set has them: in data/, or in the folder
    of its one config, or of each split.
    """
    holding = [
        path
        for path in sorted(root.iterdir())
        if path.is_dir() and not hidden(path) and any(map(is_row_file, path.iterdir()))
    ]
    if not holding:
        return None
    if all(split_name(path.name) in ("train", "dev", "test") for path in holding):
        splits = {
            split_name(folder.name): [p for p in sorted(folder.iterdir()) if is_row_file(p)]
            for folder in holding
        }
        return row_files.source_of_files(root, splits, config)
    if len(holding) > 1:
        names = ", ".join(printable(path.name) for path in holding)
        raise DataError(
            f"{printable(root)}: holds several data sets ({names}). Give one of them: "
            f"data={printable(root / holding[0].name)}"
        )
    return row_files.source_of_folder(holding[0], config)


def _left_out(root: Path, read: tuple[Path, ...]) -> tuple[str, ...]:
    """The names of the files that are not read, without those that describe the data."""
    taken = set(read)
    return tuple(
        path.relative_to(root).as_posix()
        for path in files_under(root)
        if path not in taken and not path.name.lower().startswith((*_BESIDE, *_DESCRIBES))
    )


def _refuse_archive(path: Path) -> None:
    head = read_some(path, 512)
    if path.suffix.lower() in _OFFICE:
        raise DataError(f"{printable(path)}: is an office file. {_OFFICE[path.suffix.lower()]}.")
    packed = head.startswith((b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"))
    if packed or head[257:262] == b"ustar" or path.name.lower().endswith(_ARCHIVES):
        raise DataError(
            f"{printable(path)}: is an archive. Unpack it and give the folder or file inside."
        )


def _refuse_address(path: str) -> None:
    """DataError for what is no path: nothing is fetched but from the hub, by its names."""
    if path.startswith("hf://datasets/"):
        name = "/".join(path.split("/")[3:5])
        raise DataError(f"{printable(path)}: is an address. Give the set's name: {printable(name)}")
    if _ADDRESS.match(path) or path == "-":
        what = "standard input" if path == "-" else "an address"
        raise DataError(
            f"{printable(path)}: is {what}, and data are read from files. Save them here, and give "
            "the file or folder."
        )


def _near(path: Path) -> list[str]:
    """Names beside `path` that are spelled nearly alike, as paths, at most three."""
    try:
        beside = os.listdir(path.parent)
    except OSError:
        return []
    return [str(path.parent / name) for name in get_close_matches(path.name, beside, 3, 0.6)]


def _is_under_a_folder(path: str) -> bool:
    """True for `data/x` where `data` is a folder here: then x was meant to be a path, not
    owner/name.
    """
    return "/" in path and Path(path).parent.is_dir()
