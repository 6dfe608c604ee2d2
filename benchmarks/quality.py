"""Does `whet fit` with its defaults make MiniLM better? On six collections, with every figure kept.

    python benchmarks/quality.py                    # what the records lack, then the table
    python benchmarks/quality.py --only nl2bash --seeds 3
    python benchmarks/quality.py --table            # the table alone

A run's row is appended to records/quality.jsonl as soon as it is done, so an interrupted call goes
on where it was. Needs the collections of recipes.py in the folder --data. Minutes to an hour a row
on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

from recipes import RECIPES, Recipe, prepared

RECORDS = Path(__file__).parent / "records" / "quality.jsonl"
PUBLISHED = {"scifact": 0.645}  # nDCG@10 of all-MiniLM-L6-v2, mteb results


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/quality"))
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        done = {(row["data"], row["seed"]) for row in rows()}
        for seed in range(options.seeds):
            for name in options.only:
                if (name, seed) not in done:
                    run(RECIPES[name], seed, options.data, options.work)
    print(table())


def run(recipe: Recipe, seed: int, root: Path, work: Path) -> None:
    """One fit with the defaults; its row goes to the records."""
    import whet
    from whet.run_folder import versions

    data = prepared(recipe, root, work)
    folder = work / f"{recipe.name}_seed{seed}_{int(time.time())}"
    model = {"max_length": recipe.max_length} if recipe.max_length else {}
    start = time.monotonic()
    found = whet.fit(str(data), output=str(folder), seed=seed, model=model)
    mining = json.loads((folder / "mining_report.json").read_text())
    facts = json.loads((folder / "environment.json").read_text())
    row = {
        "data": recipe.name,
        "documents": facts["data"]["documents"],
        "train pairs": facts["data"]["train pairs"],
        "seed": seed,
        "rows": found.comparison.to_dict()["rows"],
        "rows mined": mining["rows"],
        "short rows": sum(count > 0 for count in mining["short"]),
        "options": {"model": model},
        "seconds": round(time.monotonic() - start),
        "stages": facts["seconds"],
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "date": time.strftime("%Y-%m-%d"),
    }
    RECORDS.parent.mkdir(exist_ok=True)
    with RECORDS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows() -> list[dict]:
    """The records, oldest first."""
    if not RECORDS.exists():
        return []
    return [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]


def table() -> str:
    """Mean over seeds of nDCG@10, base against tuned; p is the worst of the seeds'."""
    lines = [
        "| data | documents | train pairs | base | tuned | change | range | worst p | seeds "
        "| minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in RECIPES:
        mine = [row for row in rows() if row["data"] == name]
        if not mine:
            continue
        main_rows = [row["rows"][0] for row in mine]
        changes = [row["difference"] for row in main_rows]
        p = max(row["p_value"] for row in main_rows)
        lines.append(
            f"| {name} | {mine[0]['documents']:,} | {mine[0]['train pairs']:,} "
            f"| {main_rows[0]['base']:.4f} | {statistics.mean(r['tuned'] for r in main_rows):.4f} "
            f"| {statistics.mean(changes):+.4f} | {min(changes):+.4f} to {max(changes):+.4f} "
            f"| {'<0.001' if p < 0.001 else f'{p:.3f}'} | {len(mine)} "
            f"| {statistics.median(row['seconds'] for row in mine) / 60:.0f} |"
        )
    for name, value in PUBLISHED.items():
        base = [row["rows"][0]["base"] for row in rows() if row["data"] == name]
        if base:
            lines.append(f"\nZero-shot {name}: {base[0]:.4f}, published {value}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
