"""What papers report on the same datasets, to be printed beside measured figures and marked as published."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from stages.evaluate.protocol import PROTOCOLS


class Published(BaseModel):
    """One row of a paper: metric scale, means over the six cameras, by the protocol that is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    dataset: str
    abs_rel: float
    sq_rel: float
    """Metres."""
    rmse: float
    """Metres."""
    delta_1: float
    supervision: str = "video"
    """What it learned from."""
    protocol: str | None
    """The protocol here that is that of the paper's code, where it is one of them."""


_PROTOCOLS = {"SurroundDepth": "native", "VFDepth": "network"}


def _rows(dataset: str, rows: dict[str, tuple[float, float, float, float]]) -> tuple[Published, ...]:
    return tuple(
        Published(
            method=method,
            dataset=dataset,
            abs_rel=abs_rel,
            sq_rel=sq_rel,
            rmse=rmse,
            delta_1=delta_1,
            supervision="LiDAR" if method == "S3Depth" else "video",
            protocol=_PROTOCOLS.get(method),
        )
        for method, (abs_rel, sq_rel, rmse, delta_1) in rows.items()
    )


PUBLISHED = {
    "ddad": _rows(
        "ddad",
        {
            "SurroundDepth": (0.208, 3.371, 12.977, 0.693),
            "VFDepth": (0.218, 3.660, 13.327, 0.674),
            "SA-FSM": (0.187, 3.093, 12.578, 0.731),
            "R3D3": (0.162, 3.019, 11.408, 0.811),
            "S3Depth": (0.160, 2.527, 10.803, 0.799),
        },
    ),
    "nuscenes": _rows(
        "nuscenes",
        {
            "SurroundDepth": (0.280, 4.401, 7.467, 0.661),
            "VFDepth": (0.289, 5.718, 7.551, 0.709),
            "SA-FSM": (0.272, 4.706, 7.391, 0.689),
            "R3D3": (0.253, 4.759, 7.150, 0.729),
        },
    ),
}
"""By dataset, from the papers' tables of metric depth."""


def world_of(dataset: str, version: str) -> str:
    """Whose rigs they are: those of `street`, the embedded world, have the format of `dataset` and no more."""
    return "street" if version.startswith("street-") else dataset


def published(dataset: str, version: str, split: str, protocol: str) -> tuple[Published, ...]:
    """Rows that may stand beside figures by a protocol of the field: of the same data, by it or by one not stated."""
    same_data = split == "val" and world_of(dataset, version) == dataset
    rows = PUBLISHED.get(dataset, ()) if same_data and protocol in PROTOCOLS else ()
    return tuple(row for row in rows if row.protocol in (protocol, None))
