"""What Whet computes, as hashes: a change that is to move code, and nothing else, keeps them all.

    python tests/golden/golden.py                    # this tree
    python tests/golden/golden.py HEAD~3 HEAD~9      # beside commits; exit 1 if any differ
    python tests/golden/golden.py --record           # write golden.json: a change that is meant

Bits are those of one machine: compare hashes made on the same one. `test_golden.py` holds every
machine to the figures of golden.json within rounding.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/cases"))

import harness  # noqa: E402 (the folder is on the path by now)

FIGURES = Path(__file__).with_name("golden.json")
ROOTS = ("engine", "kernels", "launch", "conf")
DATA = ("data.path=data", "model.name=model")
FIT = (
    "trainer.max_steps=30",
    "trainer.max_epochs=99",
    "trainer.batch_size=8",
    "trainer.log_every_n_steps=1",
    "mining.num_negatives=2",
    "refresh.policy=steps",
    "refresh.every_n_steps=10",
)
MINING = ("mining=shifted", "mining.num_negatives=4")
COMMANDS = {
    "fit": ("fit", *DATA, *FIT, "output=fit"),
    "cached": ("fit", *DATA, *FIT, "output=cached", "loss.cache=always", "loss.chunk_tokens=64"),
    "mine": ("mine", *DATA, *MINING, "formats=[trec]", "output=mine"),
    "eval": ("eval", *DATA, "baseline=bm25", "output=eval"),
    "tune": ("tune", "feedback"),
}
# what each leaves that holds no time and no name of a folder
PRODUCTS = {
    "fit": ("train_log.jsonl", "negatives/*", "model/model.safetensors", "metrics.json"),
    "cached": ("train_log.jsonl", "negatives/*", "model/model.safetensors", "metrics.json"),
    "mine": ("*.parquet", "negatives.run"),
    "eval": ("metrics.json", "per_query.jsonl", "trec/*.run.gz"),
    "tune": ("versions/*/model/*.safetensors", "versions/*/model/words.json"),
}
JUDGED = 24  # queries of which one document is marked


def make_inputs(folder: Path) -> None:
    """A tiny model, tiny data, and feedback on them, for all trees alike."""
    with _inside(folder):
        harness.model("model")
        harness.data("data")
        page = harness.Page().enter()
        texts = [json.loads(line) for line in Path("data/queries.jsonl").read_text().splitlines()]
        marks = [
            {**harness.mark(row, id=f"{row:032x}"), "query": texts[row]["text"]}
            for row in range(JUDGED)
        ]
        status, _, body = page.ask("POST", "/api/events", {"events": marks})
        page.stop()
        if status != 200:
            raise SystemExit(f"the page took no marks: {status} {body!r}")


def products(folder: Path, tree: Path, names: list[str]) -> dict[str, dict[str, bytes]]:
    """What the commands `names` leave, done by the code of `tree` in an empty cache: the bytes of
    each file by its path, for each command.
    """
    paths = os.pathsep.join(str(tree / root) for root in ROOTS)
    environment = {"PYTHONPATH": paths, "WHET_CACHE": str(folder / "cache")}
    made = {}
    for name in names:
        # Trees from before there was a choice know no such option, and do what it says.
        chooses = COMMANDS[name][0] == "fit" and (tree / "conf/whet_conf/select").is_dir()
        last = ["select=last"] if chooses else []
        done = harness.whet(*COMMANDS[name], *last, env=environment, cwd=folder, timeout=600)
        if done.code:
            raise SystemExit(f"{tree}: `whet {' '.join(COMMANDS[name])}` failed:\n{done.said}")
        place = folder / ("feedback" if name == "tune" else name)
        files = sorted(path for pattern in PRODUCTS[name] for path in place.glob(pattern))
        made[name] = {path.relative_to(place).as_posix(): path.read_bytes() for path in files}
    return made


def hashes(folder: Path, tree: Path, names: list[str]) -> dict[str, str]:
    """A sha256 of what each command leaves, with the names of the files."""
    found = {}
    for name, files in products(folder, tree, names).items():
        digest = hashlib.sha256()
        for path, content in files.items():
            digest.update(f"{path} {len(content)}\n".encode() + content)
        found[name] = f"{digest.hexdigest()[:16]} ({len(files)} files)"
    return found


def figures(made: dict[str, dict[str, bytes]]) -> dict[str, Any]:
    """What another machine must come to as well, within rounding: the loss of every step, the
    measures, and which documents were mined for each query.
    """
    logs = {name: made[name]["train_log.jsonl"].splitlines() for name in ("fit", "cached")}
    rows = [row.split() for row in made["mine"]["negatives.run"].decode().splitlines()]
    return {
        "loss": {
            name: [row["loss"] for row in map(json.loads, log) if "loss" in row]
            for name, log in logs.items()
        },
        "measures": {
            name: json.loads(made[name]["metrics.json"]) for name in ("fit", "cached", "eval")
        },
        "mined": [f"{query} {document}" for query, _, document, *_ in rows],
    }


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A commit's files, beside the repository."""
    with tempfile.TemporaryDirectory(prefix="whet-golden-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT)]
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _say(tree: str, digests: dict[str, str], seconds: float) -> None:
    print(f"{tree} ({seconds:.0f} s)")
    for name, digest in digests.items():
        print(f"  {name:<7} {digest}", flush=True)


def main(arguments: list[str]) -> int:
    """Print the hashes of this tree and of commits; 1 if any differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commits", nargs="*", help="to compare with")
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--record", action="store_true", help="write this tree's figures")
    options = parser.parse_args(arguments)
    if options.record:
        with tempfile.TemporaryDirectory(prefix="whet-golden-") as scratch:
            make_inputs(Path(scratch))
            made = figures(products(Path(scratch), ROOT, list(COMMANDS)))
        FIGURES.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        return 0
    every: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="whet-golden-") as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)

        def one(label: str, tree: Path) -> None:
            began, work = time.monotonic(), Path(scratch) / "work"
            shutil.copytree(inputs, work)  # the same path for all, as a tune writes it down
            every.append(hashes(work, tree, options.only))
            shutil.rmtree(work)
            _say(label, every[-1], time.monotonic() - began)

        one("this tree", ROOT)
        for commit in options.commits:
            with checkout(commit) as tree:
                one(commit, tree)
    same = all(digests == every[0] for digests in every)
    if options.commits:
        print("all the same" if same else "they differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
