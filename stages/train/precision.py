"""Mixed precision."""

from __future__ import annotations

import warnings

import torch

from cache_schema.errors import ConfigError
from stages.train.config import Precision
from stages.wording import one_line

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """What `auto` means on a device; any other precision means itself."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def refuse_unsupported(precision: Precision, device: torch.device) -> None:
    """Raise ConfigError where a device cannot compute in a precision; a small convolution tries it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*dtype is not supported.*")  # torch would go on in float32
            with torch.no_grad(), autocast(precision, device):
                torch.nn.functional.conv2d(
                    torch.zeros(1, 1, 4, 4, device=device), torch.zeros(1, 1, 3, 3, device=device)
                )
    except (RuntimeError, UserWarning) as error:
        raise ConfigError(
            f"precision {precision} cannot be used on {device} ({one_line(error)}); set precision=float32, or auto"
        ) from error


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which the student runs."""
    resolved = resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=DTYPES[resolved], enabled=resolved != "float32")


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss under float16, whose small gradients would vanish; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=resolve_precision(precision, device) == "float16")
