"""Pictures from a folder to a tuned model: read, judged, fitted, searched and shown in a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn import write_tiny
from PIL import Image

import whet
from whet.config import EncodeConfig, SearchConfig
from whet.config.groups import DataConfig
from whet.errors import ConfigError, DataError
from whet.model.towers import open_model
from whet.run.folder import data_of, model_of
from whet.serving.served import Served, ServerSetting
from whet.types import Picture
from whet.verbs.search import asked_item, best_of, search_command, searcher_of

CLASSES = 4
CHEAP = {
    "evaluate": {"measures": ["nDCG@10", "Rprec"], "depth": 20},
    "logger": {"name": "none"},
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four kinds of stripes: their width and way are the class, their colours are anything."""
    monkeypatch.setenv("WHET_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for kind in range(CLASSES):
            folder = tmp_path / "shop" / split / f"kind{kind}"
            folder.mkdir(parents=True)
            for number in range(count):
                stripes = (np.arange(32) + rng.integers(0, 8)) // (2 + 3 * (kind // 2)) % 2
                plane = np.tile(stripes, (32, 1)) if kind % 2 else np.tile(stripes, (32, 1)).T
                colours = rng.integers(0, 256, (2, 3))
                image = Image.fromarray(colours[plane].astype(np.uint8))
                image.save(folder / f"{number}.png")
    return tmp_path / "shop"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "vit", "vit")


def fitted(shop: Path, model: Path, **options: object) -> whet.Run:
    trainer = {"max_steps": 60, "batch_size": 16, "learning_rate": 3e-3, "max_epochs": 10}
    options = {"mining": {"num_negatives": 2}, "trainer": trainer, "seed": 1, **CHEAP, **options}
    return whet.fit(str(shop), model=str(model), **options)


def test_a_folder_of_pictures_becomes_a_better_model(shop, model):
    run = fitted(shop, model, select={"policy": "last"})
    main = run.comparison.main
    assert main.tuned > main.base + 0.1
    page = (run.folder / "report.html").read_text()
    assert "data:image/jpeg;base64," in page and "img-src data:" in page
    data = data_of(str(run.folder), None)
    assert data is not None and data.has_pictures
    opened = open_model(model_of(str(run.folder)))
    searcher = searcher_of(opened, data, SearchConfig(query="x"))
    asked = shop / "train/kind2/3.png"
    found = best_of(searcher, data, asked_item(str(asked), opened.reads), 3)
    assert found[0].doc_id == "train/kind2/3.png" and found[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.doc_id for hit in run.search(str(asked), k=3)] == [hit.doc_id for hit in found]
    again = open_model(str(run.folder / "model"))
    items = data.corpus.items(np.arange(5))
    np.testing.assert_array_equal(again.encode(items), searcher.corpus[:5])


def test_what_comes_back_is_chosen_by_pictures_held_out(shop, model):
    run = fitted(shop, model)
    told = (run.folder / "selection.json").read_text()
    assert "dev" in told and run.comparison.main.tuned >= run.comparison.main.base - 0.05


def test_a_run_of_pictures_is_made_again_to_the_bit(shop, model):
    one = fitted(shop, model, select={"policy": "last"}, trainer={"max_steps": 5, "batch_size": 16})
    two = fitted(shop, model, select={"policy": "last"}, trainer={"max_steps": 5, "batch_size": 16})
    assert open_model(str(one.folder / "model")).fingerprint() == (
        open_model(str(two.folder / "model")).fingerprint()
    )
    assert one.folder != two.folder


def test_what_is_asked_of_a_model_of_pictures_is_a_picture(shop, tmp_path):
    asked = shop / "train/kind0/0.png"
    assert asked_item(str(asked), ("pictures",)) == Picture(asked.read_bytes())
    assert asked_item("words", ("texts",)) == "words"
    assert asked_item("words", ("texts", "pictures")) == "words"
    with pytest.raises(ConfigError, match="give the file of one"):
        asked_item("words", ("pictures",))
    (tmp_path / "note.txt").write_text("words")
    with pytest.raises(DataError, match=r"note\.txt is no picture"):
        asked_item(str(tmp_path / "note.txt"), ("pictures",))


def test_texts_and_pictures_are_told_apart_before_any_work(shop, model, tmp_path, tiny_model):
    with pytest.raises(ConfigError, match="reads texts"):
        whet.fit(str(shop), model=str(tiny_model), **CHEAP)
    with pytest.raises(ConfigError, match="is for texts"):
        whet.adapt(str(shop), model=str(tiny_model))
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("a text")
    with pytest.raises(ConfigError, match="whet serve takes texts"):
        Served(str(model), ServerSetting(None, EncodeConfig(), "auto", 8, lambda *_: None))
    with pytest.raises(ConfigError, match="give the file of one"):
        search_command(SearchConfig(query="x", run=str(model), data=DataConfig(str(texts))))
