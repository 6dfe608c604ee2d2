"""A version of the model that is served, with the corpus as it sees it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from whet.config import EncodeConfig
from whet.data.load import Dataset
from whet.errors import ConfigError
from whet.evaluation.lexical.weight import count_words
from whet.feedback.serve.searcher import Searcher
from whet.model.encoder import Encoder
from whet.model.inference import encode_tokens
from whet.model.towers import Towers, open_model
from whet.printable import printable
from whet.run.folder import model_of
from whet.serving.batches import Batches, Busy, Encode
from whet.serving.payloads import SearchAsked

Hit = tuple[str, float, str]  # id, score and text of a document
KINDS = ("query", "document")
SEARCH_S = 0.1  # a guess, for who is told to ask again


@dataclass(frozen=True)
class ServerSetting:
    """What all versions of a server have in common."""

    data: Dataset | None  # without one nothing is searched
    encode: EncodeConfig
    words: str  # as `words=` of whet search
    most_waiting: int  # texts, and searches
    encoded: Callable[[int, float], None]  # is told texts and seconds of each batch


class Served:
    """One version: vectors of texts, and searches."""

    def __init__(self, name: str, setting: ServerSetting, before: Served | None = None) -> None:
        """Open the model or run `name` and encode what of the corpus the store lacks. Where the
        documents' encoder is that of `before`, their vectors are, too.

        Raises what opening a model does, and ConfigError for a model that reads no texts and where
        the vectors of `before` have another dimension: its clients may have kept some.
        """
        self.name = name
        model = open_model(model_of(name))
        if "texts" not in model.side("query").reads:
            raise ConfigError(
                f"{printable(name)} reads pictures, and whet serve takes texts. Search with it by "
                "whet search."
            )
        if before is not None and model.dimension != before.dimension:
            raise ConfigError(
                f"{printable(name)} gives vectors of {model.dimension} numbers, and the model that "
                f"is served {before.dimension}. Serve it by a server of its own."
            )
        if setting.data is not None:
            count_words(model, setting.words, setting.data.corpus)
        self.version = version_of(model)
        self.dimension: int = model.dimension
        self.needs_kind = _differ(model)
        self.batches = Batches(
            _encoding(model, setting.encode),
            most_waiting=setting.most_waiting,
            encoded=setting.encoded,
        )
        self._most = setting.most_waiting
        self._searches = 0  # that wait or go on
        self._thread = ThreadPoolExecutor(1, "search")
        self._model, self._data = model, setting.data
        self._searcher: Searcher | None = None
        if setting.data is not None:
            same = before is not None and before.documents_print == self.documents_print
            known = before.corpus if before is not None and same else None
            self._searcher = Searcher(0, model, setting.data, setting.encode, corpus=known)

    @property
    def documents_print(self) -> str:
        """The fingerprint of what makes the documents' vectors."""
        return self._model.side("document").fingerprint()

    @property
    def corpus(self) -> np.ndarray | None:
        """The documents' vectors, float32 [N, D]."""
        return None if self._searcher is None else self._searcher.corpus

    async def search(self, asked: SearchAsked) -> list[Hit]:
        """The best documents.

        Raises Busy, and ConfigError where no data are served or one of `asked.ids` is unknown.
        """
        if self._searcher is None or self._data is None:
            raise ConfigError("No documents are served. Start whet serve with data=PATH.")
        if self._searches >= self._most:
            raise Busy(max(1, round(self._searches * SEARCH_S)))
        self._searches += 1
        try:
            query_1D, _ = await self.batches.vectors([asked.query], "query")
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._thread, _found, self._searcher, self._data, asked, query_1D
            )
        finally:
            self._searches -= 1

    async def found_ids(self, several: Sequence[SearchAsked]) -> list[list[str]]:
        """Ids of the best documents of each search. Those without filters are encoded together, and
        found by one pass over the documents. Raises what `search` does.
        """
        plain = [asked for asked in several if asked.ids is None and not asked.not_ids]
        found: dict[int, list[str]] = {}
        if plain and self._searcher is not None and self._data is not None:
            queries, most = [asked.query for asked in plain], max(asked.k for asked in plain)
            query_QD, _ = await self.batches.vectors(queries, "query")
            _, row_QK = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._searcher.best, queries, query_QD, most
            )
            for asked, row_K in zip(plain, row_QK, strict=True):
                found[id(asked)] = self._data.corpus.ids_of(row_K[row_K >= 0][: asked.k])
        for asked in several:
            if id(asked) not in found:
                found[id(asked)] = [doc_id for doc_id, _, _ in await self.search(asked)]
        return [found[id(asked)] for asked in several]


def version_of(model: Encoder | Towers) -> str:
    """What tells a version from others: weights, recipe, and how much words count."""
    spelled = json.dumps([model.fingerprint(), model.words, model.language])
    return hashlib.sha256(spelled.encode()).hexdigest()[:16]


def _differ(model: Encoder | Towers) -> bool:
    """Whether a text's vector depends on its being a query or a document."""
    query, document = (model.side(kind) for kind in KINDS)
    prompts = {
        side.recipe.prompt(kind) for side, kind in zip((query, document), KINDS, strict=True)
    }
    return len(prompts) > 1 or query.fingerprint() != document.fingerprint()


def _encoding(model: Encoder | Towers, config: EncodeConfig) -> Encode:
    def encode(texts: list[str], kind: str) -> tuple[np.ndarray, np.ndarray]:
        side = model.side(kind)
        tokens = side.tokenize(texts, kind)
        return encode_tokens(side, tokens, config), np.array([len(row) for row in tokens])

    return encode


def _found(
    searcher: Searcher, data: Dataset, asked: SearchAsked, query_1D: np.ndarray
) -> list[Hit]:
    if asked.ids is None and not asked.not_ids:
        score_1K, row_1K = searcher.best([asked.query], query_1D, asked.k)
    else:
        rows_M = _rows(data, asked)
        if not len(rows_M):
            return []
        score_1K, row_1K = searcher.best_among([asked.query], query_1D, rows_M, asked.k)
    found = row_1K[0] >= 0
    rows = row_1K[0][found]
    names = data.corpus.ids_of(rows), score_1K[0][found].tolist(), data.corpus.texts(rows)
    return list(zip(*names, strict=True))


def _rows(data: Dataset, asked: SearchAsked) -> np.ndarray:
    """Corpus rows of the documents that may be found, ascending."""
    rows_M = np.arange(len(data.corpus))
    if asked.ids is not None:
        rows_M = data.corpus.rows_of(asked.ids)
        unknown = [id_ for id_, row in zip(asked.ids, rows_M.tolist(), strict=True) if row < 0]
        if unknown:
            raise ConfigError(f"ids: there is no document {printable(unknown[0])!r}.")
        rows_M = np.unique(rows_M)
    return np.setdiff1d(rows_M, data.corpus.rows_of(asked.not_ids))
