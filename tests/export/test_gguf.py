"""GGUF: what llama.cpp reads, and the vectors it gives where it is installed."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from whet.config import ModelConfig
from whet.errors import WhetError
from whet.export.checks import check_llama
from whet.export.gguf_file import write_gguf
from whet.export.texts import probe_texts
from whet.model.encoder import Encoder
from whet.model.parts.words import WordsBeside, write_words
from whet_launch.cli.main import main

TEXTS = probe_texts()
runtime = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="llama-cpp-python is not here")


def fields(path):
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def test_the_file_holds_the_model(tiny_saved, tmp_path):
    from gguf.quants import dequantize

    encoder = Encoder.load(str(tiny_saved))
    for kind in ("f16", "q8_0"):
        write_gguf(encoder, tmp_path / kind, kind)
        reader, said = fields(tmp_path / kind)
        assert said["bert.context_length"] == 20 and said["bert.pooling_type"] == 1
        assert said["tokenizer.ggml.normalizer.lowercase"] is True
        tensors = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors
        }
        weights = encoder.backbone.state_dict()
        words = weights["embeddings.word_embeddings.weight"].numpy()
        assert np.abs(tensors["token_embd.weight"] - words).max() < 1e-3
        assert len(tensors["position_embd.weight"]) == 20
        query = weights["encoder.layer.1.attention.self.query.weight"].numpy()
        assert np.abs(tensors["blk.1.attn_q.weight"] - query).max() < 1e-3
        used = [
            name for name in weights if not name.startswith(("pooler", "embeddings.position_i"))
        ]
        assert len(tensors) == len(used)
    vocabulary = encoder.tokenizer.get_vocab()
    pieces = said["tokenizer.ggml.tokens"]
    assert pieces[vocabulary["bace"]] == "\u2581bace" and pieces[vocabulary["##x"]] == "x"
    assert pieces[said["tokenizer.ggml.bos_token_id"]] == "[CLS]"
    assert pieces[said["tokenizer.ggml.seperator_token_id"]] == "[SEP]"


def test_what_llama_cpp_cannot_read_is_refused(tiny_of, tmp_path, capsys):
    folder = tiny_of("distilbert")
    words = [f"model={folder}", "formats=[gguf]", f"output={tmp_path / 'out'}"]
    assert main(["export", *words]) == 2
    told = capsys.readouterr().err
    assert "writes BERT models with a WordPiece vocabulary (MiniLM, bge, e5)" in told
    assert "this model is distilbert, WordPiece." in told and not (tmp_path / "out").exists()


def test_the_command_says_whether_it_ran(tiny_saved, tmp_path, capsys):
    words = [str(tiny_saved), "formats=[gguf]", f"output={tmp_path / 'out'}"]
    assert main(["export", *words]) == 0
    shown = capsys.readouterr().out
    said = json.loads((tmp_path / "out" / "export.json").read_text())["files"]
    assert list(said) == ["gguf/model-f16.gguf", "gguf/model-q8_0.gguf"]
    ran = find_spec("llama_cpp") is not None
    assert ("not run, since llama-cpp-python is not installed" in shown) is not ran
    assert all((file["llama_cpp"] is not None) is ran for file in said.values())


def test_words_that_searches_add_are_in_the_readme(tiny_saved, tmp_path):
    folder = shutil.copytree(tiny_saved, tmp_path / "model")
    write_words(folder, WordsBeside(0.3, "german"))
    assert main(["export", str(folder), "formats=[gguf]", f"output={tmp_path / 'out'}"]) == 0
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "add words in common (BM25) with weight 0.3" in readme
    assert "Language of the stems: german." in readme


@runtime
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_llama_cpp_gives_the_vectors(tiny_model, tmp_path, pooling, lowercase):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    path = folder / "tokenizer.json"
    said = json.loads(path.read_text())
    said["normalizer"]["lowercase"] = lowercase
    path.write_text(json.dumps(said))
    encoder = Encoder.load(ModelConfig(str(folder), pooling=pooling, document_prompt="bace: "))
    for kind in ("f16", "q8_0"):
        write_gguf(encoder, tmp_path / "m.gguf", kind)
        check_llama(encoder, tmp_path / "m.gguf", kind, TEXTS)


@runtime
def test_the_file_of_another_model_is_refused(tiny_model, tiny_of, tmp_path):
    encoder = Encoder.load(str(tiny_model))
    write_gguf(encoder, tmp_path / "m.gguf", "f16")
    other = Encoder.load(ModelConfig(str(tiny_model), pooling="cls"))
    with pytest.raises(WhetError, match=r"reads m\.gguf otherwise than the model"):
        check_llama(other, tmp_path / "m.gguf", "f16", TEXTS)


@runtime
@pytest.mark.slow
def test_minilm_in_llama_cpp(tmp_path):
    encoder = Encoder.load("minilm")
    write_gguf(encoder, tmp_path / "m.gguf", "f16")
    found = check_llama(encoder, tmp_path / "m.gguf", "f16", TEXTS)
    assert found.cosine_min > 0.9999 and len(found.cut_otherwise) < 10
