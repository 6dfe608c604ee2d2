"""Is Whet right on a GPU, and how fast is it there? All checks and measurements, by one command.

    python benchmarks/gpu/make_gpu.py                # goes on with what this commit and device lack
    python benchmarks/gpu/make_gpu.py right mining   # some groups or stages: --list names them
    python benchmarks/gpu/make_gpu.py --again loss   # once more
    python benchmarks/gpu/make_gpu.py --page         # the page of what there is, measuring nothing
    python benchmarks/gpu/make_gpu.py --rehearse     # no GPU: tiny shapes on a pretended one
    python benchmarks/gpu/make_gpu.py --quick        # the same of the stages that take seconds

Correctness comes first. A stage that could not end within --seconds is not begun, so a call ends in
time; call again for the rest. Each stage adds a line to records/gpu.jsonl, and in $OUT where that
is set, the moment it ends, however it ends. A rehearsal runs the same code and keeps nothing. No
model, data or network is needed; pack.py makes what a bare machine lacks.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import folders
import lines
import tiny
from battery import Battery, Lost, Settings
from goals import counts, judged, shown
from stages import STAGES, Stage, chosen

from whet_launch.options.environment import prepare_for_torch

OUT = os.environ.get("OUT")
QUICK = {
    *("ceilings", "mining is right", "loss is right", "cached gradients are right"),
    *("vectors are right", "encode", "loss"),
}


def main() -> None:
    """Run what is asked for and print the tables."""
    options = parsed()
    try:
        stages = chosen(options.stages)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if options.list:
        for one in STAGES:
            print(f"{one.group:<8} {one.name.replace(' ', '-'):<27} {one.seconds:4.0f} s")
    elif options.quick:
        options.rehearse = True
        rehearse([one for one in stages if one.name in QUICK], options)
    elif options.rehearse:
        rehearse(stages, options)
    elif options.page:
        kept = lines.Lines(options.records, Path(OUT) if OUT else None)
        print(write_page(kept, out_folder()))
    else:
        run(stages, options)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", help="groups or stages; default: all")
    parser.add_argument("--list", action="store_true", help="name the stages and their seconds")
    parser.add_argument("--seconds", type=float, default=480.0, help="of the whole call")
    parser.add_argument("--again", action="store_true", help="also what has a good line already")
    parser.add_argument("--records", type=Path, default=lines.RECORDS.path, metavar="FILE")
    parser.add_argument("--page", action="store_true", help="write the page of the records")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on a pretended GPU")
    parser.add_argument("--quick", action="store_true", help="the same of stages of seconds")
    return parser.parse_args()


def rehearse(stages: list[Stage], options: argparse.Namespace) -> None:
    """Every line of the battery, at tiny shapes, on a pretended device; nothing is kept."""
    if tiny.missing("triton", "lightning"):
        return
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
    with tiny.place(lines.RECORDS) as place:
        prepare(place.folder)
        kept = lines.Lines(place.folder / "gpu.jsonl", None)
        battery = battery_of(options, kept, place.folder)
        battery.run(stages)
        write_page(kept, place.folder)
        found = kept.all()
        bad = [line for line in found if line["status"] in ("failed", "wrong")]
        report(found, found[-1]["commit"], found[-1]["device"], judge=False)
        if bad:
            print((place.folder / "gpu.log").read_text(errors="replace")[-8000:])
            raise SystemExit(f"{len(bad)} stages went wrong: see above.")


def run(stages: list[Stage], options: argparse.Namespace) -> None:
    """What this commit and device have no good line for, as far as the seconds go."""
    os.environ.pop("TRITON_INTERPRET", None)
    out = out_folder()
    kept = lines.Lines(options.records, Path(OUT) if OUT else None)
    with tempfile.TemporaryDirectory(prefix="whet-gpu-") as scratch:
        prepare(Path(scratch))
        battery = battery_of(options, kept, out, Path(scratch))
        try:
            device = battery.facts()["device"]
        except Lost as why:
            battery.end()
            raise SystemExit(no_device(out, str(why))) from None
        commit = battery.settings.commit
        known = lines.newest(kept.all(), commit, device)
        try:
            battery.run(stages if options.again else lacking(stages, known))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
    found = kept.all()
    write_page(kept, out)
    report(found, commit, device)
    print("\n".join(what_next(lines.newest(found, commit, device), battery.late, out)))
    newest = lines.newest(found, commit, device)
    if any(newest.get(one.name, {}).get("status") in ("failed", "wrong") for one in stages):
        raise SystemExit(1)


def out_folder() -> Path:
    """Where logs, profiles and the page go."""
    out = Path(OUT) if OUT else folders.CARRIED / "out"
    out.mkdir(parents=True, exist_ok=True)
    return out


def prepare(scratch: Path) -> None:
    """What processes started from here find in their environment."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    os.environ["WHET_CACHE"] = str(scratch / "cache")  # vectors found there would be no measurement
    os.environ.setdefault("TRITON_CACHE_DIR", str(folders.CARRIED / "triton"))
    prepare_for_torch(os.environ)  # as whet's own processes have it


