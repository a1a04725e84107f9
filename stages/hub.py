"""The hub of models: asked once and with a time limit, and in a few words why that failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

from stages.wording import one_line

TIMEOUT_S = 5.0
"""How long the hub may take to answer the first question; the hub's own client would retry for minutes."""
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class HubError(Exception):
    """What the hub cannot give; the message says why, to go on a sentence with."""


def ask(repo_id: str, revision: str | None = None) -> Any:
    """What the hub says of a model. Raises HubError."""
    try:
        return HfApi().model_info(repo_id, revision=revision, timeout=TIMEOUT_S)
    except Exception as error:  # the client's errors have no common base
        raise HubError(_why(error)) from error


def download(repo_id: str, wanted: Sequence[str], revision: str | None = None) -> Path:
    """Files of a model that the hub has just told of, in its cache on this machine. Raises HubError."""
    try:
        folder = snapshot_download(
            repo_id, revision=revision, cache_dir=constants.HF_HUB_CACHE, allow_patterns=list(wanted)
        )
    except Exception as error:
        raise HubError(
            f"the download to {constants.HF_HUB_CACHE} broke off ({one_line(error)}); run again to go on"
        ) from error
    return Path(folder)


def _why(error: Exception) -> str:
    if isinstance(error, RevisionNotFoundError):
        return f"the hub {constants.ENDPOINT} has no such revision"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub {constants.ENDPOINT} has no such model, or shows it only after `hf auth login`"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the hub"
    return f"the hub {constants.ENDPOINT} could not be reached ({one_line(error)})"
