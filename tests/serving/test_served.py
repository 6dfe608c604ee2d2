"""What the routes of `whet serve` answer, and to whom."""

from __future__ import annotations

import base64
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from serving_parts import Serving, other_model, other_query_side

import whet
from whet.feedback.events.store import EVENTS, EventStore
from whet.mining.crossencoder import CrossEncoder
from whet.model.encoder import Encoder
from whet.serving.bearer import LARGEST_BODY
from whet.serving.beside.clicked import Clicks
from whet.serving.beside.lists import OpenLists

QUERY = "bace difo"
ASKED = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def serving(
    tiny_model: Path,
    tiny_data: Path,
    tiny_cross_encoder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Serving:
    clicks = Clicks(EventStore(tmp_path_factory.mktemp("kept") / EVENTS), OpenLists(1800))
    reranker = CrossEncoder(str(tiny_cross_encoder))
    return Serving(tiny_model, tiny_data, reranker=reranker, clicks=clicks)


def test_vectors_are_the_models(serving: Serving, tiny_model: Path) -> None:
    texts = [QUERY, "guka", "lemi lemi"]
    expected_ND = Encoder.load(str(tiny_model)).encode(texts)
    client = serving.client()
    plain = client.post("/v1/embeddings", json={"input": texts}).json()
    assert [row["index"] for row in plain["data"]] == [0, 1, 2]
    vector_ND = np.array([row["embedding"] for row in plain["data"]], np.float32)
    assert np.abs(vector_ND - expected_ND).max() < 1e-6
    assert plain["usage"]["total_tokens"] == sum(
        map(len, Encoder.load(str(tiny_model)).tokenize(texts, "document"))
    )
    asked = {"input": texts, "encoding_format": "base64"}
    coded = client.post("/v1/embeddings", json=asked).json()
    rows = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in coded["data"]]
    assert np.array_equal(np.stack(rows), vector_ND)
    one = client.post("/v1/embeddings", json={"input": texts[1], "dimensions": 8}).json()
    cut_D = np.array(one["data"][0]["embedding"])
    wanted_D = expected_ND[1, :8] / np.linalg.norm(expected_ND[1, :8])
    assert len(cut_D) == 8 and np.abs(cut_D - wanted_D).max() < 1e-6


def test_searches_are_those_of_whet_search(
    serving: Serving, tiny_model: Path, tiny_data: Path
) -> None:
    data = whet.load_dataset(str(tiny_data))
    client = serving.client()
    for query in [data.queries.text(row) for row in range(5)]:
        found = client.post("/search", json={"query": query, "k": 7}).json()
        scores = _by_brute_force(tiny_model, data, query)
        best = sorted(scores, key=lambda id_: (-scores[id_], data.corpus.rows_of([id_])[0]))[:7]
        assert [hit["id"] for hit in found["hits"]] == best
        assert [hit["score"] for hit in found["hits"]] == pytest.approx([scores[i] for i in best])
        assert found["hits"][0]["text"] == data.corpus.text(data.corpus.rows_of(best[:1])[0])


def _by_brute_force(model: Path, data: whet.Dataset, query: str) -> dict[str, float]:
    encoder = Encoder.load(str(model))
    rows = np.arange(len(data.corpus))
    score_N = encoder.encode(data.corpus.texts(rows)) @ encoder.encode([query], kind="query")[0]
    return dict(zip(data.corpus.ids_of(rows), score_N.tolist(), strict=True))


@pytest.mark.parametrize("words", ["auto", "0.3"])
def test_filters_leave_the_order_and_the_scores(
    tiny_model: Path, tiny_data: Path, words: str
) -> None:
    client = Serving(tiny_model, tiny_data, words=words).client()

    def hits(**more: object) -> list[tuple[str, float]]:
        answer = client.post("/search", json={"query": QUERY, "k": 120, **more})
        assert answer.status_code == 200, answer.text
        return [(hit["id"], hit["score"]) for hit in answer.json()["hits"]]

    whole = hits()
    assert len(whole) == 120
    some = {id_ for id_, _ in whole[::3]}
    assert hits(ids=sorted(some)) == [hit for hit in whole if hit[0] in some]
    assert hits(not_ids=sorted(some)) == [hit for hit in whole if hit[0] not in some]
    assert hits(ids=["d3", "d4"], not_ids=["d3", "nowhere"]) == [
        hit for hit in whole if hit[0] == "d4"
    ]
    assert hits(ids=["d3"], not_ids=["d3"]) == []


def test_pairs_are_scored_by_the_cross_encoder(serving: Serving, tiny_cross_encoder: Path) -> None:
    documents = ["bace", "difo guka", "lemi"]
    asked = {"query": QUERY, "documents": documents, "top_n": 2, "return_documents": True}
    results = serving.client().post("/v1/rerank", json=asked).json()["results"]
    scores = CrossEncoder(str(tiny_cross_encoder)).scores([QUERY] * 3, documents)
    order = np.argsort(-scores, kind="stable")[:2].tolist()
    assert [row["index"] for row in results] == order
    assert [row["document"]["text"] for row in results] == [documents[row] for row in order]
    assert [row["relevance_score"] for row in results] == pytest.approx(scores[order].tolist())