def battery_of(
    options: argparse.Namespace, kept: lines.Lines, out: Path, scratch: Path | None = None
) -> Battery:
    """A call of these options."""
    settings = Settings(
        options.rehearse, options.seconds, out.resolve(), scratch or out, lines.commit()
    )
    return Battery(settings, kept.keep, lambda words: print(words, flush=True))


def lacking(stages: list[Stage], known: dict[str, lines.Line]) -> list[Stage]:
    """Those without a good line; those never tried first, so that one that fails each time does
    not take the time of the others.
    """
    open_ones = [one for one in stages if known.get(one.name, {}).get("status") != "ok"]
    return sorted(open_ones, key=lambda one: one.name in known)


def report(found: list[lines.Line], commit: str, device: str, *, judge: bool = True) -> None:
    """The tables of stages and of goals; figures of a rehearsal meet none."""
    newest = lines.newest(found, commit, device)
    print(f"\n{device}, {commit}\n")
    for stage in STAGES:
        line = newest.get(stage.name)
        print(lines.told(line) if line else f"{stage.name:<25} not yet")
    verdicts = judged(newest if judge else {})
    print("\nGoals\n")
    print("\n".join(shown(verdicts)))
    told = ", ".join(f"{count} {word}" for word, count in counts(verdicts).items())
    print(f"\n{told}")


def what_next(newest: dict[str, lines.Line], late: list[str], out: Path) -> list[str]:
    """What to do after this call."""
    rows = [""]
    bad = [line for line in newest.values() if line["status"] in ("failed", "wrong")]
    rows += [f"{line['stage']}: {line['status']}. {line['why']}" for line in bad]
    if bad:
        rows.append(f"What they printed is in {out / 'gpu.log'}.")
    if late:
        rows.append(f"No time was left for {', '.join(late)}. The same command goes on with them.")
    others = [one.name for one in STAGES if one.name not in newest and one.name not in late]
    if others:
        rows.append(f"Not asked for yet: {', '.join(others)}. `make gpu` does them.")
    if not (bad or late or others):
        rows.append("All that can be done here is done.")
    return [*rows, f"The page: {out / 'gpu.html'}"]


def no_device(out: Path, why: str) -> str:
    """Where there is no GPU."""
    log = (out / "gpu.log").read_text(errors="replace").strip().splitlines()
    return (
        f"No CUDA GPU could be used: {why}. {log[-1] if log else ''}\n"
        "Rehearse without one: make gpu ARGS=--rehearse"
    )


def write_page(kept: lines.Lines, folder: Path) -> Path:
    """The page of all records, with the plot of the mining table where its rows are."""
    from gpu_page import page

    target = folder / "gpu.html"
    target.write_text(page(kept.all(), [folder / "mining.csv"]), encoding="utf-8")
    return target


if __name__ == "__main__":
    main()
