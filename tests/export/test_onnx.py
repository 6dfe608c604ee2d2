"""ONNX: the vectors of the model it came from, in onnxruntime alone; int8 and what it loses."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch

import whet
import whet.export.command
import whet.export.written
from whet.config import ModelConfig
from whet.errors import WhetError
from whet.export.checks import check_same, cosines, mixed_vectors
from whet.export.graph import write_onnx
from whet.export.runtime import OnnxEncoder
from whet.export.texts import probe_texts
from whet.model.encoder import Encoder
from whet.storage.commit import verify_folder
from whet_launch.cli.main import main

TEXTS = probe_texts()
INT8 = "onnx/model_quint8_avx2.onnx"


def exported(encoder, folder):
    """The folder that the command would write, without its measuring."""
    (folder / "onnx").mkdir(parents=True)
    encoder.describe(folder, "")
    encoder.backbone.config.save_pretrained(folder)
    write_onnx(encoder, folder / "onnx" / "model.onnx")
    return OnnxEncoder(folder)


def test_the_hundred_texts_are_varied_and_always_the_same():
    assert len(TEXTS) == 100 and probe_texts() == TEXTS and "" in TEXTS
    lengths = [len(text.split()) for text in TEXTS]
    assert max(lengths) == 600 and lengths.count(1) > 3
    assert all(len(set(lengths[row : row + 10])) > 3 for row in range(0, 100, 10))


@pytest.mark.slow
def test_onnxruntime_alone_gives_the_vectors_of_sentence_transformers(tiny_saved, tiny_export):
    """Fed as README.md says, with tokenizer.json and the file and nothing of Whet's."""
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_export / "tokenizer.json"))
    tokenizer.enable_truncation(20)
    tokenizer.enable_padding(pad_id=0)
    batch = tokenizer.encode_batch(TEXTS)
    fed = {
        "input_ids": np.array([text.ids for text in batch]),
        "attention_mask": np.array([text.attention_mask for text in batch]),
        "token_type_ids": np.array([text.type_ids for text in batch]),
    }
    session = onnxruntime.InferenceSession(tiny_export / "onnx" / "model.onnx")
    assert [given.name for given in session.get_inputs()] == list(fed)
    tokens, vectors = session.run(["last_hidden_state", "sentence_embedding"], fed)
    theirs = SentenceTransformer(str(tiny_saved), device="cpu").encode(TEXTS)
    assert np.abs(vectors - theirs).max() < 1e-5
    ids, mask = (torch.from_numpy(fed[name]) for name in ("input_ids", "attention_mask"))
    with torch.inference_mode():
        backbone = Encoder.load(str(tiny_saved)).backbone
        wanted = backbone(input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
    assert np.abs(tokens - wanted)[mask.bool().numpy()].max() < 1e-5


@pytest.mark.slow
def test_an_exported_model_is_an_encoder(tiny_saved, tiny_export, tiny_data):
    """It encodes and is judged by what encodes and judges any other, prompts included."""
    ours, theirs = Encoder.load(str(tiny_saved)), OnnxEncoder(tiny_export)
    assert theirs.recipe == ours.recipe and ours.recipe.query_prompt == "bace "
    for kind in ("query", "document"):
        difference = ours.encode(TEXTS, kind=kind) - theirs.encode(TEXTS, kind=kind)
        assert np.abs(difference).max() < 1e-5
    means = [whet.evaluate(one, str(tiny_data)).scores.means for one in (ours, theirs)]
    assert means[0] == pytest.approx(means[1], abs=1e-9)


@pytest.mark.slow
def test_int8_is_smaller_and_near(tiny_saved, tiny_export):
    whole, small = OnnxEncoder(tiny_export), OnnxEncoder(tiny_export, INT8)
    assert small.file.stat().st_size < 0.8 * whole.file.stat().st_size  # half of it is no weight
    encoder = Encoder.load(str(tiny_saved))
    cosine = cosines(mixed_vectors(encoder, TEXTS), mixed_vectors(small, TEXTS))
    assert 0.98 < cosine.min() < 0.999999
    assert len({one.fingerprint() for one in (encoder, whole, small)}) == 3


@pytest.mark.slow
def test_the_loss_is_measured_as_everywhere(tiny_saved, tiny_export, tiny_data):
    said = json.loads((tiny_export / "export.json").read_text())
    shown = (tiny_export.parent / "shown.txt").read_text()
    assert list(said["files"]) == ["onnx/model.onnx", INT8]
    assert said["files"]["onnx/model.onnx"]["greatest_difference"] < 1e-5
    assert said["prompts"] == {"query": "bace ", "document": "difo: "}
    systems = [str(tiny_saved), OnnxEncoder(tiny_export), OnnxEncoder(tiny_export, INT8)]
    wanted = [whet.evaluate(one, str(tiny_data)).scores.means["nDCG@10"] for one in systems]
    rows = said["measured"]["rows"]
    assert [row["ndcg"] for row in rows] == pytest.approx(wanted, abs=1e-12)
    assert f"{wanted[0]:.4f}" in shown and f"{wanted[0] - wanted[2]:+.4f}" in shown
    assert shown.strip() in (tiny_export / "README.md").read_text()
    assert verify_folder(tiny_export)["fingerprint"] == said["fingerprint"]


@pytest.mark.slow
def test_a_file_that_gives_other_vectors_is_not_left_behind(
    tiny_saved, tiny_export, tmp_path, monkeypatch, capsys
):
    """One weight of the model is another than the file's."""
    encoder = Encoder.load(str(tiny_saved))
    with torch.no_grad():
        encoder.backbone.embeddings.position_embeddings.weight[1, 3] += 1e-2
    other = encoder.save(tmp_path / "other")

    def stale(encoder, path):
        shutil.copy(tiny_export / "onnx" / "model.onnx", path)

    monkeypatch.setattr(whet.export.written, "write_onnx", stale)
    assert main(["export", str(other), "formats=[onnx]", f"output={tmp_path / 'out'}"]) == 1
    (line,) = [row for row in capsys.readouterr().err.splitlines() if "differ" in row]
    assert "(allowed: 0.0001), so it was deleted." in line
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.slow
def test_all_that_comes_after_the_transformer_is_in_the_graph(tiny_of, tmp_path):
    """The first token's vector times a matrix, not of unit length, of a model without types."""
    config = ModelConfig(str(tiny_of("distilbert")), pooling="cls", normalize=False)
    encoder = Encoder.load(config)
    encoder.with_matrix(torch.eye(32) + 0.2 * torch.randn(32, 32, generator=torch.manual_seed(1)))
    found = exported(encoder, tmp_path / "out")
    assert check_same(encoder, found, TEXTS) < 1e-5
    assert found.inputs == ["input_ids", "attention_mask"]
    with pytest.raises(WhetError, match="differ from the model's by"):
        check_same(Encoder.load(config), found, TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("mpnet", marks=pytest.mark.nightly), "xlm-roberta", "qwen3"]
)
def test_architectures(tiny_of, tmp_path, kind):
    """Any number of texts and tokens, though the graph was drawn with two of eight."""
    pooling = "last" if kind == "qwen3" else "mean"
    encoder = Encoder.load(ModelConfig(str(tiny_of(kind)), pooling=pooling))
    check_same(encoder, exported(encoder, tmp_path / "out"), TEXTS)


