"""A language model for the tests of this folder."""

from collections.abc import Iterator

import pytest
from scripted_model import ScriptedModel


@pytest.fixture
def language_model(tmp_path, monkeypatch) -> Iterator[ScriptedModel]:
    """A scripted model, and an empty folder of answers. Skipped without the extra `generate`."""
    pytest.importorskip("openai")
    kept = tmp_path / "kept"
    monkeypatch.setattr("whet.adaptation.generate.shards.answers_folder", lambda: kept)
    model = ScriptedModel()
    yield model
    model.server.shutdown()
    model.server.server_close()
