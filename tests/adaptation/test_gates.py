"""Each gate on corpora made to be on either side of it."""

import pytest

from whet.adaptation.gates import log_gate, prose_gate, weight_of_words, words_gate
from whet.evaluation.lexical import Words

PROSE = ["The pump is on the left of the tank, and it is started by the switch in the hall."] * 20
COMMANDS = ["tar -xzf archive.tgz | grep -v root > list.txt", "chmod 755 run.sh && ./run.sh"] * 10
GERMAN = ["Die Pumpe ist links von dem Tank, und der Schalter ist in der Halle neben dem Tor."]


@pytest.mark.parametrize(
    ("texts", "language", "is_open"),
    [
        (PROSE, "english", True),
        (COMMANDS, "english", False),
        (GERMAN, "german", True),
        (COMMANDS, "german", False),
        (PROSE, "finnish", False),  # no list of its function words: closed, and it says why
        (PROSE, "none", False),
        ([""], "english", False),
    ],
)
def test_documents_are_prose_by_their_function_words(texts, language, is_open):
    gate = prose_gate(texts, language)
    assert gate.open is is_open
    assert (gate.figure is None) == (language in ("finnish", "none"))
    assert gate.figure is None or (gate.figure >= gate.least) is is_open
    assert not gate.why[0].isupper() and not gate.why.endswith(".")  # it stands within a sentence


def test_a_figure_is_a_share_of_words_that_a_hand_can_count():
    # the, of, is, the: 4 of 8 words
    gate = prose_gate(["The valve of pump seven is the newest"], "english")
    assert gate.figure == 0.5


@pytest.mark.parametrize("queries", [0, 299, 300, 10_000])
def test_a_log_is_long_enough_from_300_on(queries):
    gate = log_gate(queries)
    assert gate.open is (queries >= 300) and gate.figure == queries


def test_words_count_less_where_people_ask_in_others():
    words = Words(["pumps leak oil", "the tank has a valve"])
    asked = words_gate(["pump leaking", "valve of tank"], words)
    assert asked.open and asked.figure == 1.0 and weight_of_words(asked) == 0.3
    foreign = words_gate(["reactor drips", "engine stalls again", "pump leaks"], words)
    assert foreign.figure == pytest.approx(2 / 7) and not foreign.open
    assert weight_of_words(foreign) == 0.1


def test_without_a_log_words_count_as_usual_unless_they_cannot_be_counted():
    words, unknown = Words(["pumps leak oil"]), Words(["pumps leak oil"], "none")
    assert weight_of_words(words_gate([], words)) == 0.3
    assert weight_of_words(words_gate(["pump leaks"], words)) == 0.3
    assert weight_of_words(words_gate([], unknown)) == 0.1
    assert weight_of_words(words_gate(["pump leaks"], unknown)) == 0.1  # nobody knows which count
