"""A refresh's searches on a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pretend_cuda import Gpu

from whet.config import (
    DataConfig,
    FitConfig,
    MiningConfig,
    ModelConfig,
    RefreshConfig,
    SelectConfig,
)
from whet.data.load import load_dataset
from whet.mining.search import windowed_search
from whet.mining.search.backend import search_task
from whet.mining.search.gpu import corpus_kept
from whet.model.encoder import Encoder
from whet.refresh import Refresher
from whet.run.job import job_with_data
from whet.types import Negatives


def test_a_corpus_is_sent_once_for_all_searches_of_a_block(gpu: Gpu) -> None:
    """And again after it: nothing is kept beyond the block."""
    corpus_ND = np.random.default_rng(0).standard_normal((128, 32)).astype(np.float32)
    task = search_task(corpus_ND[:2], corpus_ND)

    def sent(times: int) -> float:
        """Corpora that went to the GPU for so many searches."""
        before = gpu.moved["", "to device"]
        found = [windowed_search(task, 3, "gpu").top for _ in range(times)]
        assert all(np.array_equal(top.rows_Qk, found[0].rows_Qk) for top in found)
        return (gpu.moved["", "to device"] - before) / corpus_ND.nbytes

    with corpus_kept():
        assert 1 <= sent(2) < 2
        assert sent(1) < 1
    assert sent(2) >= 2


def mined(model: Path, data: Path, folder: Path, scope: str, backend: str) -> list[Negatives]:
    """Negatives of the start and of a refresh with other weights, and what the probe would take."""
    folder.mkdir()
    config = FitConfig(
        select=SelectConfig("last"),
        data=DataConfig(path=str(data)),
        model=ModelConfig(name=str(model)),
        mining=MiningConfig(num_negatives=2, backend=backend),
        refresh=RefreshConfig(policy="overlap", scope=scope, candidates=20, max_share=0.9),
    )
    refresher = Refresher(job_with_data(config, folder, load_dataset(str(data))))
    encoder = Encoder.load(str(model)).to("cuda").eval()
    first = refresher.first(encoder).negatives
    refresher.start(encoder)
    for weight in encoder.parameters():
        weight.data *= 1.25 if weight.ndim > 1 else 0.75
    return [first, refresher.again(encoder, 5, first).mined.negatives]


@pytest.mark.slow  # the kernels' interpreter takes its time
@pytest.mark.parametrize("scope", [pytest.param("all", marks=pytest.mark.nightly), "mapped"])
def test_a_refresh_on_the_gpu_finds_what_one_on_the_cpu_finds(
    gpu: Gpu, tiny_model: Path, tiny_data: Path, tmp_path: Path, scope: str
) -> None:
    """Also where vectors change between two of its searches."""
    by_gpu, by_cpu = (
        mined(tiny_model, tiny_data, tmp_path / backend, scope, backend)
        for backend in ("gpu", "blas")
    )
    for found, wanted in zip(by_gpu, by_cpu, strict=True):
        assert np.array_equal(found.doc_rows_RK, wanted.doc_rows_RK)
        assert np.array_equal(found.scores_RK, wanted.scores_RK, equal_nan=True)
