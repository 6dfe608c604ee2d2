"""What the cases share: a tiny model, tiny data, a tiny run and bundle, the command line, the page.

A case is a script: `python tests/cases/NAME.py` prints a line for each thing that must be so, and
exits with 0 if all are. Everything is made in a temporary folder; nothing leaves this machine.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
os.environ |= {**dict.fromkeys(OFFLINE, "1"), "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

# where the run and the bundle are kept for the next case; a folder of its own when run by hand
KEPT = Path(os.environ.get("WHET_CASES") or tempfile.mkdtemp(prefix="whet-cases-"))
FIT = (
    "select=last",
    "trainer.max_steps=6",
    "trainer.batch_size=8",
    "trainer.checkpoint_every_steps=2",
    "trainer.log_every_n_steps=1",
)
SYLLABLES = "ba ce di fo gu ka le mi no pu ra se ti vo zu".split()
WORDS = [a + b for a in SYLLABLES for b in SYLLABLES]
_wrong: list[str] = []


def expect(right: bool, what: str) -> None:
    """Note whether something is as it must be."""
    if not right:
        _wrong.append(what)
    print("ok   " if right else "WRONG", what, flush=True)


def done() -> None:
    """End the case: exit 0 if everything was right."""
    print(f"{len(_wrong)} wrong")
    sys.exit(1 if _wrong else 0)


@contextmanager
def place() -> Iterator[Path]:
    """An empty folder to work in, with a cache and a home of its own."""
    with tempfile.TemporaryDirectory(prefix="whet-case-") as folder:
        here = Path(folder).resolve()
        os.environ |= {"WHET_CACHE": str(here / "cache"), "HOME": str(here / "home")}
        (here / "home").mkdir()
        before = os.getcwd()
        os.chdir(here)
        try:
            yield here
        finally:
            os.chdir(before)


class Command:
    """A `whet` command that ended: `code`, `out`, `err`, `said` (both), `trace`, `hung`, `last`."""

    def __init__(self, words: tuple[str, ...], timeout: float, env: dict[str, str], **kw: Any):
        kw.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(
            [sys.executable, "-B", "-m", "whet_launch", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            start_new_session=True,
            **kw,
        )
        self.hung = False
        try:
            streams = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            streams = process.communicate()
            self.hung = True
        self.code = process.returncode
        self.out, self.err = (stream.decode("utf-8", "replace") for stream in streams)
        self.said = self.out + self.err
        self.trace = "Traceback (most recent call last)" in self.said
        self.last = (self.err.strip().splitlines() or [""])[-1][:160]

    @property
    def state(self) -> str:
        """How it ended, for the line of an expectation."""
        ended = f"exit {self.code}{', traceback' if self.trace else ''}"
        return f"{ended}{', hung' if self.hung else ''}: {self.last}"


def whet(
    *words: str, timeout: float = 120, env: dict[str, str] | None = None, **kw: Any
) -> Command:
    """Run a command to its end."""
    return Command(words, timeout, env or {}, **kw)


def in_words(command: Command, what: str) -> None:
    """Refused with one line: no traceback, no hang, an exit code that is not 0."""
    fine = 0 < command.code < 126 and not command.trace and not command.hung
    expect(fine, f"{what}: refused in words ({command.state})")


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def kept(name: str, folder: Path | str, make: Callable[[Path], None]) -> Path:
    """A copy of what `make` writes, which is made once and kept for all cases."""
    ours = KEPT / name
    if not ours.exists():
        draft = KEPT / f"{name}.{os.getpid()}"
        make(draft)
        try:
            os.rename(draft, ours)
        except OSError:  # another case was first
            shutil.rmtree(draft)
    shutil.copytree(ours, folder)
    return Path(folder)


def model(folder: Path | str) -> Path:
    """A random BERT of one layer and 16 dimensions, as a sentence-transformers folder."""
    return kept("model", folder, _make_model)


def _make_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *("##" + letter for letter in letters), *WORDS]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    fast = BertTokenizer(tokenizer_object=tokenizer, model_max_length=32)
    fast.save_pretrained(folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path, _ in kinds[1:]:
        (folder / path).mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 32, "do_lower_case": false}'
    )


def data(folder: Path | str, documents: int = 60) -> Path:
    """A BEIR folder; query q asks for document q."""
    rng = random.Random(11)
    folder = Path(folder)
    (folder / "qrels").mkdir(parents=True)
    texts = [rng.sample(WORDS, rng.randint(6, 12)) for _ in range(documents)]
    corpus = [{"_id": f"d{i}", "title": "", "text": " ".join(t)} for i, t in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.sample(t, 3))} for i, t in enumerate(texts)]
    write_lines(folder / "corpus.jsonl", corpus)
    write_lines(folder / "queries.jsonl", queries)
    cut = documents * 2 // 3
    for split, rows in (("train", range(cut)), ("test", range(cut, documents))):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(folder: Path | str) -> Path:
    """A finished run of the tiny model on the tiny data."""

    def make(draft: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            _fit(draft, Path(scratch))

    return kept("run", folder, make)


def bundle(folder: Path | str) -> Path:
    """A bundle of such a run, with data and base model in it."""

    def make(draft: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            words = ["include=[data,base]", "data_licence=MIT", "base_licence=MIT"]
            _fit(Path(scratch) / "run", Path(scratch))
            made = whet("bundle", "./run", f"output={draft}", *words, cwd=scratch)
            assert made.code == 0, made.said

    return kept("bundle", folder, make)


def _fit(folder: Path, base: Path) -> None:
    """Fit into `folder`; data and model are made in `base`, as a bundle with copies needs them."""
    model(base / "model")
    data(base / "data")
    words = ["data.path=data", "model.name=model", f"output={folder}", *FIT]
    made = whet("fit", *words, cwd=base)
    assert made.code == 0, made.said


Statement = dict[str, Any]


def forge(
    folder: Path, change: Callable[[Statement], Any] | None = None, *, follow: bool = True
) -> None:
    """What a stranger can do: change the statement, let the listed hashes follow the files (unless
    told not to), make the hash tree anew.
    """
    from whet.bundle.provenance import spelled, tree_of

    statement = json.loads((folder / "provenance.json").read_text())
    if follow:
        products = statement["predicate"]["runDetails"]["byproducts"]
        for listed in [*statement["subject"], *products]:
            if (folder / listed["name"]).is_file():
                listed["digest"]["sha256"] = sha256(folder / listed["name"])
    if change:
        change(statement)
    statement["predicate"].pop("whet_tree")
    statement["predicate"]["whet_tree"] = tree_of(statement)
    (folder / "provenance.json").write_text(spelled(statement), encoding="utf-8")


def config_of(statement: Statement) -> dict[str, Any]:
    """The recorded configuration in a statement."""
    build = statement["predicate"]["buildDefinition"]
    config: dict[str, Any] = build["externalParameters"]["config"]
    return config


def list_file(statement: Statement, name: str, digest: str) -> None:
    """List one more file in a statement."""
    statement["subject"].append({"name": name, "digest": {"sha256": digest}})


class Page:
    """`whet label` on the tiny data, and a client of it."""

    def __init__(
        self, *words: str, env: dict[str, str] | None = None, home: str = "feedback", **kw: Any
    ) -> None:
        options = ["data.path=data", "model.name=model", f"output={home}", "port=0", *words]
        with open("label.err", "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-B", "-m", "whet_launch", "label", *options],
                stderr=errors,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                **kw,
            )
        self.net = self.token = self.cookie = ""
        end = time.monotonic() + 90
        while time.monotonic() < end and self.process.poll() is None and not self.net:
            address = re.search(r"http://(\S*?)/\?token=(\S+)", self.said())
            if address:
                self.net, self.token = address[1], address[2]
            time.sleep(0.1)

    def said(self) -> str:
        """What the server wrote to the terminal."""
        return Path("label.err").read_text(errors="replace")

    def enter(self) -> Page:
        """Open the page as a script does."""
        _, headers, _ = self.ask("GET", f"/?token={self.token}")
        self.cookie = headers["set-cookie"].partition(";")[0]
        return self

    def ask(
        self,
        method: str,
        path: str,
        payload: Any = None,
        *,
        cookie: str | None = None,
        timeout: float = 60,
    ) -> tuple[int, Any, bytes]:
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection(self.net, timeout=timeout)
        headers = {"cookie": self.cookie if cookie is None else cookie}
        body = None
        if method == "POST":
            headers |= {"origin": f"http://{self.net}", "content-type": "application/json"}
            body = json.dumps(payload)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def stop(self, number: int = signal.SIGINT) -> int:
        """End the server; its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def mark(number: int = 0, **changed: Any) -> dict[str, Any]:
    """An event: document `number` is relevant for a query."""
    event = {"id": uuid.uuid4().hex, "query": f"ba ce {number}", "action": "relevant"}
    return {**event, "doc_id": f"d{number}", "who": "me", **changed}
