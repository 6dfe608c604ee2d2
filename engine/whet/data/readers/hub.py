"""Hugging Face datasets: a folder that `save_to_disk` wrote, or a name on the hub. Code in a
dataset is never run.

This is the only module that imports `datasets`, and only for names on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from whet.config import DataConfig
from whet.data.readers.beir import judged_fields
from whet.data.readers.lines import Row
from whet.data.readers.records import PackedRecords, Reading, Record, Source, hidden
from whet.data.readers.rows.arrow_files import arrow_rows, open_arrow, saved_splits
from whet.data.readers.rows.kinds import split_name
from whet.data.readers.rows.opened import Opened, looked_through
from whet.data.readers.rows.row_files import records_in
from whet.data.readers.values import judgment_of, picture_column, table_row
from whet.errors import DataError, EnvironmentRefused
from whet.printable import printable
from whet.version import install_line

NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?$")

ANSWER_S = 10  # of the hub, before it counts as out of reach

Parts = dict[str, Any]  # split -> datasets.Dataset


def source_of_folder(root: Path, config: DataConfig) -> Source | None:
    """A `save_to_disk` folder as a source, or None where it is none; pyarrow alone reads it."""
    splits = saved_splits(root)
    if splits is None:
        return None
    files = tuple(sorted(path for path in root.rglob("*") if path.is_file() and not hidden(path)))
    read = partial(_read_saved, root, splits, config)
    return Source(kind="Hugging Face folder", root=root, files=files, read=read, repeats="fine")


def _read_saved(
    root: Path, splits: dict[str, list[Path]], config: DataConfig, reading: Reading
) -> Iterator[Record | PackedRecords]:
    for raw, paths in splits.items():
        split = reading.split(split_name(raw), raw)
        for path in paths:
            name = path.relative_to(root).as_posix()
            opened = looked_through(open_arrow(path))
            yield from records_in(opened, name, split, reading, config)


def source_of_name(name: str, config: DataConfig) -> Source:
    """`name`, `owner/name`, each with `:config` and `@revision` as wanted, as a source.

    Configs `corpus` and `queries` (BEIR's and MTEB's layout) are read as such, with the judgments
    from config `default` or `qrels`, or from the dataset `<name>-qrels`. DataError if there is no
    such dataset, or it needs code of its own; EnvironmentRefused if the hub cannot be reached.
    """
    match = NAME.match(name)
    if match is None:
        raise DataError(
            f"{printable(name)}: is no dataset name. Write owner/name, :config and @revision."
        )
    repo, subset, revision = match["name"], match["config"], match["revision"]

    def load(repo: str, subset: str | None) -> Parts:
        return _opened(name, lambda: _datasets().load_dataset(repo, subset, revision=revision))

    with _cache_alone_if_unreached(repo):
        if subset is None and {"corpus", "queries"} <= (configs := _configs(name, repo, revision)):
            judged = next((known for known in ("default", "qrels") if known in configs), None)
            parts = {table: load(repo, table) for table in ("corpus", "queries")}
            parts["qrels"] = load(repo, judged) if judged else load(f"{repo}-qrels", None)
            return _hub_source(name, parts, partial(_read_beir, parts), "refuse")
        rows = load(repo, subset)
        source = _hub_source(name, {"": rows}, partial(_read, rows, config), "fine")
        if config.label in (None, "off"):
            return source
        columns = [column for data in rows.values() for column in data.column_names]
        pictures = picture_column(columns) is not None
        label = f"{source.fingerprint} label {config.label}"
        return replace(source, fingerprint=label, labelled=True, pictures=pictures)


@contextmanager
def _cache_alone_if_unreached(repo: str) -> Iterator[None]:
    """Ask the hub once; if nothing answers, only what was fetched before is looked at.

    `datasets` would ask six times, tell of each, and give up after half a minute.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    config = _datasets().config
    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    try:
        HfApi().dataset_info(repo, timeout=ANSWER_S)
    except (HfHubHTTPError, HFValidationError):  # an answer, or a wrong name: loading says so
        pass
    except Exception:  # of the client's library, which has changed twice
        constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


def _hub_source(
    name: str,
    parts: dict[str, Parts],
    read: Callable[[Reading], Iterator[Record | PackedRecords]],
    repeats: str,
) -> Source:
    prints = [data._fingerprint for opened in parts.values() for data in opened.values()]
    kind = "Hugging Face dataset"
    fingerprint = " ".join([name, *prints])
    root = Path(name)
    return Source(
        kind=kind, root=root, files=(), read=read, repeats=repeats, fingerprint=fingerprint
    )


def _read(parts: Parts, config: DataConfig, reading: Reading) -> Iterator[Record | PackedRecords]:
    for raw, data in parts.items():
        split = reading.split(split_name(raw), raw)
        classes = {
            name: tuple(map(str, feature.names))
            for name, feature in data.features.items()
            if isinstance(getattr(feature, "names", None), list)
        }
        opened = looked_through(Opened(partial(_rows, data), data.column_names, "row", classes))
        yield from records_in(opened, f"split {raw}", split, reading, config)


def _read_beir(parts: dict[str, Parts], reading: Reading) -> Iterator[Record]:
    for table in ("corpus", "queries"):
        for data in parts[table].values():
            base = reading.file(table, "row")
            for place, row in _rows(data, reading, base):
                text = table_row(row, table, reading, place)
                if text is not None:
                    yield text
    for raw, data in parts["qrels"].items():
        split = reading.split(split_name(raw), f"qrels {raw}")
        for place, row in _rows(data, reading, reading.file(f"qrels {raw}", "row")):
            judgment = judgment_of(judged_fields(row), split, reading, place)
            if judgment is not None:
                yield judgment


def _rows(data: Any, reading: Reading, base: int) -> Iterator[Row]:
    return arrow_rows(data.with_format("arrow").iter(1000), base, reading)


def _configs(name: str, repo: str, revision: str | None) -> set[str]:
    datasets = _datasets()
    names = _refusing(name, lambda: datasets.get_dataset_config_names(repo, revision=revision))
    return set(names)


def _opened(name: str, load: Callable[[], Any]) -> Parts:
    data = _refusing(name, load)
    return dict(data) if isinstance(data, dict) else {"train": data}


def _refusing(name: str, call: Callable[[], Any]) -> Any:
    """The call's result, its many errors made ours."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        return call()
    except DatasetNotFoundError as error:
        raise DataError(
            f"{printable(name)}: is no file, folder or public dataset on the hub. Check the name."
        ) from error
    except ConnectionError as error:
        raise EnvironmentRefused(
            f"{printable(name)}: is no file or folder here, and the Hugging Face hub cannot be "
            "reached. Check the path, or the network."
        ) from error
    except Exception as error:  # datasets raises what its many backends raise
        first = str(error).strip().split("\n")[0]
        remedy = "Give it with :config, or save it as jsonl or parquet"
        if "script" in first:
            remedy = "It needs code of its own, which is not run: try @refs/convert/parquet"
        raise DataError(
            f"{printable(name)}: cannot be opened ({printable(first)}). {remedy}."
        ) from error


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise EnvironmentRefused(
            "Hugging Face datasets are read with the package datasets. "
            f"Run `{install_line('hub')}`."
        ) from error
    return datasets
