"""A hundred texts that an exported model must turn into the vectors of the model it came from."""

from __future__ import annotations

import random

ODD = (
    "",
    " ",
    "a",
    "word",
    "UPPER lower MiXeD",
    "naïve café in Ångström, Zürich and Łódź",
    "Füße, ﬁne ligatures, ½ and ²",
    "e\u0301 with a combining accent",
    "zero\u200bwidth and no\u00a0break",
    "tabs\tand\nnew lines\r\n",
    "   spaces    around   ",
    "日本語のテキストを検索する",
    "поиск по документам компании",
    "ابحث في المستندات",
    "חיפוש במסמכים",
    "한국어 문서 검색",
    "emoji 🙂 👩‍👩‍👧 and signs ≤ ≥ ± € №",
    "find . -name '*.py' | xargs grep -n \"TODO\" > out.txt 2>&1",
    "C++ & C#, <tag attr='v'>, {key: [1, 2]}, ~/.bashrc, $HOME, a_b-c.d",
    "3.14159, 1,000,000, 2026-11-26, 0x7f, 1e-12",
    "don't, can't, it's, rock'n'roll",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "....!!!???---***",
    "a text that says [SEP] and [MASK]",
    f"a word of 120 letters: {'ab' * 60}",
)
WORDS = (
    "how to list copy move remove find search sort count print the a an of in on with without "
    "file files folder directory line lines text word server network disk memory process user "
    "password invoice contract customer order delivery report meeting project engine pump valve "
    "temperature pressure patient treatment dose study protein cell result figure table quickly "
    "slowly always never last first new old large small red green best worst annual daily"
).split()
LONG = (120, 300, 600)  # words; more than most models read


def probe_texts(count: int = 100) -> list[str]:
    """Texts, always the same: the odd ones, then of 1 word to 600, in several lengths mixed."""
    rng = random.Random(0)
    lengths = [*LONG, *(rng.randint(1, 40) for _ in range(count - len(ODD) - len(LONG)))]
    texts = [*ODD, *(" ".join(rng.choices(WORDS, k=length)) for length in lengths)]
    rng.shuffle(texts)
    return texts
