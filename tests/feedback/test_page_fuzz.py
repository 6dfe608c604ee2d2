"""No request breaks the page's server: whatever is sent is taken or refused in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from guarded_site import ORIGIN, Site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelling import Page, event, open_folder, served
from schemathesis import GenerationMode

from whet.feedback.serve.access import ENTER, KEY_HEADER

FIELDS = ["query", "query_id", "k", "who", "doc_ids", "text", "after", "doc_id", "version", "token"]
KNOWN = ["d1", "q1", "ba ce", "relevant", "move", "undo", "me", "\ud800", "\0", "a" * 2001]
NUMBERS = [0, 1, -1, 20, 2**31, 2**63, 10**400, 1e308, 1.5, float("inf"), float("nan")]
SCALARS = st.sampled_from([None, True, False, *KNOWN, *NUMBERS]) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
CHANGED = st.dictionaries(st.sampled_from([*event("skip"), "shown", "place", "time"]), VALUES)
GESTURE = st.builds(lambda changed: event("relevant", doc_id="d1") | changed, CHANGED)
BODIES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES),
    st.fixed_dictionaries({"events": st.lists(GESTURE | VALUES, max_size=3)}),
)
RARE = st.binary(max_size=30)
FIXED = settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def site(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home") / "feedback"
    session, tuner = open_folder(tiny_data, tiny_model, home)
    yield Site(session, tuner, home)
    tuner.stop()
    session.close()


@given(body=BODIES.map(lambda body: json.dumps(body).encode()) | RARE, known=st.booleans())
@FIXED
def test_every_body_is_taken_or_refused_in_words(site: Site, body: bytes, known: bool) -> None:
    """An error of the server would be raised here."""
    client = site.client(key=known)
    for path in site.routes("POST"):
        answer = client.post(path, content=body, headers=site.headers())
        assert answer.status_code in ((200, 400, 401) if path == ENTER or not known else (200, 400))
        if answer.status_code == 400:
            assert answer.json()["error"] and "damaged" not in answer.json()["error"]


@given(
    headers=st.dictionaries(
        st.sampled_from(["cookie", KEY_HEADER, "origin", "content-type", "accept", "host"]),
        st.binary(max_size=20),
    ),
    query=st.binary(max_size=20),
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"]),
)
@FIXED
def test_without_the_key_no_headers_open_anything(
    site: Site, headers: dict[str, bytes], query: bytes, method: str
) -> None:
    client = site.client(key=False)
    url = f"{ORIGIN}/api/counts?token=" + query.hex()
    answer = client.request(method, url, headers={k.encode(): v for k, v in headers.items()})
    assert answer.status_code in (400, 401)


@pytest.fixture(scope="module")
def running(
    tiny_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    with served(tiny_data, tiny_model, tmp_path_factory.mktemp("page") / "feedback") as page:
        yield page


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_schemathesis_breaks_no_route(site: Site, running: Page, mode: GenerationMode) -> None:
    """Over real connections, with the key: bodies as FastAPI describes them, and wrong ones."""
    schema = schemathesis.openapi.from_dict(site.app.openapi())
    own = {KEY_HEADER: running.keys.key, "origin": running.address}
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.method == "get" and mode is GenerationMode.NEGATIVE:
            continue  # takes nothing that could be wrong

        @settings(FIXED, max_examples=40)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(base_url=running.address, headers=own)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)

        ask()
    assert statuses[200 if mode is GenerationMode.POSITIVE else 400] > 100, statuses
