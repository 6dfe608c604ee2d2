"""The README.md of an exported folder: what lies in it and how it is opened."""

from __future__ import annotations

from whet.model.parts.recipe import Recipe
from whet.model.parts.words import WordsBeside

HEAD = """# {name}, exported by Whet {version}

{table}

{prompts}
"""
ONNX = """
## ONNX

Inputs `{inputs}`, any number of texts and tokens; outputs `last_hidden_state` and the finished
`sentence_embedding`. With onnxruntime alone:

```python
import numpy, onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({length})
tokenizer.enable_padding(pad_id={pad})
session = onnxruntime.InferenceSession("{file}")
batch = tokenizer.encode_batch(["a text", "another one"])
fed = {{
    "input_ids": numpy.array([text.ids for text in batch]),
    "attention_mask": numpy.array([text.attention_mask for text in batch]),
    "token_type_ids": numpy.array([text.type_ids for text in batch]),
}}
wanted = [given.name for given in session.get_inputs()]
vectors = session.run(["sentence_embedding"], {{name: fed[name] for name in wanted}})[0]
```

With sentence-transformers and its extra `onnx`:
`SentenceTransformer(FOLDER, backend="onnx", model_kwargs={{"file_name": "{file}"}})`.
"""
WORDS = """
## Words beside vectors

{sentence}
A search engine that has both can add the same: the BM25 of a document over the most that the query
could have, times the weight, to the inner product. Language of the stems: {language}.
"""
GGUF = """
## GGUF

`llama-embedding -m gguf/model-f16.gguf -p "a text"`, or with llama-cpp-python:

```python
from llama_cpp import Llama

model = Llama("gguf/model-f16.gguf", embedding=True, n_ctx={length}, n_batch={length})
vector = model.embed("a text", normalize=True)
```

A text over {length} tokens is to be cut before.
"""


def readme(
    name: str,
    table: str,
    recipe: Recipe,
    words: WordsBeside,
    *,
    inputs: list[str],
    pad: int,
    files: list[str],
) -> str:
    """Its text; `files` are those written, as paths in the folder."""
    import whet.version

    onnx = [file for file in files if file.endswith(".onnx")]
    parts = [
        HEAD.format(
            name=name, version=whet.version.VERSION, table=table, prompts=_prompt_sentences(recipe)
        )
    ]
    if words.weight:
        parts.append(WORDS.format(sentence=words.sentence(), language=words.language))
    if onnx:
        listed = ", ".join(inputs)
        parts.append(ONNX.format(inputs=listed, length=recipe.max_length, pad=pad, file=onnx[0]))
    if any(file.endswith(".gguf") for file in files):
        parts.append(GGUF.format(length=recipe.max_length))
    return "".join(parts)


def _prompt_sentences(recipe: Recipe) -> str:
    prompts = {"query": recipe.query_prompt, "document": recipe.document_prompt}
    sentences = [f"`{prompt}` before every {kind}" for kind, prompt in prompts.items() if prompt]
    if not sentences:
        return "Queries and documents go in as they are."
    return f"Put {' and '.join(sentences)}; no file does that by itself."
