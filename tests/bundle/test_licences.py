"""Licences as people state them: read where they are clear, quoted where they are not."""

from __future__ import annotations

import pytest

from whet.bundle.making.licences import (
    PERMITS,
    combined_permissions,
    licence_of,
    permitted,
    read_expression,
)
from whet.run.licences_found import statements_in

MIT = (
    "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\n"
)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("SOURCE.md", "# x\n\nLicence: CC BY 4.0\n\nSources (...)\n", ["CC BY 4.0"]),
        ("SOURCE.md", "License: MIT\n", ["MIT"]),
        ("README.md", "---\nlicense: apache-2.0\n---\n# x\n", ["apache-2.0"]),
        ("README.md", "---\nlicense: [mit, cc0-1.0]\n---\n", ["mit", "cc0-1.0"]),
        ("README.md", "---\nlicense: [unclosed\n---\n", []),
        ("README.md", "A licence is needed: ask.\n", []),
        ("LICENSE", MIT, ["MIT"]),
        ("LICENSE.txt", "Apache License\nVersion 2.0, January 2004\n", ["Apache-2.0"]),
        ("COPYING", "# SPDX-License-Identifier: GPL-3.0-or-later\n", ["GPL-3.0-or-later"]),
        ("LICENSE", "All rights reserved.\n", []),
        ("croissant.json", '{"license": "CC-BY-4.0"}', ["CC-BY-4.0"]),
        ("datapackage.json", '{"licenses": [{"name": "ODC-By-1.0"}]}', ["ODC-By-1.0"]),
        ("datapackage.json", "[1, 2", []),
        ("corpus.jsonl", '{"license": "MIT"}', []),
    ],
)
def test_what_a_file_says(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    assert [one.says for one in statements_in(tmp_path)] == said


def test_the_demos_data_are_mit(tmp_path):
    from pathlib import Path

    root = Path(__file__).resolve().parents[2] / "examples" / "nl2bash"
    stated = [{"file": one.file, "says": one.says} for one in statements_in(root)]
    found = licence_of("data_licence", None, stated)
    assert (found.expression, found.source) == ("MIT", "LICENSE")
    assert found.words == (
        "SOURCE.md: data/bash is MIT (README, 2020-04-24); code GPL-3.0 not used",
    )


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("mit or gpl-2.0-only WITH classpath-exception-2.0", None),
        ("CC-BY-4.0 AND ODC-By-1.0", "CC-BY-4.0 AND ODC-By-1.0"),
        ("arXiv metadata CC0 1.0", None),
        ("public classic collection, no formal licence", None),
        ("MIT (repository); code from CodeSearchNet (per-file licences)", None),
        ("other", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_words_are_read_only_where_they_are_an_expression(text, expression):
    found = read_expression(text)
    if "WITH" in text:
        assert found == "MIT OR GPL-2.0-only WITH Classpath-exception-2.0"
    else:
        assert found == expression


def test_every_licence_of_the_table_is_an_spdx_id():
    assert [name for name in PERMITS if read_expression(name) != name] == []


def said(expression):
    return " ".join(permitted(expression).values())


@pytest.mark.parametrize(
    ("expression", "permits"),
    [
        ("MIT", "yes yes yes yes no"),
        ("MIT AND CC-BY-NC-SA-4.0", "no yes yes yes yes"),
        ("CC0-1.0 AND CC-BY-ND-4.0", "yes yes no yes no"),
        ("GPL-3.0-only OR MIT", "yes yes yes yes no"),
        ("CC-BY-NC-4.0 OR Apache-2.0", "yes yes yes yes no"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "yes yes yes yes yes"),
        ("Zlib", "unknown unknown unknown unknown unknown"),
        ("Zlib AND CC-BY-NC-4.0", "no unknown unknown yes unknown"),
        (None, "unknown unknown unknown unknown unknown"),
    ],
)
def test_what_an_expression_permits(expression, permits):
    assert said(expression) == permits


def test_one_unknown_part_makes_the_whole_unknown_and_no_part_makes_it_freer():
    free = permitted("CC0-1.0")
    for name in (*PERMITS, None):
        one = permitted(name)
        assert combined_permissions([one]) == one
        assert combined_permissions([free, one]) == one
        assert combined_permissions([one, permitted(None)])["derive"] in ("no", "unknown")


def test_statements_that_disagree_are_no_licence():
    stated = [{"file": "LICENSE", "says": "MIT"}, {"file": "README.md", "says": "cc-by-4.0"}]
    found = licence_of("data_licence", None, stated)
    assert found.expression is None and "different" in found.source and len(found.words) == 2
    assert licence_of("data_licence", "mit", stated).expression == "MIT"
