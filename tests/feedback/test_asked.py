"""`whet label queries=FILE`: the page asks for those first."""

import json

from labelling import QUICK, event

from whet.config import DataConfig, LabelConfig, ModelConfig
from whet.data.load import load_dataset
from whet.feedback.events.event import LONGEST_QUERY
from whet.feedback.events.store import EVENTS, EventStore
from whet.feedback.learn.versions import Versions
from whet.feedback.serve.asked import AskedSession
from whet.feedback.serve.label import feedback_folder


def test_the_queries_of_a_file_come_first_round_and_round(tiny_data, tiny_model, tmp_path):
    config = LabelConfig(data=DataConfig(path=str(tiny_data)), model=ModelConfig(str(tiny_model)))
    config.output, config.tune = str(tmp_path / "home"), QUICK
    data = load_dataset(str(tiny_data))
    home = feedback_folder(config, data)
    asked = ["ba ce", " di fo ", "ba ce", "x" * (LONGEST_QUERY + 1), "gu ka"]
    store = EventStore(home / EVENTS)
    session = AskedSession(asked, data, Versions(home, config.model), store)
    try:
        assert session.offered == 3 + len(data.queries)
        offered = [session.next_query(None) for _ in range(4)]
        assert [one["query"] for one in offered] == ["ba ce", "di fo", "gu ka", "ba ce"]
        assert {one["left"] for one in offered} == {3} and offered[0]["query_id"] is None
        session.add([event("skip", "di fo", shown=[])])
        found = session.search("ba ce", None, 5, "me")
        top = found["results"][0]["doc_id"]
        session.add([event("relevant", "ba ce", doc_id=top, shown=[])])
        assert session.next_query(None)["query"] == "gu ka"
        session.add([event("skip", "gu ka", shown=[])])
        following = session.next_query(None)
        assert following["query_id"] in data.queries.ids  # none is left: of the data, as ever
    finally:
        session.close()
    assert json.loads(json.dumps(following)) == following
