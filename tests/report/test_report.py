"""The page: self-contained, hostile texts shown as text, numbers where they belong, parts left
out.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whet.errors import CheckpointError
from whet.evaluation.comparison import compare
from whet.evaluation.measures import Scores
from whet.report.folder import ReportInput, read_run_folder
from whet.report.mining import STATISTICS
from whet.report.render import render_report, report_from_run_folder, write_report

VOID = {"meta", "br", "link", "img", "hr", "input"}
PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    "</title><svg onload=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]><iframe src=https://evil.test>",
    "&lt;b&gt; stays as typed",
    "שלום \u202e txt.exe",
]


class Page(HTMLParser):
    """What a browser would see: tags with attributes, text by tag, and whether the tags nest."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.words: list[str] = []
        self.badly_nested: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.badly_nested.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.stack):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))  # a no-break space too

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def scores(name: str, values: list[float]) -> Scores:
    per_query = {name: {f"q{i}": value for i, value in enumerate(values)}}
    return Scores({name: sum(values) / len(values)}, per_query)


def example(text: str, difference: float) -> dict:
    doc = {"rank": 1, "id": text, "text": text, "score": 0.5, "relevant": True}
    relevant = {"id": text, "text": text, "relevance": 1, "rank_base": None, "rank_tuned": 1}
    return {
        **{"query_id": text, "query": text, "measure": "RR@10", "difference": difference},
        **{"base": 0.0, "tuned": 1.0, "relevant": [relevant], "relevant_total": 1},
        **{"before": [], "after": [doc, {**doc, "text": text + " long" * 80, "relevant": False}]},
    }


def full_run(text: str = "a text") -> ReportInput:
    """A run with every part, `text` wherever a user's words can get to."""
    before, after = [0.0] * 50 + [1.0] * 50, [1.0] * 30 + [0.5] * 20 + [1.0] * 47 + [0.5] * 3
    comparison = compare(scores("RR@10", before), scores("RR@10", after), "RR@10").to_dict()
    comparison["examples"] = {"won": [example(text, 1.0)], "lost": [example(text, -0.5)]}
    per_query = [
        {"query_id": f"q{i}", "base": {"RR@10": b}, "tuned": {"RR@10": t}}
        for i, (b, t) in enumerate(zip(before, after, strict=True))
    ]
    doc = {"id": text, "text": text}
    row = {"query": doc, "positives": [doc], "negatives": [{**doc, "rank": 3, "score": 0.5}]}
    mining = {
        **{"rows": 1234, "short": [0, 2], "excluded": [1, 1], "allowed": [8, 9]},
        **{"rank_counts": [5] * 14, "gap_counts": [5] * 13, "policy": {"sampling": text}},
        **{"backend": text, "sample": [{**row, "positive_score": 0.75}]},
        "scores": {"positive": dict.fromkeys(STATISTICS, 0.625)},
    }
    log = [
        {"step": i, "loss": 3.0 / i, "lr": 1e-4 / i, "negatives_age_steps": i} for i in range(1, 99)
    ]
    log[49]["refresh_overlap"] = 0.25
    return ReportInput(
        title=text,
        comparison=comparison,
        per_query=per_query,
        mining=mining,
        train_log=log,
        config=f"data:\n  path: {text}\n",
        environment={
            "data": {"name": text, "documents": 5183},
            "seconds": {"train": 431.8},
            text: text,
        },
    )


SECTIONS = {"measures", "queries", "won", "lost", "training", "mining", "run"}


def sections(page: Page) -> set[str]:
    return {str(attrs["id"]) for attrs in page.named("section")}


def test_all_parts_and_their_numbers() -> None:
    page = Page(render_report(full_run()))
    assert sections(page) == SECTIONS
    assert page.badly_nested == [] and page.stack == []
    for words in (
        "The search got better",
        "Finds a right document first for 77 % of queries, was 50 %; RR@10 is 0.885, was 0.500.",
        "0.8850",
        "+0.3850",
        "< 0.001",
        "50 won",
        "3 lost",
        "Mean over 100 queries",
        "1,234",
        "5,183",
        "7 min 12 s",
        "1 of 2 (50.0 %)",
        "0.625",
        "rank 3 · score 0.500",
        "not found",
        "Overlap of fresh negatives",
    ):
        assert words in page.text, words


def test_nothing_comes_from_outside_and_nothing_runs() -> None:
    html = render_report(full_run())
    page = Page(html)
    used = {tag for tag, _ in page.tags}
    assert not used & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {"src", "href", "xlink:href", "action", "srcset"}
    assert "http" not in re.sub(r'http-equiv="Content', "", html)
    assert "url(" not in html and "@import" not in html
    policy = next(attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_texts_are_shown_as_text(payload: str) -> None:
    clean, page = Page(render_report(full_run())), Page(render_report(full_run(payload)))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]
    assert {name for _, attrs in page.tags for name in attrs} == {
        name for _, attrs in clean.tags for name in attrs
    }
    assert page.text.count(re.sub(r"\s+", " ", payload)) >= 10


