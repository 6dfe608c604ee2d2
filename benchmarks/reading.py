"""What does it take to read a large data set: seconds, CPU seconds and memory?

    python benchmarks/reading.py            # 700,000 pairs, two minutes on two idle cores
    python benchmarks/reading.py --rows 5000000
    python benchmarks/reading.py --table    # the table alone
    python benchmarks/reading.py --quick    # does it run?

Documents of 35 words that were made up, with as many queries of 8 words, as a BEIR folder of jsonl,
of parquet and of tsv, and as a file of pairs. Each is read for the first time (converted) by one
process and by several, and a second time (opened from the cache), each in a process of its own.
Memory is its peak above what it had when everything was imported, mapped files counted; of the
workers the sum of their peaks, with what each has imported. Rows go to records/reading.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tiny
from kept import Records

RECORDS = Records("reading")
SHAPES = ("folder", "parquet", "tsv", "pairs")
SEVERAL = 8  # workers at most, and one a core
READ = """
import json, resource, sys, threading, time
from pathlib import Path
import psutil
from whet.data import build, table
from whet.data.load import load_dataset
from whet.data.readers import lines

root, cache, workers, always = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
build.MOST_WORKERS = workers
if always:
    lines.LARGE = table.LARGE = 1
here, beside, done = psutil.Process(), {}, threading.Event()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def watch():
    while not done.wait(0.02):
        for child in here.children():
            try:
                beside[child.pid] = max(beside.get(child.pid, 0), child.memory_info().rss)
            except psutil.NoSuchProcess:
                pass

before, began, cpu = here.memory_info().rss, time.monotonic(), here.cpu_times()
watching = threading.Thread(target=watch)
watching.start()
data = load_dataset(root, cache_dir=cache)
seconds = time.monotonic() - began
done.set()
watching.join()
assert "torch" not in sys.modules
print(json.dumps({
    "seconds": round(seconds, 2),
    "cpu_s": round(sum(here.cpu_times()[:4]) - sum(cpu[:4]), 2),
    "own_cpu_s": round(sum(here.cpu_times()[:2]) - sum(cpu[:2]), 2),
    "interpreter_bytes": before,
    "peak_bytes": peak() - before,
    "workers": len(beside),
    "workers_bytes": sum(beside.values()),
    "digest": data.digest,
}))
"""


COLUMNS = """
import shutil, sys
from pathlib import Path
import pyarrow.csv, pyarrow.json, pyarrow.parquet

folder = Path(sys.argv[1])
for shape in ("parquet", "tsv"):
    shutil.copytree(folder / "folder/qrels", folder / shape / "qrels")
for name in ("corpus", "queries"):
    rows = pyarrow.json.read_json(folder / f"folder/{name}.jsonl")
    pyarrow.parquet.write_table(rows, folder / f"parquet/{name}.parquet")
    options = pyarrow.csv.WriteOptions(delimiter="\\t", quoting_style="none")
    pyarrow.csv.write_csv(rows, folder / f"tsv/{name}.tsv", options)
"""


def main() -> None:
    """Measure, keep the rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=700_000)
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--table", action="store_true")
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.quick:
        with tiny.place(RECORDS) as here:
            measure(2_000, here.folder, SHAPES, always=True)
            print(table())
        return
    if not options.table:
        with tempfile.TemporaryDirectory(prefix="whet-reading-") as folder:
            measure(options.rows, Path(folder), options.only, always=False)
    print(table())


def measure(rows: int, folder: Path, shapes: Sequence[str], *, always: bool) -> None:
    """Make the data and read them; `always` with workers, however few rows there are."""
    make(rows, folder)
    # beside this process, whose peak the next ones would begin with
    subprocess.run([sys.executable, "-c", COLUMNS, str(folder)], check=True)
    for shape in shapes:
        digests = set()
        for most in (1, SEVERAL):
            cache = folder / f"cache-{shape}-{most}"
            for time in ("first", "second"):
                got = read(folder / shape, cache, most, always=always)
                digests.add(got.pop("digest"))
                how = "several" if most > 1 else "one"
                row = {"data": shape, "rows": rows, "processes": how, "time": time, **got}
                day = datetime.now(UTC).date().isoformat()
                RECORDS.keep({**row, "cores": os.cpu_count(), "date": day})
        if len(digests) > 1:
            raise SystemExit(f"{shape}: one process and several read different data")


def make(rows: int, folder: Path) -> None:
    """The same documents and queries as a BEIR folder of jsonl, and as pairs."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(20_000)]
    (folder / "folder" / "qrels").mkdir(parents=True)
    (folder / "pairs").mkdir()
    with (
        (folder / "folder/corpus.jsonl").open("w") as corpus,
        (folder / "folder/queries.jsonl").open("w") as queries,
        (folder / "folder/qrels/train.tsv").open("w") as judged,
        (folder / "pairs/train.jsonl").open("w") as pairs,
    ):
        for row in range(rows):
            text, query = (
                " ".join(chance.choices(words, k=35)),
                " ".join(chance.choices(words, k=8)),
            )
            corpus.write(json.dumps({"_id": f"doc-{row}", "text": text}) + "\n")
            queries.write(json.dumps({"_id": f"query-{row}", "text": query}) + "\n")
            judged.write(f"query-{row}\tdoc-{row}\t1\n")
            pairs.write(json.dumps({"query": query, "positive": text}) + "\n")


def read(root: Path, cache: Path, workers: int, *, always: bool) -> dict[str, Any]:
    """What one reading took, in a process of its own."""
    words = [str(root), str(cache), str(workers), str(int(always))]
    said = subprocess.run(
        [sys.executable, "-c", READ, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    got: dict[str, Any] = json.loads(said.stdout)
    return got


def table() -> str:
    """A line a reading, the latest last."""
    lines = [
        "| data | rows | processes | reading | seconds | CPU seconds | of the first process |"
        " MB above the interpreter | workers | their MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['data']} | {row['rows']:,} | {row['processes']} | {row['time']} | "
        f"{row['seconds']:.1f} | {row['cpu_s']:.1f} | {row.get('own_cpu_s', '')} | "
        f"{row['peak_bytes'] / 1e6:,.0f} | "
        f"{row['workers']} | {row['workers_bytes'] / 1e6:,.0f} |"
        for row in RECORDS.rows()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
