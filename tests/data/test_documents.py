"""Folders of documents: html, pdf and docx beside texts, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from whet.data.load import load_dataset
from whet.data.readers.files import documents
from whet.errors import EnvironmentRefused

PAGE = "<html><head><title>t</title><style>p {}</style></head><body><p>ants live</p><p>in hills</p>"
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/Resources<</Font<</F1 4 0 R>>>>/Contents 5 0 R>>endobj
4 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
5 0 obj<</Length 42>>stream
BT /F1 12 Tf 72 720 Td (bees make honey) Tj ET
endstream endobj
trailer<</Root 1 0 R/Size 6>>
startxref
0
%%EOF
"""


def folder(root: Path) -> Path:
    root = root / "texts"
    root.mkdir()
    (root / "NOTES.TXT").write_text("cats sleep")
    (root / "page.html").write_text(PAGE)
    return root


def test_html_pdf_and_docx_are_read(tmp_path: Path) -> None:
    for module, _ in documents.READERS.values():
        pytest.importorskip(module)
    from docx import Document

    root = folder(tmp_path)
    (root / "a.pdf").write_bytes(PDF)
    written = Document()
    written.add_paragraph("dogs bark")
    table = written.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "at", "night"
    written.save(str(root / "b.docx"))
    data = load_dataset(str(root), cache_dir=tmp_path / "cache")
    texts = dict(zip(data.corpus.ids, data.corpus.texts(range(4)), strict=True))
    assert texts == {
        "NOTES.TXT": "cats sleep",
        "page.html": "t\n\nants live\n\nin hills",
        "a.pdf": "bees make honey",
        "b.docx": "dogs bark\n\nat | night",
    }


def test_a_page_is_read_in_the_characters_that_it_names(tmp_path: Path) -> None:
    pytest.importorskip("html_text")
    root = folder(tmp_path)
    head = '<html><head><meta charset="iso-8859-1"></head><body>'
    (root / "page.html").write_bytes(f"{head}caf\u00e9</body></html>".encode("latin-1"))
    data = load_dataset(str(root), cache_dir=tmp_path / "cache")
    assert data.corpus.text(1) == "caf\u00e9"
    (root / "page.html").write_bytes("<p>caf\u00e9</p>".encode("latin-1"))
    data = load_dataset(str(root), on_problem="drop", cache_dir=tmp_path / "cache")
    assert data.findings.count("document that cannot be read") == 1


@pytest.mark.parametrize("ending", ["pdf", "docx"])
def test_a_document_that_cannot_be_read_is_a_problem(ending: str, tmp_path: Path) -> None:
    pytest.importorskip({"pdf": "pypdf", "docx": "docx"}[ending])
    root = folder(tmp_path)
    (root / f"a.{ending}").write_bytes(b"no such thing")
    data = load_dataset(str(root), on_problem="drop", cache_dir=tmp_path / "cache")
    assert data.findings.describe("document that cannot be read").startswith(
        f"a.{ending}: cannot be read ("
    )


def test_without_the_extra_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "find_spec", lambda module: None)
    root = folder(tmp_path)
    (root / "other.html").write_text(PAGE)
    (root / "picture.png").write_bytes(b"x")
    data = load_dataset(str(root), cache_dir=tmp_path / "cache")
    assert list(data.corpus.ids) == ["NOTES.TXT"]
    assert data.findings.remarks() == (
        "texts: 2 files .html not read: other.html, page.html. "
        'Run `pip install "whet-search[docs]"` to read them.\n'
        "texts: 1 file .png not read: picture.png. Move it elsewhere, or give it a format that is "
        "read."
    )
    (root / "NOTES.TXT").unlink()
    with pytest.raises(
        EnvironmentRefused, match=r"holds 2 documents \(\.html\), which are read wi"
    ):
        load_dataset(str(root), cache_dir=tmp_path / "cache")