@settings(max_examples=25, deadline=None)
@given(text=st.text(min_size=1, max_size=30))
def test_any_text_leaves_the_page_whole(text: str) -> None:
    html = render_report(full_run(text))
    html.encode("utf-8")
    page = Page(html)
    assert page.badly_nested == [] and "script" not in {tag for tag, _ in page.tags}


def test_pictures_and_tables_can_be_heard() -> None:
    page = Page(render_report(full_run()))
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    drawings = page.named("svg")
    assert len(drawings) == 1 + 1 + 4 + 2  # interval, change, four curves, two histograms
    for attrs in drawings:
        assert attrs["role"] == "img"
        assert attrs.get("aria-label") or set(str(attrs["aria-labelledby"]).split()) <= set(ids)
    assert len(page.named("caption")) == len(page.named("table"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1


def test_long_texts_open_on_demand() -> None:
    html = render_report(full_run("word"))
    assert re.search(r"<summary[^>]*><span class=\"short\">word long[^<]* …</span></summary>", html)
    assert "word" + " long" * 80 in html


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ({"mining": None}, {"mining"}),
        ({"train_log": []}, {"training"}),
        ({"per_query": []}, {"queries"}),
        ({"config": None, "environment": None}, {"run"}),
        ({"comparison": None}, {"measures", "queries", "won", "lost"}),
    ],
)
def test_missing_parts_are_left_out(missing: dict, gone: set[str]) -> None:
    run = ReportInput(**{**full_run().__dict__, **missing})
    assert sections(Page(render_report(run))) == SECTIONS - gone


def test_without_a_comparison_the_measures_stand_alone() -> None:
    run = ReportInput("mine", metrics={"tuned": {"nDCG@10": 0.5123}, "seconds": 3})
    page = Page(render_report(run))
    assert sections(page) == {"measures"}
    assert "Tuned" in page.text and "0.5123" in page.text
    flat = Page(render_report(ReportInput("mine", metrics={"nDCG@10": 0.25})))
    assert "0.2500" in flat.text


@pytest.mark.parametrize(
    ("after", "headline"),
    [([0.5] * 20, "The search got worse"), ([1.0] * 19 + [0.5], "No clear change")],
)
def test_headline_is_honest(after: list[float], headline: str) -> None:
    comparison = compare(scores("RR@10", [1.0] * 20), scores("RR@10", after), "RR@10").to_dict()
    assert headline in Page(render_report(ReportInput("x", comparison=comparison))).text


def write_folder(folder: Path, run: ReportInput) -> None:
    (folder / "comparison.json").write_text(json.dumps(run.comparison))
    (folder / "mining_report.json").write_text(json.dumps(run.mining))
    (folder / "environment.json").write_text(json.dumps(run.environment))
    for name, rows in (("per_query", run.per_query), ("train_log", run.train_log)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    (folder / "config.yaml").write_text(run.config or "")


def test_a_run_folder_gives_the_same_page(tmp_path: Path) -> None:
    write_folder(tmp_path, full_run())
    assert read_run_folder(tmp_path) == full_run()
    page = report_from_run_folder(tmp_path)
    assert page == render_report(full_run())
    assert write_report(tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_a_killed_jobs_log_is_read_up_to_its_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "train_log.jsonl"
    log.write_text('{"step": 1, "loss": 9}\n{"step": 2, "loss": 8}\n{"step": 2, "loss": 7}\n{"st')
    run = read_run_folder(tmp_path)
    assert [row["loss"] for row in run.train_log] == [9, 8, 7]
    assert "From 9 to 7; lowest 7, highest 9." in Page(render_report(run)).text


def test_folders_that_give_no_report(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a run folder"):
        report_from_run_folder(tmp_path)
    (tmp_path / "metrics.json").write_text('{"tuned": ')
    with pytest.raises(CheckpointError, match=r"metrics\.json is damaged: no JSON"):
        report_from_run_folder(tmp_path)
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"metrics\.json is nested too deep"):
        report_from_run_folder(tmp_path)
    (tmp_path / "metrics.json").unlink()
    for line in ("broken", "[" * 100_000):
        (tmp_path / "per_query.jsonl").write_text(f"{{}}\n{line}\n{{}}\n")
        with pytest.raises(CheckpointError, match=r"per_query\.jsonl .*line 2"):
            report_from_run_folder(tmp_path)
