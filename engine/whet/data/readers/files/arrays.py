"""Pictures as arrays of numpy (.npz), as MNIST and its like are handed round: `x_train`, `y_train`,
`x_test`, `y_test`, or `train_images`, `train_labels`, ...

Shape suffixes: N pictures, H rows and W columns of pixels, C colours.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from whet.data.readers.files.picture_folder import SPLITS
from whet.data.readers.records import Reading, Source, Text, labelled
from whet.data.readers.rows.kinds import split_name
from whet.errors import DataError
from whet.printable import printable

ENDING = ".npz"
_LABELS = {"y", "label", "labels", "target", "targets", "class", "classes"}
_REMEDY = "Give it x_train and y_train: uint8 pictures [N, H, W] or [N, H, W, 3], and their classes"


def source_of_arrays(path: Path, *, labels: bool) -> Source:
    """A file of arrays as a source; `labels`: those in it are classes, in which pictures answer
    each other. DataError for one whose arrays are no pictures.
    """
    named = _named(path)
    if not labels:
        named = {split: (pictures, None) for split, (pictures, _) in named.items()}
    has_labels = all(labels is not None for _, labels in named.values())
    return Source(
        kind="arrays of pictures",
        root=path.parent,
        files=(path,),
        read=partial(_read, path, named),
        fingerprint="classes" if has_labels else "",
        pictures=True,
        labelled=has_labels,
    )


def _named(path: Path) -> dict[str, tuple[str, str | None]]:
    """Of each split the names of its pictures and of its labels."""
    pictures: dict[str, str] = {}
    labels: dict[str, str] = {}
    with _opened(path) as arrays:
        for name in arrays.files:
            words = re.split(r"[_\W]+", name.lower())
            split = next((s for word in words if (s := split_name(word)) in SPLITS), "train")
            taken = labels if _LABELS & set(words) else pictures
            if split in taken:
                raise DataError(
                    f"{printable(path)}: {printable(taken[split])} and {printable(name)} are both "
                    f"of {split}. {_REMEDY}."
                )
            taken[split] = name
    if "train" not in pictures:
        raise DataError(f"{printable(path)}: holds no pictures of train. {_REMEDY}.")
    return {split: (name, labels.get(split)) for split, name in pictures.items()}


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        opened = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, error) from error
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise DataError(f"{printable(path)}: is one array without a name. {_REMEDY}.")
    return opened


def _read(path: Path, named: dict[str, tuple[str, str | None]], reading: Reading) -> Iterator[Text]:
    for split, (pictures, labels) in named.items():
        base = reading.file(f"{path.name} {pictures}", "picture")
        picture_N, label_N = _arrays(path, pictures, labels)
        for row, picture in enumerate(picture_N):
            label = None if label_N is None else str(label_N[row])
            text = Text("", f"{split}-{row:06d}", "", base + row + 1, _png(picture), label)
            yield from labelled(text, split if label is not None else "train")


def _arrays(path: Path, pictures: str, labels: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """A split's pictures, uint8 [N, H, W] or [N, H, W, C], and their classes [N]."""
    try:
        with _opened(path) as arrays:
            picture_N = arrays[pictures]
            label_N = None if labels is None else arrays[labels]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _damaged(path, error) from error
    shape = "x".join(map(str, picture_N.shape))
    flat = picture_N.ndim == 3 or (picture_N.ndim == 4 and picture_N.shape[3] in (1, 3, 4))
    if picture_N.dtype != np.uint8 or not flat:
        raise DataError(
            f"{printable(path)}: {printable(pictures)} is {picture_N.dtype} [{shape}]. {_REMEDY}."
        )
    if label_N is not None and (
        label_N.shape != picture_N.shape[:1] or label_N.dtype.kind not in "iuU"
    ):
        raise DataError(
            f"{printable(path)}: {printable(str(labels))} is {label_N.dtype} of {label_N.size:,}, "
            f"for {len(picture_N):,} pictures. {_REMEDY}."
        )
    return picture_N, label_N


def _damaged(path: Path, error: Exception) -> DataError:
    reason = printable(str(error))[:100] or type(error).__name__
    return DataError(f"{printable(path)}: cannot be read ({reason}). Download it again.")


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
