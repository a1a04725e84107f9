"""Mixed precision."""

from __future__ import annotations

import torch

from stages.train.config import Precision

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """What `auto` means on a device; any other precision means itself."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which the student runs."""
    resolved = resolve_precision(precision, device)
    return torch.autocast(device.type, dtype=DTYPES[resolved], enabled=resolved != "float32")


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss under float16, whose small gradients would vanish; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=resolve_precision(precision, device) == "float16")
