"""The files of an export, each checked against the model before it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from whet.config import ExportConfig, ModelConfig
from whet.data.load import Dataset
from whet.export.checks import LlamaCheck, check_llama, check_same, llama_is_here
from whet.export.gguf_file import TYPES, check_gguf, write_gguf
from whet.export.graph import input_names, write_int8, write_onnx
from whet.export.measure import SystemRow, measured, table
from whet.export.readme import readme
from whet.export.runtime import OnnxEncoder
from whet.export.texts import probe_texts
from whet.model.encoder import Encoder
from whet.model.folder import find_folder
from whet.model.parts.words import words_of_whole
from whet.progress import track
from whet.run.folder import package_versions
from whet.run.output import facts_of, whole_output
from whet.storage.commit import write_json

ONNX, INT8 = "onnx/model.onnx", "onnx/model_quint8_avx2.onnx"  # names that other tools look for


def write_export(config: ExportConfig, data: Dataset | None) -> tuple[str, Path]:
    """Write and check the files asked for, all or none; the table to show, and their folder."""
    encoder = Encoder.load(config.model)
    if "gguf" in config.formats:
        check_gguf(encoder)
    name = _name(config.model)
    fingerprint = encoder.fingerprint()
    facts = facts_of("export", config, data.digest if data else None, fingerprint)
    facts["fingerprint"] = fingerprint
    with whole_output(config.output, f"{name}_export", facts) as output:
        encoder.describe(output.draft, "")
        encoder.backbone.config.save_pretrained(output.draft)  # type: ignore[union-attr,operator]
        shown = _write(encoder, output.draft, config, data, name)
    return shown, output.folder


def _name(config: ModelConfig) -> str:
    """A short name of a model: of a run folder rather than of the `model` in it."""
    path = Path(config.name)
    if path.is_dir():
        path = path.resolve()
    return path.parent.name if path.name == "model" else path.name


def _write(
    encoder: Encoder, draft: Path, config: ExportConfig, data: Dataset | None, name: str
) -> str:
    """Write and check all files into the draft; the table to show."""
    probe_texts()
    words = words_of_whole(find_folder(config.model))
    record: dict[str, Any] = {"model": config.model.name, "fingerprint": encoder.fingerprint()}
    record |= {"prompts": _prompts(encoder), "versions": package_versions(), "files": {}}
    shown, remarks = "", []
    if {"onnx", "int8"} & set(config.formats):
        rows = _write_onnx(encoder, draft, config, data, record["files"])
        record["measured"] = {"data": data and data.name, "rows": [asdict(row) for row in rows]}
        shown = table(rows)
        if data is None:
            remarks = ["No data were given: cosines of 100 texts to the model's vectors."]
    if "gguf" in config.formats:
        remarks += _write_gguf(encoder, draft, record["files"])
    files = list(record["files"])
    text = "\n".join(part for part in (shown, *remarks) if part)
    inputs, pad = input_names(encoder), encoder.pad_id
    card = readme(
        name, f"```\n{text}\n```", encoder.recipe, words, inputs=inputs, pad=pad, files=files
    )
    (draft / "README.md").write_text(card, encoding="utf-8")
    write_json(draft / "export.json", record)
    return text


def _prompts(encoder: Encoder) -> dict[str, str]:
    return {kind: encoder.recipe.prompt(kind) for kind in ("query", "document")}


def _write_onnx(
    encoder: Encoder,
    draft: Path,
    config: ExportConfig,
    data: Dataset | None,
    files: dict[str, Any],
) -> list[SystemRow]:
    """The ONNX file, and the int8 one if asked for; what they are worth."""
    texts = probe_texts()
    (draft / "onnx").mkdir()
    _step("Writing ONNX", lambda: write_onnx(encoder, draft / ONNX))
    exported = OnnxEncoder(draft, ONNX)
    difference = check_same(encoder, exported, texts)
    files[ONNX] = {"greatest_difference": difference, "texts": len(texts)}
    weights = sorted(encoder.source.glob("*.safetensors"))
    systems: dict[str, Any] = {
        "torch, float32": (encoder, weights),
        "ONNX, float32": (exported, _of(draft / ONNX)),
    }
    if "int8" in config.formats:
        _step("Writing int8", lambda: write_int8(draft / ONNX, draft / INT8))
        systems["ONNX, int8"] = (OnnxEncoder(draft, INT8), _of(draft / INT8))
    rows = measured(systems, texts, data, config.data.eval_split)
    if "int8" in config.formats:
        files[INT8] = {"cosine_mean": rows[-1].cosine_mean, "cosine_min": rows[-1].cosine_min}
    return rows


def _of(path: Path) -> list[Path]:
    """A file and, where it is over 2 GB, the weights beside it."""
    return sorted(path.parent.glob(f"{path.name}*"))


def _step(title: str, work: Callable[[], None]) -> None:
    with track(title, 1, "file") as advance:
        work()
        advance(1)


def _write_gguf(encoder: Encoder, draft: Path, files: dict[str, Any]) -> list[str]:
    """The GGUF files; a line about each: what llama.cpp made of it, where that is installed."""
    (draft / "gguf").mkdir()
    texts, lines = probe_texts(), []
    for kind in TYPES:
        path = draft / "gguf" / f"model-{kind}.gguf"
        write_gguf(encoder, path, kind)
        check = check_llama(encoder, path, kind, texts) if llama_is_here() else None
        files[path.relative_to(draft).as_posix()] = {"llama_cpp": check and asdict(check)}
        size = path.stat().st_size / 1e6
        lines.append(f"GGUF, {kind}: {size:.1f} MB; {_llama_summary(check)}")
    return lines


def _llama_summary(check: LlamaCheck | None) -> str:
    if check is None:
        return "not run, since llama-cpp-python is not installed"
    same = check.texts - len(check.cut_otherwise)
    least = math.floor(check.cosine_min * 1e4) / 1e4  # "or more" is to be true
    summary = f"llama.cpp: cosine {least:.4f} or more for {same} of {check.texts} texts"
    if not check.cut_otherwise:
        return summary
    lowest = min(check.cut_otherwise.values())
    return (
        f"{summary}; others are cut into other tokens (cosine from {lowest:.4f}): see export.json"
    )
