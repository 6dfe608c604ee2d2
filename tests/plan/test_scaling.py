"""The simulation behind docs/scaling.md, and that the page shows what it prints."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scaling():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("scaling")


def test_the_page_shows_what_the_script_prints(scaling):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").splitlines()
    printed = scaling.tables(scaling.Job()).splitlines()
    assert [line for line in printed if line.startswith("|") and line not in page] == []


def test_one_process_neither_talks_nor_merges(scaling):
    job = scaling.Job()
    step, mined = scaling.step_s(1, 64, job), scaling.mine_s(1, job)
    assert step["vectors travel"] == step["gradients travel"] == step["slowest"] == 0
    assert mined["merge"] == mined["survivors travel"] == 0


def test_what_is_divided_is_divided(scaling):
    job = scaling.Job()
    one, eight = scaling.mine_s(1, job), scaling.mine_s(8, job)
    assert eight["search"] == pytest.approx(one["search"] / 8)
    assert scaling.mine_s(16, job)["merge"] == pytest.approx(eight["merge"])
    by_all = [scaling.mine_s(gpus, job, merge_by_all=True)["merge"] for gpus in (8, 16)]
    assert by_all[1] == pytest.approx(2 * by_all[0])


def test_the_loss_each_process_computes_whole_grows_with_the_square_of_the_batch(scaling):
    job = scaling.Job()
    small, large = (scaling.step_s(8, batch, job)["loss"] for batch in (64, 128))
    assert large == pytest.approx(4 * small)
    assert scaling.step_s(8, 64, job, loss_divided=True)["loss"] == pytest.approx(small / 8)


def test_options_change_the_job(scaling):
    job = scaling.job_of(["documents=1e6", "batch=128"])
    assert (job.documents, job.batch) == (1e6, 128)
