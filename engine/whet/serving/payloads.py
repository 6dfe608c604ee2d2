"""What requests to `whet serve` hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from whet.feedback.events.event import LONGEST_LIST

MODEL = "whet"  # what clients call the model that answers, whichever version it is
MOST_TEXTS = 2048  # of a request, as OpenAI has it
MOST_RESULTS = 1000
MOST_IDS = 100_000


def _unicode(text: str) -> str:
    """JSON may bring half of a surrogate pair, which is no character and stops a tokenizer."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no character") from None
    return text


Unicode = Annotated[str, AfterValidator(_unicode)]


class EmbeddingsAsked(BaseModel):
    """Texts to become vectors, as OpenAI's clients ask, and of which kind they are."""

    input: Unicode | list[Unicode] = Field(description="a text or several")
    model: Unicode = MODEL
    input_type: Literal["query", "document"] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="the first so many numbers of each")
    user: str | None = None

    def texts(self) -> list[str]:
        """The texts, one or more."""
        return [self.input] if isinstance(self.input, str) else self.input


class SearchAsked(BaseModel):
    """A search."""

    query: Unicode = Field(min_length=1)
    k: int = Field(10, ge=1, le=MOST_RESULTS)
    ids: list[Unicode] | None = Field(
        None, min_length=1, max_length=MOST_IDS, description="only these documents"
    )
    not_ids: list[Unicode] = Field(
        default_factory=list, max_length=MOST_IDS, description="none of these documents"
    )
    model: Unicode = MODEL


class ClickSent(BaseModel):
    """A click on a document of an answer of /search."""

    search: Unicode = Field(description="`search` of the answer")
    doc: Unicode = Field(description="id of the document")
    position: int | None = Field(
        None,
        ge=0,
        lt=LONGEST_LIST,
        description="where it was shown, from 0; left out: where it stands in the answer",
    )
    kind: Literal["click"] = "click"


class RerankAsked(BaseModel):
    """Documents to be ordered by a cross-encoder, as Cohere's and Jina's clients ask."""

    query: Unicode = Field(min_length=1)
    documents: list[Unicode] = Field(min_length=1, max_length=MOST_TEXTS)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool = False
    model: Unicode = MODEL


class BesideAsked(BaseModel):
    """The model or run folder to try beside the one that answers, and how."""

    model: Unicode = Field(min_length=1)
    mode: Literal["shadow", "interleave"] = "shadow"
    decide: Literal["ask", "auto"] = "ask"


class UseAsked(BaseModel):
    """The model or run folder that is to answer, as a path on the server's machine."""

    model: Unicode = Field(min_length=1)
