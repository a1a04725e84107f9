"""obstore as a cache uses it: opened by URL, patient with a network that fails, errors that name the remedy."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, from_url

from cache_schema.errors import CacheError

FIRST_ANSWER: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=5)}
"""Until the store has answered once: what is wrong then is mostly its name, and no waiting mends that."""
PATIENT: Any = {
    "max_retries": 100,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 3},
}
"""Later: a run of hours outlives a minute without the network."""
VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
"""Codes of S3 and Google Cloud, and of Azure."""
NO_CREDENTIALS = ("/latest/api/token", "/computeMetadata/", "/metadata/identity/")
"""Where credentials are asked for that are not in the environment: the clouds' own machines answer there."""
PLAIN_HTTP = "builder error"
"""What is left of the reason where the endpoint is http and only https is allowed."""

_IN_MEMORY: dict[str, MemoryStore] = {}
_threads_of: int | None = None
"""The process in which obstore's threads run."""


def open_store(url: str, retries: Any) -> Any:
    """The store at a URL; nothing is asked of it yet. Raises CacheError for a URL that names none."""
    if url.startswith("memory://"):
        return _IN_MEMORY.setdefault(url, MemoryStore())
    try:
        return from_url(url, retry_config=retries)
    except (BaseError, ValueError) as error:
        raise CacheError(
            f"{url} cannot be used as a cache ({reason(error)}); expected a folder, or a URL such as "
            "s3://bucket/prefix or gs://bucket/prefix"
        ) from error


@contextmanager
def request(path: str, *, writing: bool) -> Iterator[None]:
    """A request for the object `path`; what fails becomes a CacheError that names the object and the remedy.

    `writing` says that it is part of writing a cache, be it a read. Passes on what callers expect: FileNotFoundError,
    AlreadyExistsError and PreconditionError.
    """
    _refuse_forked(path)
    try:
        yield
    except FileNotFoundError as error:
        _refuse_no_bucket(path, error)
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from error
    except (AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, ValueError) as error:
        _refuse_no_bucket(path, error)
        raise CacheError(
            f"{path} cannot be reached ({reason(error)}); {_remedy(path, error)}"
            f"{'. What is finished is kept' if writing else ''}"
        ) from error


def reason(error: Exception) -> str:
    """What a store says, without the debris of obstore and of XML."""
    said = str(error).partition("\n\nDebug source")[0]
    said = re.sub(r"<\?xml.*?<Code>(.*?)</Code>.*?<Message>(.*?)</Message>.*", r"\1, \2", said, flags=re.DOTALL)
    return " ".join(said.split())[:300]


def _refuse_no_bucket(path: str, error: Exception) -> None:
    if any(code in str(error) for code in NO_BUCKET):
        raise CacheError(
            f"{path} cannot be reached: there is no bucket {urlsplit(path).netloc}; make it, or mend its name in the "
            "URL or the endpoint in the environment"
        ) from error


def _remedy(path: str, error: Exception) -> str:
    scheme = urlsplit(path).scheme
    variables = f"the environment ({VARIABLES[scheme]})" if scheme in VARIABLES else "the environment"
    if any(place in str(error) for place in NO_CREDENTIALS):
        return f"set the credentials in {variables}: there are none, and this machine has no role"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"check the credentials in {variables}: they must allow to list, read, write and delete there"
    if PLAIN_HTTP in str(error):
        return "an endpoint without TLS needs AWS_ALLOW_HTTP=true in the environment"
    return f"check the network, and the endpoint, region and credentials in {variables}"


def _refuse_forked(path: str) -> None:
    """obstore's threads do not survive a fork: a request would wait for ever, here and then in the parent too."""
    global _threads_of
    if _threads_of is None:
        _threads_of = os.getpid()
    if _threads_of != os.getpid():
        raise CacheError(
            f"{path} cannot be used in a process forked from one that used an object store; start processes with "
            "the method spawn or forkserver, as in multiprocessing_context='spawn' of a DataLoader"
        )
