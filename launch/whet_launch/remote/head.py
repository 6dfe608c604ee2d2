"""The head of a Ray cluster as one talks to it from elsewhere: over HTTP, with a token."""

from __future__ import annotations

import http.client
import ipaddress
import json
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from whet.errors import ConfigError, EnvironmentRefused, WhetError
from whet.printable import printable
from whet.storage.disk import is_of_disk
from whet.version import install_line
from whet_launch.cluster.cluster import import_ray

ANSWER_WITHIN_S = 15.0
MOST_BYTES = 64 * 2**20  # of a list of jobs
LONGEST_REASON = 200  # characters of what a library says


class Head:
    """Ray's client for the jobs of one head; what is no answer of Ray's is told in a line."""

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.url = url

    def list_jobs(self) -> list[Any]:
        """What Ray knows of every job."""
        with _understood(self.url):
            jobs: list[Any] = self.client.list_jobs()
            return jobs

    def submit_job(self, **job: Any) -> None:
        """Upload the working folder and begin the job."""
        with _understood(self.url):
            self.client.submit_job(**job)

    def stop_job(self, name: str) -> None:
        """Ask for its end, and do not wait."""
        with _understood(self.url):
            self.client.stop_job(name)

    def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        """The log from its beginning on, as it grows."""
        parts: AsyncIterator[str] = self.client.tail_job_logs(name)
        return parts


@contextmanager
def _understood(url: str) -> Iterator[None]:
    """EnvironmentRefused for whatever Ray's client makes of an answer it cannot read."""
    try:
        yield
    except OSError as error:  # of requests, too
        if is_of_disk(error):
            raise
        raise _no_answer(url, error) from error
    except WhetError:
        raise
    except Exception as error:
        raise _no_answer(url, error) from error


def _no_answer(url: str, error: Exception) -> EnvironmentRefused:
    return EnvironmentRefused(
        f"{url} gave no answer that a Ray head gives ({type(error).__name__}: {_reason(error)}). "
        "Is it the address of the dashboard, and does the cluster still run?"
    )


def _reason(error: Exception) -> str:
    """The first line of what a library says."""
    return printable(str(error).strip().partition("\n")[0])[:LONGEST_REASON]


def job_client(address: str | None, *, insecure: bool) -> Head:
    """Ray's client for jobs. Raises ConfigError without an address, and EnvironmentRefused for a
    head that does not answer, wants a token that is not here, or lets anybody in.
    """
    url = head_url(address)
    guarded = asks_for_token(url)
    if not guarded and not insecure and not is_loopback(url):
        raise EnvironmentRefused(
            f"{url} answers without a token, so whoever reaches it can run commands there. Start "
            "its nodes with RAY_AUTH_MODE=token (docs/cluster.md), or set insecure=true "
            "(launch.insecure=true) if nobody else can reach it."
        )
    if guarded:  # Ray reads it when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import_ray()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(url)
        for talkative in ("job.sdk", "dashboard_sdk"):  # of uploads and closed connections
            logging.getLogger(f"ray.dashboard.modules.{talkative}").setLevel(logging.WARNING)
        return Head(client, url)
    except AuthenticationError as error:
        raise EnvironmentRefused(
            f"{url} refuses the token that this machine has, or it has none. Put the cluster's "
            "token (`ray get-auth-token` there) in ~/.ray/auth_token or $RAY_AUTH_TOKEN_PATH."
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise EnvironmentRefused(
            f"{url} is no head that takes jobs: {_reason(error)}. Is it started, and is "
            f"`{install_line('ray')}` done there?"
        ) from error
    except Exception as error:
        raise _no_answer(url, error) from error


def head_url(address: str | None) -> str:
    """The address to talk to; by default Ray's own variable.

    >>> head_url("http://head:8265/")
    'http://head:8265'
    """
    url = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if url is None or not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"jobs go to a cluster's head as http://HEAD:8265, and here is {url or 'nothing'}. "
            "Write address= (launch.address= for a fit), or set RAY_API_SERVER_ADDRESS."
        )
    return url.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether only this machine can be meant.

    >>> is_loopback("http://127.0.0.1:8265"), is_loopback("http://head:8265")
    (True, False)
    """
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def asks_for_token(url: str) -> bool:
    """Whether a request for the jobs without a token is turned away."""
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=ANSWER_WITHIN_S) as answer:
            _check_list(url, answer.read(MOST_BYTES + 1))
            return False
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return True
        raise EnvironmentRefused(
            f"{url} answers {error.code} to a request for its jobs, so it is no Ray head. Give "
            "the address of the dashboard, such as http://HEAD:8265."
        ) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EnvironmentRefused(
            f"no Ray head answers at {url} ({_reason(error)}). Is the address that of the "
            "dashboard, such as http://HEAD:8265, and reachable from here?"
        ) from error


def _check_list(url: str, content: bytes) -> None:
    """A list of jobs is a JSON list, of no great length."""
    try:
        jobs = json.loads(content) if len(content) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        jobs = None
    if not isinstance(jobs, list):
        raise EnvironmentRefused(
            f"{url} answers a request for its jobs with no list of jobs, so it is no Ray head. "
            "Give the address of the dashboard, such as http://HEAD:8265."
        )
