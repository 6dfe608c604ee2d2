"""An OpenAI-shaped address (/v1/chat/completions): a hosted model, vLLM, llama.cpp, Ollama.

Retries with back-off, and a server's Retry-After up to two minutes, are the `openai` client's. The
key is read from an environment variable and goes nowhere but into the header of requests.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from whet.adaptation.generate.prompt import Messages
from whet.adaptation.generate.shards import ModelAnswer
from whet.config import GenerateConfig
from whet.errors import ConfigError, EnvironmentRefused
from whet.printable import printable
from whet.version import install_line

if TYPE_CHECKING:
    import openai

RETRIES = 7  # with back-off from 0.5 s to 8 s: half a minute in all
MOST_WRITTEN = 512  # tokens of an answer: a model that thinks aloud needs more than a query has
AT_ONCE = 64  # requests that are kept together
REACHED_S = 10.0  # in which somebody listens, or nobody does
NOBODY = {"ConnectError", "ConnectTimeout", "ProxyError"}  # of httpx, and of httpx2 alike
NO_KEY = "none"  # the client wants one, and servers without keys read none
HERE = {"localhost", "127.0.0.1", "::1"}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GOES_ON = "What was answered is kept: the same command goes on from there."


def checked_host(config: GenerateConfig) -> str:
    """Host and port of generate.url. ConfigError for what is no address, lacks a model or a key,
    EnvironmentRefused without the client; nothing is sent.
    """
    parts = urlsplit(config.url or "")
    if parts.username or parts.password or parts.query or parts.fragment:
        # not repeated: it may hold a key
        raise ConfigError(
            "generate.url holds more than an address. A key goes into an environment variable, and "
            "generate.key=NAME names that."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"generate.url={printable(config.url)} is no address. Write one such as "
            "http://localhost:8000/v1."
        )
    if not config.model:
        raise ConfigError(
            "generate.url is given and generate.model is not. Name the model as the address does: "
            f"{printable(config.url)}/models lists them."
        )
    key_of(config)
    if find_spec("openai") is None:
        raise EnvironmentRefused(
            f"generate.url asks by the client openai, which is not installed: "
            f"{install_line('generate')}."
        )
    return parts.netloc


def key_of(config: GenerateConfig) -> str | None:
    """The key; ConfigError, which does not repeat what was given, where no variable holds one."""
    if config.key is None:
        return None
    named = VARIABLE.fullmatch(config.key) is not None
    key = os.environ.get(config.key, "").strip() if named else ""
    if not key:
        raise ConfigError(
            "generate.key names no environment variable that is set. It takes the name of one that "
            "holds the key, such as generate.key=OPENAI_API_KEY, and not the key itself."
        )
    return key


class Address:
    """Asks an address for answers, so many requests at a time."""

    def __init__(self, config: GenerateConfig) -> None:
        """Raises what `checked_host` does."""
        self._host, self._key = checked_host(config), key_of(config)
        self._config = config
        self._is_here = urlsplit(config.url or "").hostname in HERE
        self._limit = "max_tokens"  # as most servers name it

    def check_reached(self) -> None:
        """EnvironmentRefused where nobody listens, by the way that the client takes, proxies too.
        Neither a key nor a text is sent, and whatever is answered will do.
        """
        import openai

        http = openai.DefaultHttpxClient(trust_env=not self._is_here, follow_redirects=False)
        common = {**self._common(), "api_key": NO_KEY, "timeout": REACHED_S}
        with openai.OpenAI(**common, max_retries=0, http_client=http) as client:
            try:
                client.models.with_raw_response.list()
            except openai.APIConnectionError as error:
                if type(error.__cause__).__name__ in NOBODY:
                    raise EnvironmentRefused(
                        f"{printable(self._host)} {self._unreachable(error)} Nothing was done yet."
                    ) from None
            except openai.OpenAIError:
                pass  # somebody is there, and a request with a text will tell

    def __call__(self, prompts: Sequence[Messages]) -> list[ModelAnswer]:
        """An answer for each prompt, in order. EnvironmentRefused where it cannot go on."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._all(prompts))
        with ThreadPoolExecutor(1) as pool:  # a notebook has a loop of its own in this thread
            return pool.submit(asyncio.run, self._all(prompts)).result()

    async def _all(self, prompts: Sequence[Messages]) -> list[ModelAnswer]:
        import openai

        http = openai.DefaultAsyncHttpxClient(trust_env=not self._is_here, follow_redirects=False)
        client = openai.AsyncOpenAI(**self._common(), max_retries=RETRIES, http_client=http)
        gate, ended = asyncio.Semaphore(self._config.requests), asyncio.Event()

        async def one(messages: Messages) -> ModelAnswer:
            async with gate:
                if ended.is_set():  # what waited is not sent any more
                    return ModelAnswer(None)
                try:
                    return await self._one(client, messages)
                except EnvironmentRefused:
                    ended.set()
                    raise

        async with client:
            return list(await asyncio.gather(*map(one, prompts)))

    def _common(self) -> dict[str, Any]:
        """What a client is made with."""
        import openai

        # what the environment says of an organisation is for one address, and this may be another
        of_one = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        return {
            "base_url": self._config.url,
            "api_key": self._key or NO_KEY,
            "timeout": self._config.timeout_s,
            "default_headers": of_one,
        }

    async def _one(self, client: openai.AsyncOpenAI, messages: Messages) -> ModelAnswer:
        import openai

        limit = self._limit
        asked: dict[str, Any] = {"model": self._config.model, "messages": messages}
        asked[limit] = MOST_WRITTEN
        try:
            return _read(await client.chat.completions.create(**asked))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            told = self._told(error)
            if "max_completion_tokens" in told and limit == "max_tokens":
                self._limit = "max_completion_tokens"  # OpenAI's newer models know that name alone
                return await self._one(client, messages)
            return ModelAnswer(None, told)
        except openai.APIResponseValidationError:
            return ModelAnswer(None, "the answer is no JSON")
        except openai.OpenAIError as error:
            self._refuse(error)
        except ValueError:  # JSON that ends early
            return ModelAnswer(None, "the answer is no JSON")

    def _refuse(self, error: openai.OpenAIError) -> NoReturn:
        """One line for what ends the work, without the client's own lines, which hold more."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            why = (
                f"gave no answer within {self._config.timeout_s:g} s, {RETRIES + 1} times. Raise "
                "generate.timeout_s, or lower generate.requests."
            )
        elif isinstance(error, openai.APIConnectionError):
            why = self._unreachable(error)
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            why = f"lets nobody in so ({error.status_code}): " + (
                "check the key that generate.key names, and what it may do."
                if self._key
                else "name the environment variable that holds a key, generate.key=NAME."
            )
        elif isinstance(error, openai.NotFoundError):
            why = (
                f"has no such page or model (404: {self._told(error)}). generate.url mostly ends "
                f"in /v1, and {printable(self._config.url)}/models lists the models."
            )
        elif isinstance(error, openai.RateLimitError):
            why = (
                f"takes no more requests now (429: {self._told(error)}), after {RETRIES} waits. "
                "Lower generate.requests, or look at the quota."
            )
        elif isinstance(error, openai.APIStatusError):
            why = f"fails ({error.status_code}: {self._told(error)}). Look at the server."
        else:
            why = f"gave what the client cannot take ({type(error).__name__}). Look at the server."
        raise EnvironmentRefused(f"{printable(self._host)} {why} {GOES_ON}") from None

    def _unreachable(self, error: openai.APIConnectionError) -> str:
        cause = printable(str(error.__cause__ or error))[:200]
        return f"cannot be reached ({self._without_key(cause)}). Is the server running there?"

    def _told(self, error: openai.APIStatusError) -> str:
        """What a server says of an error, on one line, without the key."""
        body = error.body
        inner = body.get("error", body) if isinstance(body, dict) else body
        said = inner.get("message") if isinstance(inner, dict) else inner
        line = " ".join(str(said or error.response.reason_phrase or "no reason given").split())
        return printable(self._without_key(line))[:200].rstrip(".")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _read(completion: Any) -> ModelAnswer:
    """The text of a completion; the client checks nothing of what a server sends."""
    try:
        text = completion.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        return ModelAnswer(None, "the answer is no chat completion")
    if text is None:
        return ModelAnswer("")
    return (
        ModelAnswer(text)
        if isinstance(text, str)
        else ModelAnswer(None, "the answer holds no text")
    )
