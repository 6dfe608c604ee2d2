"""Pictures: what does a fit gain, and how fast are they encoded?

    python benchmarks/pictures.py --data ../shared/data    # Fashion-MNIST: fit, then encoding
    python benchmarks/pictures.py --part encode --data ../shared/data
    python benchmarks/pictures.py --table                  # what is kept
    python benchmarks/pictures.py --quick                  # made pictures: does it run?

`fit`: 12,000 pictures to search and 3,000 that ask for those of their class, `experiment=fashion`:
nDCG@10 and R-precision of EfficientNet-Lite0 as it comes from ImageNet and as it is tuned, and
seconds. `encode`: pictures per second by Whet and by a plain loop over the same model in
transformers (Pillow, batches of 32, the same threads), in turns; the ratio is the median of five.
And the peak of memory above the model's, with so many and four times as many pictures. Rows go to
records/pictures.jsonl.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from kept import Records

RECORDS = Records("pictures")
ROUNDS, BATCH = 5, 32
MEASURES = ("nDCG@10", "Rprec")


def main() -> None:
    """Measure what is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds fashion-mnist")
    parser.add_argument("--part", choices=("fit", "encode"), nargs="*", default=["fit", "encode"])
    parser.add_argument("--pictures", type=int, default=2_000, help="to encode")
    parser.add_argument("--table", action="store_true", help="print what is kept")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    tiny.add_option(parser)
    options = parser.parse_args()
    if options.peak:
        print(peak_bytes(options.file, options.peak))
    elif options.quick:
        with tiny.place(RECORDS) as here:
            fit(made_set(here.folder / "made.npz"), steps=2)
            encode(here.folder / "made.npz", 32, rounds=1, size=32)
            print(table())
    elif options.table:
        print(table())
    else:
        with tempfile.TemporaryDirectory() as work:
            file = unpacked(options.data / "fashion-mnist", Path(work))
            if "fit" in options.part:
                fit(file)
            if "encode" in options.part:
                encode(file, options.pictures)
        print(table())


def unpacked(folder: Path, work: Path) -> Path:
    """Fashion-MNIST as the .npz that it is packed from."""
    target = work / "fashion.npz"
    with lzma.open(folder / "fashion_mnist_15k.npz.xz") as packed:
        target.write_bytes(packed.read())
    return target


def made_set(target: Path) -> Path:
    """Stripes of two ways in random colours."""
    rng = np.random.default_rng(0)
    named: dict[str, Any] = {}
    for split, count in (("train", 60), ("test", 20)):
        labels = rng.integers(0, 2, count)
        plane = np.tile(np.arange(28) // 3 % 2, (28, 1))
        colours = rng.integers(0, 256, (count, 2), np.uint8)
        pictures = [
            row[plane if label else plane.T] for row, label in zip(colours, labels, strict=True)
        ]
        named |= {f"x_{split}": np.array(pictures), f"y_{split}": labels}
    np.savez(target, **named)
    return target


def fit(file: Path, steps: int | None = None) -> None:
    """One fit as `experiment=fashion` has it."""
    command = [sys.executable, "-m", "whet_launch", "fit", "experiment=fashion", f"data={file}"]
    if steps:
        command += [f"trainer.max_steps={steps}", "evaluate.depth=60", "trainer.batch_size=4"]
        command += ["select=last"]
    with tempfile.TemporaryDirectory() as work:
        output = Path(work) / "run"
        start = time.perf_counter()
        subprocess.run([*command, f"output={output}"], check=True)
        seconds = time.perf_counter() - start
        told = json.loads((output / "comparison.json").read_text())
    row: dict[str, Any] = {"part": "fit", "seconds": round(seconds, 1)}
    for one in told["rows"]:
        if one["measure"] in MEASURES:
            row[one["measure"]] = [round(one["base"], 4), round(one["tuned"], 4)]
    RECORDS.keep(row)


def encode(file: Path, count: int, rounds: int = ROUNDS, size: int | None = None) -> None:
    """Pictures per second, in turns, and the peaks of memory."""
    from whet.config import ModelConfig
    from whet.model.encoder import Encoder

    encoder = Encoder.load(ModelConfig("lite0", image_size=size))
    items = pictures_of(file, count)
    ratios, rates = [], []
    for _ in range(rounds):
        plain_s = timed(lambda: plainly(encoder, items))
        ours_s = timed(lambda: encoder.encode(items))
        ratios.append(plain_s / ours_s)
        rates.append(count / ours_s)
    np.testing.assert_allclose(plainly(encoder, items[:8]), encoder.encode(items[:8]), atol=1e-4)
    few, many = (peak_of(file, size) for size in (count // 4, count))
    RECORDS.keep(
        {
            "part": "encode",
            "pictures": count,
            "ratio": round(statistics.median(ratios), 3),
            "per second": round(statistics.median(rates), 1),
            "peak MB": [round(few / 1e6), round(many / 1e6)],
        }
    )


def pictures_of(file: Path, count: int) -> list[Any]:
    """The first so many documents of a file of arrays."""
    from whet.data.load import load_dataset

    data = load_dataset(str(file))
    return list(data.corpus.items(np.arange(count) % len(data.corpus)))


def plainly(encoder: Any, items: list[Any]) -> np.ndarray:
    """What one writes by hand: open, cut, stack, run, mean over the places, unit length."""
    import torch
    from PIL import Image

    framing = encoder.tokenizer.framing
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(items), BATCH):
            images = [
                framing.framed(Image.open(io.BytesIO(item.payload)).convert("RGB"))
                for item in items[start : start + BATCH]
            ]
            pixels = framing.scaled(torch.from_numpy(np.stack(images)))
            seen = encoder.backbone(pixel_values=pixels).last_hidden_state.mean((2, 3))
            vectors.append(torch.nn.functional.normalize(seen).numpy())
    return np.concatenate(vectors)


def timed(work: Any) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_of(file: Path, count: int) -> int:
    """`peak_bytes` of a process of its own."""
    command = [sys.executable, __file__, "--peak", str(count), "--file", str(file)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_bytes(file: Path, count: int) -> int:
    """The peak of memory of encoding so many documents of a file, above that with the model."""
    from whet.data.load import load_dataset
    from whet.encoding.table import encode_table
    from whet.model.encoder import Encoder

    data, encoder = load_dataset(str(file)), Encoder.load("lite0")
    encoder.encode([encoder.filler])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as store:
        rows = np.arange(min(count, len(data.corpus)))
        encode_table(encoder, data.corpus, kind="document", store=Path(store), rows=rows)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def table() -> str:
    """What is on record."""
    lines = []
    for row in RECORDS.rows():
        if row["part"] == "fit":
            told = ", ".join(f"{name} {row[name][0]} to {row[name][1]}" for name in MEASURES)
            lines.append(f"fit     {told}; {row['seconds']:,} s")
        else:
            few, many = row["peak MB"]
            lines.append(
                f"encode  {row['per second']} pictures/s, {row['ratio']} times a plain loop; peak "
                f"{few} MB of {row['pictures'] // 4:,}, {many} MB of {row['pictures']:,}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
