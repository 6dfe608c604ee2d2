"""What every test runs under: no network, an own cache, one thread, a tiny model and data set.

The environment is set when this file is imported, before any test imports torch or a Hugging Face
library, and is inherited by the processes that tests start.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
os.environ.update(OFFLINE)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices: a second thread costs time
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402 (reads OMP_NUM_THREADS)

if not torch.cuda.is_available():  # read when triton is first imported: its interpreter is used
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("whet", deadline=None)  # a busy machine is no fault of an example
settings.load_profile("whet")

LOOPBACK = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None}
SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [first + second for first in SYLLABLES for second in SYLLABLES]  # 225 words of four letters


@pytest.fixture(scope="session", autouse=True)
def own_cache() -> Iterator[Path]:
    """An empty WHET_CACHE for the session, so that no test reads what an earlier one left."""
    with tempfile.TemporaryDirectory(prefix="whet-cache-") as folder:
        before = os.environ.get("WHET_CACHE")
        os.environ["WHET_CACHE"] = folder
        yield Path(folder)
        os.environ.pop("WHET_CACHE")
        if before is not None:
            os.environ["WHET_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Any look-up or connection beyond this machine is an error: nothing phones home."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    lookup = socket.getaddrinfo

    def refuse(host: Any) -> None:
        if host not in LOOPBACK:
            raise OSError(f"the network is closed in tests, and something asked for {host!r}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            refuse(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if self.family != socket.AF_UNIX:
            refuse(address[0])
        return connect_ex(self, address)

    def guarded_lookup(host: Any, *args: Any, **options: Any) -> Any:
        refuse(host.decode() if isinstance(host, bytes) else host)
        return lookup(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT (2 layers, 32 dimensions, dropout 0.1) in a sentence-transformers folder.

    Mean pooling, unit length, 32 tokens; its vocabulary holds the words of `tiny_data` whole and
    letters for the rest.
    """
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = _tiny_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_modules(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_cross_encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT classifier of one output, with the tokenizer of `tiny_model`."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny_cross") / "model"
    config = AutoConfig.from_pretrained(tiny_model, num_labels=1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def _tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizer

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    pieces = [*specials, *letters, *("##" + letter for letter in letters), *WORDS]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return BertTokenizer(tokenizer_object=tokenizer, model_max_length=32)


def _write_modules(folder: Path) -> None:
    """The files that tell a sentence-transformers folder from a bare transformers one."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    pooling = {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": None},
    }
    for path, _ in kinds:
        (folder / path).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder: 120 documents, 60 train and 20 test queries, each of words of its document.

    Ids are d0 to d119 and q0 to q79; query q's document is d{q}, every tenth query has a second
    one, of relevance 2. Every third document has a title.
    """
    folder = tmp_path_factory.mktemp("tiny") / "data"
    rng = random.Random(11)
    docs = [rng.sample(WORDS, rng.randint(6, 14)) for _ in range(120)]
    queries = [rng.sample(docs[row], rng.randint(2, 4)) for row in range(80)]
    for row in range(0, 80, 10):
        docs[row + 30] += queries[row]
    corpus = [
        {"_id": f"d{row}", "title": "" if row % 3 else words[0], "text": " ".join(words)}
        for row, words in enumerate(docs)
    ]
    _write_jsonl(folder / "corpus.jsonl", corpus)
    lines = [{"_id": f"q{row}", "text": " ".join(words)} for row, words in enumerate(queries)]
    _write_jsonl(folder / "queries.jsonl", lines)
    for split, rows in {"train": range(60), "test": range(60, 80)}.items():
        judged = ["query-id\tcorpus-id\tscore"]
        for row in rows:
            judged.append(f"q{row}\td{row}\t1")
            judged += [f"q{row}\td{row + 30}\t2"] if row % 10 == 0 else []
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    return folder


def _write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


FromIndex = Callable[..., Path]


@pytest.fixture
def from_index(tmp_path: Path) -> FromIndex:
    """Fetches packages that Whet's own tests do not install into a folder. A process that appends
    it to `sys.path` finds them, beside what is installed. Skips where the index does not give them.
    """

    def fetch(*packages: str, needs: bool = True) -> Path:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--target",
            str(tmp_path / "more"),
        ]
        command += [*packages, "--retries=0", "--timeout=10", *([] if needs else ["--no-deps"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the package index gives no {packages[0]}: {done.stderr.strip()[-200:]}")
        return tmp_path / "more"

    return fetch


NIGHTLY = ("faults", "launch", "world/test_elastic", "world/test_continuous")
LONGEST = ("world", "launch", "faults", "e2e", "kernels")  # folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests of faults and clusters are the nightly ones. Those that take longest begin, so
    that no worker waits for another at the end.
    """
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.parent.name, len(LONGEST)))
    for item in items:
        inside = item.path.relative_to(Path(__file__).parent).as_posix()
        if inside.startswith(NIGHTLY) and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.nightly)
