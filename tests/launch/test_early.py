"""What can be refused without torch is refused without it, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from whet.config import EncodeConfig, MiningConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.run.early import check_device, check_dims, check_rescorer

CPU_S = 2.0  # of one command, in a process that has loaded Hydra
SCRIPT = """
import contextlib, io, json, sys, time
from whet_launch.cli.main import main
ends = []
for words in json.load(sys.stdin):
    start, err = time.process_time(), io.StringIO()
    with contextlib.redirect_stderr(err):
        code = main(words)
    ends.append([code, err.getvalue(), time.process_time() - start, "torch" in sys.modules])
print(json.dumps(ends))
"""
REFUSED = [
    ("fit data=./nowhere", 3, "nowhere: no such file or folder"),
    ("fit data={data} data.train_split=tarin", 3, "Did you mean train?"),
    ("fit data={data} data.eval_split=tset", 3, "Did you mean test?"),
    ("fit data={data} model=./nowhere", 2, "model.name=./nowhere cannot be loaded"),
    ("fit data={data} model=no/such", 4, "model.name=no/such cannot be loaded"),
    ("fit data={data} model={data}", 2, "holds neither modules.json nor config.json"),
    ("fit data={data} mining.cross_encoder=no/such", 4, "mining.cross_encoder=no/such cannot"),
    ("fit data={data} mining.cross_encoder={model}", 2, "is no cross-encoder"),
    ("fit data={data} model={model} loss.matryoshka_dims=[8,33]", 2, "lengths from 1 to 32."),
    ("fit data={data} encode.device=gpu", 2, "encode.device=gpu is no device"),
    ("fit data={data} evaluate.measures=[nDGC@10]", 2, "Try nDCG@10"),
    ("fit data={data} output={data}", 2, "holds something already"),
    ("fit data={data} logger=none logger.address=http://x:1", 2, "Leave it out, or write logger="),
    ("mine data={data} formats=[tevatronn]", 2, "Did you mean tevatron?"),
    ("mine data={data} formats=[]", 2, "formats is empty"),
    ("mine data={data} model=./nowhere", 2, "model.name=./nowhere cannot be loaded"),
    ("mine data={data} output={data}", 2, "Choose another folder, or move it away."),
    ("encode data={data} output={data}", 2, "Choose another folder, or move it away."),
    ("encode data={data} encode.device=gpu", 2, "encode.device=gpu is no device"),
    ("eval data={data} baseline=./nowhere", 2, "baseline=./nowhere cannot be loaded"),
    ("eval data={data} data.eval_split=tset", 3, "Did you mean test?"),
    ("eval data={data} output={data}", 2, "Choose another folder, or move it away."),
    ("plan data=./nowhere", 3, "nowhere: no such file or folder"),
    ("plan data={data} model=./nowhere", 2, "model.name=./nowhere cannot be loaded"),
    ("export ./nowhere", 2, "model.name=./nowhere cannot be loaded"),
    ("export {model} formats=[onx]", 2, "Did you mean onnx?"),
    ("export {model} output={data}", 2, "Choose another folder, or move it away."),
]


def test_a_mistake_is_refused_before_torch_is_loaded(
    tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    commands = [
        [word.format(data=tiny_data, model=tiny_model) for word in words.split()]
        for words, _, _ in REFUSED
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([["help"], *commands]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    _, *ends = json.loads(done.stdout.splitlines()[-1])
    for (words, code, message), (ended, told, seconds, with_torch) in zip(
        REFUSED, ends, strict=True
    ):
        assert ended == code and message in told, (words, ended, told)
        assert told.startswith("whet: ") and told.count("\n") == 1, (words, told)
        assert seconds < CPU_S and not with_torch, (words, seconds)
    assert list(tmp_path.iterdir()) == []


def test_prefixes_of_a_vector_are_within_it() -> None:
    check_dims([1, 32], 32)
    check_dims([1_000_000], None)
    for wrong in ([33], [0], [-1, 8]):
        with pytest.raises(ConfigError, match="Give lengths from 1 to 32"):
            check_dims(wrong, 32)
    with pytest.raises(ConfigError, match="Give lengths from 1 on"):
        check_dims([0], None)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu ", "", "CUDA"])
def test_a_device_has_a_known_name(device: str) -> None:
    with pytest.raises(ConfigError, match="is no device"):
        check_device(EncodeConfig(device=device))


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_refused() -> None:
    check_device(EncodeConfig(device="cpu"))
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EnvironmentRefused, match=f"encode.device={device}: torch finds no GPU"):
            check_device(EncodeConfig(device=device))


def test_outputs_of_a_cross_encoder_are_counted(tmp_path: Path) -> None:
    policy = MiningConfig(cross_encoder=str(tmp_path))
    for labels, fine in ((1, True), (2, True), (3, False)):
        names = {str(label): f"LABEL_{label}" for label in range(labels)}
        about = {"architectures": ["BertForSequenceClassification"], "id2label": names}
        (tmp_path / "config.json").write_text(json.dumps(about))
        if fine:
            check_rescorer(policy)
        else:
            with pytest.raises(ConfigError, match="has 3 outputs, a reranker has 1 or 2"):
                check_rescorer(policy)
    check_rescorer(MiningConfig(cross_encoder="no/such", num_negatives=0))  # nothing is mined
