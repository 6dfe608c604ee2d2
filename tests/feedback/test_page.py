"""The search page in a real browser: a person searches, judges, drags, undoes, tunes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from labelling import (
    CHROMIUM,
    PHONE,
    WIDE,
    Page,
    answers,
    chromium,
    event,
    mark_some,
    open_page,
    search_for,
    see_result,
    served,
    ship,
    start_drag,
    start_tune,
    stop_tune,
    tuned_folder,
    until,
)

from whet.feedback.events.judgments import judgments
from whet.feedback.events.store import read_events
from whet.feedback.learn.trials import ENCODER_FROM
from whet.feedback.learn.tune import FEWEST
from whet.feedback.serve.browser import redirect_file, send_on

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None,
    reason="needs Chromium (apt install chromium) and playwright",
)
QUERY = "baba cedi fogu"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(tiny_data: Path, tiny_model: Path, tmp_path: Path) -> Iterator[Page]:
    with served(tiny_data, tiny_model, tmp_path / "feedback") as running:
        yield running


@contextmanager
def looking(browser: Any, **options: Any) -> Iterator[Any]:
    """A window of the browser; whatever a script complains about fails the test."""
    context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
    context.set_default_timeout(8000)
    view = context.new_page()
    faults: list[str] = []
    view.on("pageerror", lambda error: faults.append(str(error)))
    view.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
    try:
        yield view
        assert faults == []
    finally:
        context.close()


@pytest.fixture
def view(browser: Any, page: Page) -> Iterator[Any]:
    with looking(browser) as opened:
        open_page(opened, page)
        yield opened


def order(view: Any) -> list[str]:
    return view.eval_on_selector_all(".result", "nodes => nodes.map((n) => n.dataset.id)")


def pressed(view: Any) -> dict[str, str]:
    """Marked documents, and how."""
    return view.eval_on_selector_all(
        ".marks [aria-pressed='true']",
        "nodes => Object.fromEntries("
        "nodes.map((n) => [n.closest('.result').dataset.id, n.className]))",
    )


def sent(view: Any) -> None:
    """Waits until nothing is left to send."""
    until(view, "!Object.keys(localStorage).some((key) => key.includes('.event.'))")


def actions(page: Page) -> list[str]:
    return [event.action for event in page.session._known.now().events]


def test_a_search_shows_the_servers_list(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    found = page.session.search(QUERY, None, 20, "me")
    assert order(view) == [one["doc_id"] for one in found["results"]]
    first = found["results"][0]
    assert view.inner_text(".result:first-child .text").strip() == first["text"].strip()
    assert view.inner_text(".result:first-child .score") == f"{first['score']:.3f}"
    assert "20 results" in view.inner_text("#status")
    assert view.evaluate("document.activeElement.className").startswith("result")


def test_marks_by_click_and_by_keys_reach_the_store(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    a, b, c = order(view)[:3]
    view.click(".result:nth-child(1) .relevant")
    view.keyboard.press("j")
    view.keyboard.press("x")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("r")
    assert pressed(view) == {a: "relevant", b: "irrelevant", c: "relevant"}
    view.keyboard.press("r")  # pressed again: the mark is gone
    view.keyboard.press("k")
    view.keyboard.press("r")  # the other mark replaces it
    assert pressed(view) == {a: "relevant", b: "relevant"}
    sent(view)
    (judged,) = judgments(page.session._known.now().events)
    assert (judged.query, judged.relevant, judged.irrelevant) == (QUERY, [a, b], [])
    first = page.session._known.now().events[0]
    assert [one.doc_id for one in first.shown] == order(view)
    assert all(one.score is not None for one in first.shown)
    until(view, "document.querySelector('#counts dd').textContent === '1'")


@pytest.mark.parametrize(("start", "to"), [(5, 2), (1, 4)])
def test_a_drag_moves_a_result_and_is_kept(view: Any, page: Page, start: int, to: int) -> None:
    search_for(view, QUERY)
    expected = order(view)
    moved = expected.pop(start - 1)
    expected.insert(to - 1, moved)
    start_drag(view, start, to)
    view.mouse.up()
    assert order(view) == expected
    sent(view)
    (event,) = page.session._known.now().events
    assert (event.action, event.doc_id, event.place) == ("move", moved, to - 1)
    assert [one.doc_id for one in event.shown].index(moved) == start - 1
    again = page.session.search(QUERY, None, 20, "me")["results"]
    assert [one["doc_id"] for one in again] == expected


def test_a_drag_can_be_given_up(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    before = order(view)
    start_drag(view, 4, 1)
    view.keyboard.press("Escape")
    view.mouse.up()
    assert order(view) == before
    assert actions(page) == []


def test_a_finger_drags_too(browser: Any, page: Page) -> None:
    with looking(browser, viewport=PHONE, has_touch=True, is_mobile=True) as view:
        open_page(view, page)
        search_for(view, QUERY)
        expected = order(view)
        expected.insert(0, expected.pop(1))
        handle = view.locator(".result:nth-child(2) .handle")
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        top = view.locator(".result:nth-child(1)").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = view.context.new_cdp_session(view)

        def feel(kind: str, at: float) -> None:
            points = [] if kind == "touchEnd" else [{"x": x, "y": at}]
            said = {"type": kind, "touchPoints": points}
            touch.send("Input.dispatchTouchEvent", said)

        feel("touchStart", y)
        for part in range(1, 6):
            feel("touchMove", y + (top["y"] + 5 - y) * part / 5)
        feel("touchEnd", y)
        until(view, "id => document.querySelector('.result').dataset.id === id", expected[0])
        assert order(view) == expected
        sent(view)
        assert actions(page) == ["move"]


def test_the_keys_move_a_result(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    a, b, c, d, *rest = order(view)
    view.keyboard.press("j")
    view.keyboard.press("Alt+ArrowUp")
    assert order(view)[:2] == [b, a]
    view.keyboard.press("Alt+ArrowDown")
    assert order(view)[:2] == [a, b]
    view.keyboard.press("m")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowDown")
    assert order(view)[:4] == [a, c, d, b]
    view.keyboard.press("Escape")
    assert order(view)[:4] == [a, b, c, d]
    view.focus(".result:nth-child(2) .handle")
    view.keyboard.press("Enter")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    assert order(view) == [a, c, d, b, *rest]
    assert "Moved from place 2 to 4" in view.inner_text("#live")
    sent(view)
    assert actions(page) == ["move", "move", "move"]
    assert page.session._known.now().events[-1].place == 3


def test_undo_and_redo_over_queries(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    first = order(view)
    view.click(".result:nth-child(2) .relevant")
    view.keyboard.press("Alt+ArrowUp")
    moved = order(view)
    search_for(view, "zuzu titi")
    view.click(".result:nth-child(1) .irrelevant")
    view.keyboard.press("u")
    assert pressed(view) == {}
    view.keyboard.press("Control+z")  # of the other query: it is shown
    until(view, "query => document.querySelector('#query').value === query", QUERY)
    until(view, "id => document.querySelector('.result').dataset.id === id", first[0])
    assert order(view) == first
    view.click("#undo")
    assert pressed(view) == {}
    assert view.is_disabled("#undo")
    sent(view)
    assert not any(judgments(page.session._known.now().events))
    view.click("#redo")
    view.keyboard.press("Control+y")
    assert order(view) == moved
    assert pressed(view) == {first[1]: "relevant"}
    view.keyboard.press("Shift+U")
    until(view, "document.querySelector('#query').value === 'zuzu titi'")
    view.wait_for_selector(".irrelevant[aria-pressed='true']")
    sent(view)
    judged = {one.query: one for one in judgments(page.session._known.now().events)}
    assert judged[QUERY].relevant == [first[1]]
    assert judged[QUERY].preferences == [(first[1], first[0])]
    assert len(judged["zuzu titi"].irrelevant) == 1


def test_a_missing_document_is_pulled_in(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    before = order(view)
    corpus = page.session.data.corpus
    missing = next(id_ for id_ in corpus.ids if id_ not in before)
    text = page.session.document(missing)
    view.fill("#find-text", text)
    view.click("#find button")
    view.click(f"#found li:has-text('{text[:40]}') button")
    assert order(view) == [missing, *before]
    assert pressed(view) == {missing: "relevant"}
    assert view.is_visible(".result:first-child .added")
    sent(view)
    (event,) = page.session._known.now().events
    assert (event.action, event.doc_id) == ("relevant", missing)
    assert missing not in [one.doc_id for one in event.shown]


def test_a_reload_keeps_all(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    mark_some(view)
    view.focus(".result:nth-child(3)")
    view.keyboard.press("Alt+ArrowUp")
    view.fill("#who", "Ann")
    view.press("#who", "Enter")
    kept, marks = order(view), pressed(view)
    sent(view)
    view.reload()
    view.wait_for_selector(".result")
    assert view.input_value("#who") == "Ann"
    assert order(view) == kept
    assert pressed(view) == marks
    view.click("#undo")  # also what was done before the reload
    assert order(view) != kept
    view.click("#redo")
    assert order(view) == kept


def test_marks_made_while_the_server_is_away_arrive_later(
    browser: Any, tiny_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "feedback"
    with looking(browser) as view:
        with served(tiny_data, tiny_model, home) as page:
            port = page.port
            open_page(view, page)
            search_for(view, QUERY)
            names = order(view)
            view.click(".result:nth-child(1) .relevant")
            sent(view)
        view.click(".result:nth-child(2) .relevant")
        view.click(".result:nth-child(3) .irrelevant")
        view.focus(".result:nth-child(3)")
        view.keyboard.press("u")
        view.wait_for_selector("#banner:not([hidden])")
        assert "cannot be reached" in view.inner_text("#banner")
        assert pressed(view) == {names[0]: "relevant", names[1]: "relevant"}
        with served(tiny_data, tiny_model, home, port=port) as page:
            until(
                view,
                "document.querySelector('#banner').textContent.includes('started anew')",
                seconds=15,
            )
            assert actions(page) == ["relevant"]
            open_page(view, page)  # as the new start printed it
            sent(view)
            assert actions(page) == ["relevant", "relevant", "irrelevant", "undo"]
            view.wait_for_selector(".result")
            assert pressed(view) == {names[0]: "relevant", names[1]: "relevant"}
            assert view.is_hidden("#banner")


def test_a_lost_answer_stores_nothing_twice(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    dropped: list[str] = []

    def swallow(route: Any) -> None:
        if len(dropped) == 2:  # the page asks twice before it says that nobody answers
            route.continue_()
            return
        dropped.append(route.request.post_data)
        route.fetch()  # the server stores it, and the page never hears of it
        route.abort()

    view.route("**/api/events", swallow)
    view.click(".result:nth-child(1) .relevant")
    view.wait_for_selector("#banner:not([hidden])")
    sent(view)
    assert dropped[0] == dropped[1] and len(json.loads(dropped[0])["events"]) == 1
    assert actions(page) == ["relevant"]
    view.wait_for_selector("#banner", state="hidden")


def test_the_key_is_in_its_tab_alone(browser: Any, page: Page) -> None:
    with looking(browser) as view:
        others = [{"name": "prefs", "value": '{"theme":"dark"}'}, {"name": "filters[year]"}]
        view.context.add_cookies([{"value": "1", "url": page.address, **one} for one in others])
        before = view.context.cookies()
        url = page.url
        view.goto(url)
        until(view, "document.title.includes('·')")
        assert view.url == f"{page.address}/"  # no token stays in the address
        assert view.context.cookies() == before and len(before) == 2
        kept = view.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        assert page.keys.key in kept and url.partition("=")[2] not in kept
        view.reload()
        until(view, "document.title.includes('·')")
        fresh = view.context.new_page()
        fresh.goto(page.address)
        fresh.wait_for_selector("#banner:not([hidden])")
        assert "Whet does not know this tab" in fresh.inner_text("#banner")
        assert fresh.goto(url).status == 401  # used
        fresh.goto(page.url)
        until(fresh, "document.title.includes('·')")


def test_a_browser_comes_in_by_the_private_file(
    browser: Any, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda url: None)
    path = redirect_file(tmp_path, page.port)
    token = page.keys.issue(lambda: path.unlink(missing_ok=True))
    send_on(path, f"{page.address}/?token={token}")
    with looking(browser) as view:
        view.goto(path.as_uri())
        view.wait_for_url(lambda url: url.startswith(page.address))
        until(view, "document.title.includes('·')")
        assert view.url == f"{page.address}/"
        assert not path.exists()


def test_the_exports_are_saved_as_files(view: Any, page: Page) -> None:
    page.session.add(answers(page.session, 3))
    for kind, name in (
        ("qrels", "qrels.tsv"),
        ("pairs", "pairs.jsonl"),
        ("events", "events.jsonl"),
    ):
        with view.expect_download() as saved:
            view.click(f"#export-{kind}")
        assert saved.value.suggested_filename == name
        assert Path(saved.value.path()).read_text(encoding="utf-8") == page.session.export(kind)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "told"), [(500, "answered 500"), (400, "no such thing")])
def test_a_mark_that_the_server_will_not_take_holds_up_no_other(
    view: Any, page: Page, status: int, told: str
) -> None:
    search_for(view, QUERY)
    names = order(view)
    tries: list[int] = []

    def answer(route: Any) -> None:
        sent = json.loads(route.request.post_data)["events"]
        if not any(one["doc_id"] == names[0] for one in sent):
            route.continue_()
            return
        tries.append(len(sent))
        body = json.dumps({"error": "no such thing"}) if status == 400 else ""
        route.fulfill(status=status, body=body)

    view.route("**/api/events", answer)
    view.click(".result:nth-child(1) .relevant")
    view.click(".result:nth-child(2) .relevant")
    until(view, "!document.querySelector('#aside').hidden", seconds=20)
    sent(view)
    assert [one.doc_id for one in page.session._known.now().events] == [names[1]]
    assert tries.count(1) == (5 if status == 500 else 1)
    assert "1 mark could not be stored" in view.inner_text("#aside-text")
    assert told in view.inner_text("#aside-text")
    assert view.is_hidden("#banner")
    with view.expect_download() as saved:
        view.click("#aside-save")
    (left,) = read_events(Path(saved.value.path()))
    assert (left.action, left.doc_id) == ("relevant", names[0])
    view.unroute("**/api/events")
    view.reload()  # another start of the server may take it
    until(view, "document.title.includes('·')")
    sent(view)
    until(view, "document.querySelector('#aside').hidden")
    assert {one.doc_id for one in page.session._known.now().events} == set(names[:2])


def test_marks_set_aside_can_be_forgotten(view: Any, page: Page) -> None:
    search_for(view, QUERY)
    view.route("**/api/events", lambda route: route.fulfill(status=413))
    view.click(".result:nth-child(1) .relevant")
    view.click("#aside-forget")
    assert view.is_hidden("#aside")
    assert not view.evaluate("Object.keys(localStorage).some((key) => key.includes('.aside.'))")


def test_next_and_skip_walk_through_the_queries(view: Any, page: Page) -> None:
    page.session._sureness.wait()
    expected = page.session.next_query(None)
    view.keyboard.press("n")
    view.wait_for_selector(".result")
    assert view.input_value("#query") == expected["query"]
    assert f"{expected['margin']:.3f} apart" in view.inner_text("#why-next")
    view.keyboard.press("r")
    sent(view)
    view.keyboard.press("s")
    until(view, "query => document.querySelector('#query').value !== query", expected["query"])
    sent(view)
    events = page.session._known.now().events
    assert [event.action for event in events] == ["relevant", "skip"]
    assert {event.query_id for event in events} == {expected["query_id"]}


def lists(view: Any) -> list[list[str]]:
    """The documents before and after, of the query that is compared."""
    return [
        view.eval_on_selector_all(
            f".pair > div:nth-of-type({at}) li", "nodes => nodes.map((n) => n.dataset.id)"
        )
        for at in (1, 2)
    ]


def test_a_query_with_line_ends_stays_itself_when_searched_again(
    browser: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """A field for a search takes line ends out of what it shows."""
    query = "baba cedi\n" * 300
    row = {"query": query, "positive": "baba cedi fogu"}
    (tmp_path / "logs.jsonl").write_text(json.dumps(row) + "\n")
    with (
        served(tmp_path / "logs.jsonl", tiny_model, tmp_path / "feedback") as page,
        looking(browser) as view,
    ):
        open_page(view, page)
        view.click("#next")
        view.wait_for_selector(".result")
        with view.expect_response("**/api/search") as searched:
            view.press("#query", "Enter")
        assert searched.value.json()["query"] == query.strip()
        view.click(".result .relevant")
        sent(view)
        (kept,) = page.session._known.now().events
        assert kept.query == query.strip()
        assert kept.query_id == page.session.data.queries.id(0)


@pytest.mark.slow
def test_a_tune_from_start_to_shipped_and_back(view: Any, page: Page) -> None:
    view.click("#view-tune")
    view.click("#tune-start")
    view.wait_for_selector("#tune-error:not([hidden])")
    assert "0 judged queries have a relevant document" in view.inner_text("#tune-error")
    assert page.session.listed()[-1]["version"] == 0
    page.session.add(answers(page.session, 12))
    view.click("#view-judge")
    search_for(view, QUERY)
    mark_some(view)
    sent(view)
    start_tune(view)
    until(view, "!document.querySelector('#result').hidden", seconds=60)
    facts = page.session.versions.facts(1)
    told = view.inner_text("#result")
    assert facts["advice"] in told and facts["why"] in told
    for name, queries in (("held_out", 13), ("guard", 20)):
        numbers = facts[name]
        assert f"{numbers['before']:.3f} → {numbers['after']:.3f}" in told
        assert f"in nDCG@10, on {queries} queries" in told
    assert f"{facts['losses']['before']:.3f} → {facts['losses']['after']:.3f}, lower" in told
    assert f"Before is the model this folder began with, {page.session.listed()[0]['why']}" in told
    shown = view.eval_on_selector("#pick", "node => node.selectedOptions[0].textContent")
    left, right = lists(view)
    assert left == page.session.search(shown, None, 10, "me")["found"] != right
    badges = view.locator(".pair > div:nth-of-type(2) .badge").count()
    assert badges == sum(left[at] != right[at] for at in range(10))
    assert view.locator(".pair > div:nth-of-type(1) .badge").count() == len(set(left) - set(right))
    assert view.locator(".lines path").count() == len(set(left) & set(right))
    ship(view)
    assert page.session.version == 1
    assert page.session.search(shown, None, 10, "me")["found"] == right
    view.click("#view-judge")
    until(view, "document.querySelector('#status').textContent.includes('version 1')")
    view.click("#view-tune")
    view.click("#versions li:last-child button")
    view.wait_for_selector("#versions li:last-child.used")
    assert page.session.version == 0


@pytest.fixture
def tuned_page(tiny_data: Path, tiny_model: Path, tuned: Path) -> Iterator[Page]:
    """With version 1, not decided on."""
    with served(tiny_data, tiny_model, tuned) as running:
        yield running


def test_a_version_can_be_looked_at_and_discarded(browser: Any, tuned_page: Page) -> None:
    with looking(browser) as view:
        open_page(view, tuned_page)
        view.click("#view-tune")
        see_result(view)  # what waits for a decision is shown at once
        view.click("#result .go button:not(.main)")
        view.wait_for_selector("#result", state="hidden")
        until(view, "document.querySelector('#versions li').textContent.includes('discarded')")
        assert tuned_page.session.versions.facts(1)["state"] == "discarded"
        view.click("#versions li:first-child button")
        see_result(view)
        assert view.locator("#result .go").count() == 0
        view.select_option("#pick", index=3)
        chosen = tuned_page.session.described(1)["lists"][3]
        assert lists(view) == [chosen["before"], chosen["after"]]


def test_the_page_says_what_a_tune_needs(view: Any, page: Page) -> None:
    for said, hint in (
        ([], "The model learns from that."),
        (answers(page.session, 1)[:1], f"needs {FEWEST} queries"),
        (answers(page.session, FEWEST), f"From {ENCODER_FROM} queries"),
        (answers(page.session, ENCODER_FROM), "Enough to tune, and to tell"),
    ):
        page.session.add(said)
        view.reload()
        until(view, "hint => document.querySelector('#hint').textContent.includes(hint)", hint)


def test_the_help_lists_the_keys(view: Any) -> None:
    view.keyboard.press("?")
    assert view.is_visible("#keys")
    assert "not relevant" in view.inner_text("#keys")
    view.keyboard.press("Escape")
    assert view.is_hidden("#keys")
    view.keyboard.press("/")
    view.keyboard.type("rxu")  # typed, not done
    assert view.input_value("#query") == "rxu"


PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "<iframe srcdoc='<script>parent.alert(4)</script>'>",
    "javascript:alert(5)",
    "<a href='javascript:alert(6)' autofocus onfocus=alert(6)>x</a>",
    "{{7*7}} ${alert(7)} `alert(7)`",
    "</textarea></title><style>*{display:none}</style>",
    "__proto__",
    "' ] } \\u003cscript\\u003e \u202ealert",
]


def id_of(text: str) -> str:
    """An id may hold any of it but what steers a terminal."""
    return text.replace("\u202e", "")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A BEIR folder with payloads wherever text can stand."""
    folder = tmp_path / "hostile <b onclick=alert(8)>"
    (folder / "qrels").mkdir(parents=True)
    docs = [
        {"_id": id_of(text), "title": text, "text": f"{text} baba cedi. A second one {text}."}
        for text in PAYLOADS
    ]
    queries = [{"_id": f"q {id_of(text)}", "text": f"baba {text}"} for text in PAYLOADS]
    for name, rows in (("corpus", docs), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    judged = f"query-id\tcorpus-id\tscore\nq {PAYLOADS[0]}\t{PAYLOADS[0]}\t1\n"
    (folder / "qrels" / "test.tsv").write_text(judged, encoding="utf-8")
    return folder


def test_hostile_texts_are_shown_and_never_run(
    browser: Any, hostile: Path, tiny_model: Path, tmp_path: Path
) -> None:
    judged = [event("relevant", f"baba {text}", doc_id=id_of(text)) for text in PAYLOADS[4:]]
    home = tuned_folder(hostile, tiny_model, tmp_path / "feedback", judged)
    with served(hostile, tiny_model, home) as page, looking(browser) as view:
        console: list[str] = []
        view.on("console", lambda message: console.append(message.text))
        open_page(view, page)
        tags = "[...document.querySelectorAll('*')].map((n) => n.tagName).filter((t) => "
        tags += "['SCRIPT','IMG','IFRAME','STYLE','SVG'].includes(t)).length"
        plain = view.evaluate(tags)
        for query in PAYLOADS[:4]:
            search_for(view, f"baba {query}")
        assert set(order(view)) == set(map(id_of, PAYLOADS))
        view.wait_for_selector("#results mark")  # the best sentence, a payload too
        best = page.session.why(f"baba {PAYLOADS[3]}", [order(view)[0]])
        assert view.inner_text(".result:first-child mark") == best[order(view)[0]]
        told = view.inner_text("#results")
        assert all(text in told for text in PAYLOADS[:8])
        mark_some(view)
        view.fill("#find-text", PAYLOADS[1])
        view.click("#find button")
        view.wait_for_selector("#found li")
        view.keyboard.press("Escape")
        view.fill("#who", PAYLOADS[0])
        view.press("#who", "Enter")
        view.click("#next")
        view.wait_for_selector(".result")
        sent(view)
        assert view.evaluate(tags) == plain
        view.click("#view-tune")
        see_result(view)
        told = view.inner_text("#result")
        assert all(text in told for text in PAYLOADS[:8])
        assert view.evaluate("document.querySelectorAll('img, iframe, style').length") == 0
        assert view.evaluate("document.scripts.length") == 1
        assert [line for line in console if "Content Security Policy" in line] == []


def test_the_policy_stops_a_script_that_got_in(view: Any) -> None:
    """The second line of defence, by itself."""
    view.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.ran = true';
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.ran = true">');
        }"""
    )
    view.wait_for_timeout(300)
    assert view.evaluate("window.ran") is None


STATES: dict[str, Callable[[Any], None]] = {
    "opened": lambda view: None,
    "found": lambda view: search_for(view, QUERY),
    "marked": mark_some,
    "finding": lambda view: (
        view.fill("#find-text", "zuzu"),
        view.click("#find button"),
        view.wait_for_selector("#found li"),
    ),
    "help": lambda view: view.click("#help"),
    "tuning": lambda view: (view.click("#keys-close"), start_tune(view)),
    "result": stop_tune,
    "versions": ship,
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.nightly), "dark"])
def test_axe_finds_nothing_serious_in_any_state(
    browser: Any, tuned_page: Page, scheme: str
) -> None:
    spec = find_spec("axe_playwright_python")
    if spec is None:
        pytest.skip("needs axe-playwright-python, which brings axe-core")
    axe = (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    with looking(browser, color_scheme=scheme) as view:
        open_page(view, tuned_page)
        view.evaluate(axe)  # by the debugger: the page's policy lets no script in
        for name, reach in STATES.items():
            reach(view)
            found = view.evaluate("axe.run()")
            assert len(found["passes"]) > 10
            bad = [
                (one["id"], [node["html"][:120] for node in one["nodes"]])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert (name, bad) == (name, [])


def test_a_phone_needs_no_sideways_scrolling(browser: Any, tuned_page: Page) -> None:
    with looking(browser, viewport=PHONE, has_touch=True, is_mobile=True) as view:
        open_page(view, tuned_page)
        for name, reach in STATES.items():
            if name == "help":  # a phone has no keys, and no button for them
                continue
            if name == "tuning":
                start_tune(view)
            else:
                reach(view)
            width = view.evaluate("document.documentElement.scrollWidth")
            assert (name, width) == (name, PHONE["width"])
        small = view.eval_on_selector_all(
            ".marks button, .handle",
            "nodes => nodes.map((n) => n.getBoundingClientRect().height)"
            ".filter((height) => height > 0 && height < 40).length",
        )
        assert small == 0