@pytest.mark.slow
def test_what_torch_cannot_draw_is_one_line(tiny_saved, tmp_path, monkeypatch):
    encoder = Encoder.load(str(tiny_saved))
    plain = encoder.backbone.forward

    def forward(input_ids, attention_mask, token_type_ids):
        if attention_mask.sum() > 3:  # which way it goes depends on the text
            input_ids = input_ids + 1
        return plain(input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(encoder.backbone, "forward", forward)
    with pytest.raises(WhetError, match="torch cannot write a model of type bert as ONNX"):
        write_onnx(encoder, tmp_path / "m.onnx")


@pytest.mark.slow
def test_minilm(tmp_path):
    encoder = Encoder.load("minilm")
    assert check_same(encoder, exported(encoder, tmp_path / "out"), TEXTS) < 1e-5


def test_nothing_of_the_users_is_overwritten(tiny_model, capsys):
    before = sorted(path.name for path in tiny_model.iterdir())
    assert main(["export", str(tiny_model), f"output={tiny_model}"]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert sorted(path.name for path in tiny_model.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["formats=[onx]"], 2, "formats=onx is unknown. Did you mean onnx?"),
        (["formats=[]"], 2, "formats is empty."),
        (["data=./nowhere"], 3, "no such file or folder"),
        (["model=./nowhere"], 2, "neither a folder here nor a Hugging Face name"),
    ],
)
def test_refusals_are_one_line(tiny_model, tmp_path, capsys, words, code, told):
    model = [] if words[0].startswith("model") else [str(tiny_model)]
    assert main(["export", *model, f"output={tmp_path / 'out'}", *words]) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line and not (tmp_path / "out").exists()


def test_a_package_that_is_not_here_is_named(tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(whet.export.command, "NEEDS", {"onnx": ("onnx", ("onnx_of_nobody",))})
    words = [str(tiny_model), f"output={tmp_path / 'out'}", "formats=[onnx]"]
    assert main(["export", *words]) == 4
    assert 'needs onnx_of_nobody. Run `pip install "whet-search[onnx]"`.' in capsys.readouterr().err


def test_a_model_of_two_sides_names_them(tiny_model, tmp_path, capsys):
    from whet.model.towers import Towers

    one, other = Encoder.load(str(tiny_model)), Encoder.load(str(tiny_model))
    folder = Towers(one, other).save(tmp_path / "towers")
    assert main(["export", str(folder), f"output={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr().err
    for part in told.split("model=")[1:]:
        assert Encoder.load(part.split()[0].rstrip(".")).dimension == 32
