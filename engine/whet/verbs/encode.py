"""`whet encode`: vectors of a data set's documents or queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whet.config import EncodeJobConfig
from whet.config.ranges import check_options
from whet.data.load import Dataset, open_dataset
from whet.data.table import TextTable
from whet.encoding.lengths import tell_cut_documents
from whet.errors import DataError
from whet.model.folder import find_folder
from whet.printable import printable
from whet.run.early import check_device
from whet.run.output import facts_of, refuse_taken, whole_output


def encode_command(config: EncodeJobConfig, fill: Callable[[], None] = lambda: None) -> None:
    """`whet encode`: vectors.npy (float32 [N, D]) and ids.txt, row by row. `fill` may encode into
    the store, elsewhere, what it lacks.
    """
    data, table = _data_and_table(config)
    check_device(config.encode)
    find_folder(config.model)
    if config.kind == "document":
        tell_cut_documents(data, config.model)
    refuse_taken(config.output, facts_of("encode", config, data.digest))
    _encode(config, data, table, fill)


def _encode(
    config: EncodeJobConfig, data: Dataset, table: TextTable, fill: Callable[[], None]
) -> None:
    """What is left when nothing is refused."""
    # torch is loaded here: what was refused before took no second
    from whet.encoding.store import embeddings_folder
    from whet.encoding.table import encode_table
    from whet.model.encoder import weights_unchanged
    from whet.model.towers import open_model, tell_vectors_alone

    encoder = open_model(config.model)
    tell_vectors_alone(encoder)
    with weights_unchanged():
        facts = facts_of("encode", config, data.digest, encoder.fingerprint())
        with whole_output(config.output, f"{data.name}_encode", facts) as output:
            fill()
            store = embeddings_folder()
            embeddings = encode_table(
                encoder, table, kind=config.kind, store=store, config=config.encode
            )
            vectors = output.draft / "vectors"
            vectors.mkdir()
            np.save(vectors / "vectors.npy", embeddings.vectors)
            names = "".join(f"{name}\n" for name in embeddings.ids)
            (vectors / "ids.txt").write_text(names, encoding="utf-8")
    place = output.folder / "vectors"
    print(f"{printable(place)}: {len(embeddings):,} vectors of {encoder.dimension} dimensions")


def table_to_encode(config: EncodeJobConfig) -> TextTable:
    """The texts of the kind asked for. DataError if there are none."""
    return _data_and_table(config)[1]


def _data_and_table(config: EncodeJobConfig) -> tuple[Dataset, TextTable]:
    check_options(config)
    data = open_dataset(config.data)
    table = data.queries if config.kind == "query" else data.corpus
    if not len(table):
        raise DataError(f"{data.path} holds no text of kind {config.kind}. Nothing to encode.")
    return data, table
