"""A cross-encoder reads query and document together: slower and better than a dot product, for
rescoring candidates.

Shape suffixes: M pairs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from whet.config import EncodeConfig, MiningConfig, ModelConfig
from whet.errors import ConfigError
from whet.mining.propose import Rescore
from whet.model.folder import find_folder
from whet.model.loading import (
    check_vocabulary,
    library_errors,
    load_tokenizer,
    load_transformer,
    odd_tensor,
)
from whet.printable import printable
from whet.processes.world import concatenated, share, together
from whet.types import Texts

BATCH_TOKENS = 16_384  # tokens a forward pass, padding counted
BLOCK_PAIRS = 16_384  # pairs tokenised at a time


class CrossEncoder:
    """A Hugging Face sequence classifier with one output (a score) or two (the second is
    "relevant").

    One output goes through a sigmoid, as sentence-transformers does, unless the model's config says
    Identity; of two, the score is the probability of the second. So scores are mostly 0 to 1 and
    margins mean what they mean for cosines.
    """

    def __init__(
        self, name: str, *, device: str | None = None, option: str = "mining.cross_encoder"
    ) -> None:
        """Load it from a folder or a Hugging Face name, as `Encoder.load` does; code of its own it
        never runs. Raises ConfigError and EnvironmentRefused as that does, naming `option`.
        """
        from transformers import AutoModelForSequenceClassification

        from whet.processes.devices import choose_device, choose_precision

        folder = find_folder(ModelConfig(name=name), option)
        self._model: Any = load_transformer(folder, AutoModelForSequenceClassification)
        self._tokenizer: Any = load_tokenizer(folder)
        odd = odd_tensor(self._model)
        if odd:
            raise ConfigError(
                f"{option}={printable(name)}: its weights hold NaN or infinity, first "
                f"in {printable(odd)}. Fetch the model again, or give another."
            )
        outputs = self._model.config.num_labels
        if outputs not in (1, 2):
            raise ConfigError(
                f"{option}={printable(name)} has {outputs} outputs, a reranker has 1 "
                "or 2. Give another."
            )
        encode = EncodeConfig(device=device)
        self._device = choose_device(encode)
        # In 32 bits a GPU would do a tenth of the pairs per second.
        self._precision = choose_precision(encode, self._device)
        self._model.to(self._device).eval()
        with library_errors(folder):
            settings = getattr(self._model.config, "sentence_transformers", None) or {}
            self._raw = str(settings.get("activation_fn", "")).endswith("Identity")
            limit = getattr(self._model.config, "max_position_embeddings", 512)
            self._max_length = min(self._tokenizer.model_max_length, limit)
            rows = len(self._model.get_input_embeddings().weight)
            check_vocabulary(self._tokenizer, rows, folder)
            self.scores(["a first text"], ["another"])  # what fails at all fails here

    def scores(self, queries: list[str], documents: list[str]) -> np.ndarray:
        """Float32 [M] of the pairs (queries[m], documents[m]), in batches of like length."""
        return self._scored(queries, documents, self._activate)

    def logits(self, queries: list[str], documents: list[str]) -> np.ndarray:
        """The same before the sigmoid; of two outputs the log odds of the second."""
        return self._scored(queries, documents, _logit)

    def fingerprint(self) -> str:
        """A hash of all that decides a score except the texts: weights, tokenizer, length, device's
        precision.
        """
        import torch

        digest = hashlib.sha256(f"{self._max_length} {self._precision}".encode())
        digest.update(json.dumps(self._tokenizer.get_vocab(), sort_keys=True).encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
        return digest.hexdigest()

    def _scored(
        self, queries: list[str], documents: list[str], score: Callable[[Any], Any]
    ) -> np.ndarray:
        import torch

        from whet.processes.devices import casting

        encoded = self._tokenizer(
            queries, documents, truncation="longest_first", max_length=self._max_length
        )
        length_M = np.array([len(ids) for ids in encoded["input_ids"]])
        score_M = np.empty(len(queries), np.float32)
        # Longest first: batches hold little padding, and too little memory shows at once.
        order = np.argsort(-length_M, kind="stable")
        while len(order):
            batch = order[: max(1, BATCH_TOKENS // int(length_M[order[0]]))]
            order = order[len(batch) :]
            inputs = {name: [values[int(m)] for m in batch] for name, values in encoded.items()}
            padded = self._tokenizer.pad(inputs, return_tensors="pt").to(self._device)
            with torch.inference_mode(), casting(self._device, self._precision):
                logits_BO = self._model(**padded).logits.float()
            score_M[batch] = score(logits_BO).cpu().numpy()
        return score_M

    def _activate(self, logits_BO: Any) -> Any:
        if logits_BO.shape[1] == 2:
            return logits_BO.softmax(-1)[:, 1]
        return logits_BO[:, 0] if self._raw else logits_BO[:, 0].sigmoid()


def _logit(logits_BO: Any) -> Any:
    return logits_BO[:, -1] - logits_BO[:, 0] if logits_BO.shape[1] == 2 else logits_BO[:, 0]


def mining_rescorer(
    policy: MiningConfig,
    queries: Texts,
    corpus: Texts,
    query_rows_Q: np.ndarray,
    *,
    device: str | None = None,
) -> Rescore | None:
    """The `rescore` that `mine` takes under this policy; None where it names no cross-encoder.

    Query i of the mining is row `query_rows_Q[i]` of the table `queries`.
    """
    if policy.cross_encoder is None:
        return None
    model = CrossEncoder(policy.cross_encoder, device=device)

    def rescore(query_M: np.ndarray, doc_rows_M: np.ndarray) -> np.ndarray:
        own = share(len(query_M))  # every process has the same pairs before it
        return concatenated(together(lambda: scores_of(query_M[own], doc_rows_M[own])))

    def scores_of(query_M: np.ndarray, doc_rows_M: np.ndarray) -> np.ndarray:
        score_M = np.empty(len(query_M), np.float32)
        for start in range(0, len(query_M), BLOCK_PAIRS):
            block = slice(start, start + BLOCK_PAIRS)
            query_texts = queries.texts(query_rows_Q[query_M[block]])
            score_M[block] = model.scores(query_texts, corpus.texts(doc_rows_M[block]))
        return score_M

    return rescore
