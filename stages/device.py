"""Where networks run."""

from __future__ import annotations

import torch

from cache_schema.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device of that name, or for `auto` the best there is. Raises ConfigError where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); try --device auto or --device cpu") from error
    return device