REFUSED = [
    ("/v1/embeddings", {"input": []}, "1 to 2,048 texts"),
    ("/v1/embeddings", {"input": ["a"] * 2049}, "1 to 2,048 texts"),
    ("/v1/embeddings", {"input": [[1, 2]]}, "input"),
    ("/v1/embeddings", {"input": "a", "dimensions": 33}, "the model has 32"),
    ("/v1/embeddings", {"input": "a", "model": "gpt"}, "there is no 'gpt' here"),
    ("/v1/embeddings", {"input": "a", "input_type": "both"}, "input_type"),
    ("/v1/embeddings", {}, "input: Field required"),
    ("/search", {"query": ""}, "query"),
    ("/search", {"query": "a", "k": 0}, "k:"),
    ("/search", {"query": "a", "ids": ["d1", "nowhere"]}, "no document 'nowhere'"),
    ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
]


@pytest.mark.parametrize(("route", "asked", "why"), REFUSED)
def test_what_cannot_be_answered_is_one_line(
    serving: Serving, route: str, asked: dict[str, object], why: str
) -> None:
    answer = serving.client().post(route, json=asked)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"input": "\\ud800"}', b'{"input": "\\u0000"}', b"\xff"]
)
def test_odd_bodies_are_answered(serving: Serving, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = serving.client().post("/v1/embeddings", content=body, headers=headers)
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_a_text_without_words_is_no_fault_of_the_server(serving: Serving, text: str) -> None:
    assert serving.client().post("/v1/embeddings", json={"input": text}).status_code in (200, 400)


def test_who_has_no_key_gets_nothing_but_health(serving: Serving) -> None:
    routes = {route.path: sorted(route.methods)[0] for route in serving.app.routes}
    assert len(routes) >= 9
    for path, method in routes.items():
        for key in (None, "wrong", "other"):
            client = serving.client(None)
            if key is not None:
                client.headers["authorization"] = f"Bearer {key}"
            status = client.request(method, path, json={}).status_code
            assert status == (200 if path == "/health" else 401), (path, key)
    stranger = serving.client()
    answer = stranger.get("/versions", headers={"host": "evil.example"})
    assert answer.status_code == 400


def test_the_key_of_clients_changes_no_version(serving: Serving, tiny_model: Path) -> None:
    client = serving.client()
    for route in ("/versions/use", "/versions/back"):
        assert client.post(route, json={"model": str(tiny_model)}).status_code == 401
    assert serving.owner().post("/versions/back").status_code == 400  # there is none before


def test_a_large_body_is_refused(serving: Serving) -> None:
    answer = serving.client().post("/search", content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413 and "16,777,216 bytes" in answer.text


def test_headers_forbid_browsers_all(serving: Serving) -> None:
    for client in (serving.client(), serving.client(None)):
        headers = client.get("/versions").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_another_version_answers_and_the_one_before_again(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    serving = Serving(tiny_model, tiny_data)
    client, owner = serving.client(), serving.owner()
    first = client.post("/search", json={"query": QUERY}).json()
    corpus = serving.current.now.corpus
    query_side = other_query_side(tiny_model, tmp_path / "query_side")
    told = owner.post("/versions/use", json={"model": str(query_side)}).json()
    second = client.post("/search", json={"query": QUERY}).json()
    assert second["version"] == told["version"] != first["version"]
    assert second["hits"] != first["hits"]
    assert serving.current.now.corpus is corpus  # nothing of the documents was read or encoded
    old = client.post("/search", json={"query": QUERY, "model": first["version"]}).json()
    assert old["hits"] == first["hits"]  # the one before is there by its id
    differs = client.post("/v1/embeddings", json={"input": "bace"})
    assert "input_type" in differs.json()["error"]["message"]
    both = other_model(tiny_model, tmp_path / "both")
    third = owner.post("/versions/use", json={"model": str(both)}).json()
    assert serving.current.now.corpus is not corpus
    assert client.post("/search", json={"query": QUERY}).json()["version"] == third["version"]
    back = owner.post("/versions/back").json()
    assert back["version"] == told["version"]
    listed = [row["id"] for row in client.get("/v1/models").json()["data"]]
    assert listed == ["whet", told["version"], third["version"]]
    gone = client.post("/search", json={"query": QUERY, "model": first["version"]})
    assert gone.status_code == 400
    lost = owner.post("/versions/use", json={"model": str(tmp_path / "nowhere")})
    assert lost.status_code == 400 and "nowhere" in lost.json()["error"]["message"]
    assert client.get("/versions").json()["now"]["version"] == told["version"]


def test_a_model_of_another_dimension_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    serving = Serving(tiny_model, None)
    short = tmp_path / "short"
    shutil.copytree(tiny_model, short)
    config = short / "config_sentence_transformers.json"
    settings = json.loads(config.read_text()) if config.exists() else {}
    config.write_text(json.dumps({**settings, "truncate_dim": 8}))
    answer = serving.owner().post("/versions/use", json={"model": str(short)})
    assert answer.status_code == 400
    assert "vectors of 8 numbers" in answer.json()["error"]["message"]
    assert serving.client().post("/search", json={"query": "a"}).status_code == 400  # no data


def test_what_waits_and_what_was_answered_is_counted(serving: Serving) -> None:
    client = serving.client()
    client.post("/search", json={"query": QUERY})
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'whet_requests_total{route="/search",status="200"}' in text
    assert 'route="other",status="404"' in text and "nowhere" not in text
    assert f'whet_version{{version="{serving.current.now.version}"}} 1.0' in text
    assert "whet_waiting_texts 0.0" in text


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_schemathesis_breaks_no_route(serving: Serving, mode: GenerationMode) -> None:
    """Bodies as FastAPI describes them, and wrong ones."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", serving.app)
    statuses: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.body and mode is GenerationMode.NEGATIVE:
            continue  # takes nothing that could be wrong

        @settings(ASKED)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            answer = case.call()
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)

        ask()
    assert statuses[200 if mode is GenerationMode.POSITIVE else 400] > 50, statuses
