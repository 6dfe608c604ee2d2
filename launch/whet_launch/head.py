"""The head of a Ray cluster as one talks to it from elsewhere: over HTTP, with a token."""

from __future__ import annotations

import ipaddress
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from whet.errors import ConfigError, EnvironmentRefused
from whet_launch.ray_cluster import import_ray

ANSWER_WITHIN_S = 15.0


def job_client(address: str | None, *, insecure: bool) -> Any:
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
        return client
    except AuthenticationError as error:
        raise EnvironmentRefused(
            f"{url} refuses the token that this machine has, or it has none. Put the cluster's "
            "token (`ray get-auth-token` there) in ~/.ray/auth_token or $RAY_AUTH_TOKEN_PATH."
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise EnvironmentRefused(
            f"{url} is no head that takes jobs: {str(error).strip().splitlines()[0]}. Is it "
            'started, and is `pip install "whet[ray]"` done there?'
        ) from error


def head_url(address: str | None) -> str:
    """The address to talk to; by default Ray's own variable."""
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if found is None or not found.startswith(("http://", "https://")):
        raise ConfigError(
            f"jobs go to a cluster's head as http://HEAD:8265, and here is {found or 'nothing'}. "
            "Write address= (launch.address= for a fit), or set RAY_API_SERVER_ADDRESS."
        )
    return found.rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether only this machine can be meant."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def asks_for_token(url: str) -> bool:
    """Whether a request for the jobs without a token is turned away."""
    try:
        with urllib.request.urlopen(f"{url}/api/jobs/", timeout=ANSWER_WITHIN_S):
            return False
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return True
        raise EnvironmentRefused(
            f"{url} answers {error.code} to a request for its jobs, so it is no Ray head. Give "
            "the address of the dashboard, such as http://HEAD:8265."
        ) from error
    except (OSError, ValueError) as error:
        raise EnvironmentRefused(
            f"no Ray head answers at {url} ({error}). Is the address that of the dashboard, such "
            "as http://HEAD:8265, and reachable from here?"
        ) from error
