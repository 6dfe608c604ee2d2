"""croissant.json: the training data in the words of MLCommons Croissant 1.0 (JSON-LD), so that
tools which read data sets find their files, hashes and licence.
"""

from __future__ import annotations

import mimetypes
from typing import Any

from whet.bundle.facts import Facts

NAME = "croissant.json"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "sc": "https://schema.org/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
KINDS = {".jsonl": "application/jsonlines", ".tsv": "text/tab-separated-values"}


def croissant_of(facts: Facts, licence: str | None, *, source: str | None) -> dict[str, Any]:
    """The data's description; `source` is where to get them, None where they are in the bundle or
    nobody said.
    """
    data = facts.origin["data"]
    description = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": data["name"],
        "description": (
            f"Training data of this model ({data['kind']}): {data['documents']} documents, "
            f"{data['queries']} queries. sha256 of ids, texts and judgments: {data['digest']}."
        ),
        "datePublished": facts.origin["begun"][:10],
        "distribution": [_file(file) for file in data["files"]],
    }
    if licence is not None:
        description["license"] = licence
    if source is not None:
        description["url"] = source
    return description


def _file(file: dict[str, Any]) -> dict[str, Any]:
    name = file["name"]
    ending = next((end for end in KINDS if name.removesuffix(".gz").endswith(end)), None)
    packed = "application/gzip" if name.endswith(".gz") else None
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": f"data/{name}",
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": packed or (KINDS[ending] if ending else guessed),
        "sha256": file["sha256"],
    }
