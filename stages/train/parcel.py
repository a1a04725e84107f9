"""How a batch travels from the process that reads it to the one that trains.

Its arrays lie in an anonymous file in memory (memfd), of which the other process gets the descriptor and maps the
pages: nothing is copied, and nothing counts against /dev/shm, of which Docker gives a container 64 MB. Where the system
has no such files, or refuses one, the bytes go down the line between the two.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import torch
from torch import Tensor

SHARES_MEMORY = hasattr(os, "memfd_create")
"""Whether this system has anonymous files in memory."""
_ALIGNED = 64
"""Arrays begin at multiples of this many bytes, as vector instructions like it."""


class _Packer(pickle.Pickler):
    """Leaves the numbers of tensors out of band, as numpy does with those of arrays."""

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, Tensor):
            return torch.from_numpy, (item.numpy(),)
        return NotImplemented


@dataclass(frozen=True)
class Parcel:
    """An object ready to be sent: pickled but for its arrays, and those, in a file in memory where there is one."""

    pickled: bytes
    arrays: Sequence[memoryview]
    file: int | None


def pack(item: Any) -> Parcel:
    """An object whose tensors are on the CPU. Raises MemoryError or OSError where there is no memory for it."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = io.BytesIO()
    _Packer(pickled, protocol=5, buffer_callback=arrays.append).dump(item)
    buffers = [array.raw() for array in arrays]
    return Parcel(pickled.getvalue(), buffers, _in_memory(buffers))


def send(line: Connection, parcel: Parcel) -> None:
    """Send it. Raises ConnectionError where nobody receives any more; then, as on any error, the line is of no use."""
    line.send((parcel.pickled, [array.nbytes for array in parcel.arrays], parcel.file is not None))
    if parcel.file is None:
        for array in parcel.arrays:
            line.send_bytes(array)
        return
    try:
        send_handle(line, parcel.file, None)
    finally:
        os.close(parcel.file)


def receive(line: Connection) -> Any:
    """What was sent. Raises EOFError or ConnectionError where the sender has ended, OSError where no file can be open.

    Its tensors may be written to; nobody else sees them any more.
    """
    pickled, sizes, shared = line.recv()
    if not shared:
        return pickle.loads(pickled, buffers=[bytearray(line.recv_bytes()) for _ in sizes])
    try:
        file = recv_handle(line)
    except RuntimeError as error:  # the system drops a descriptor for which there is no room
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
    try:
        pages = memoryview(mmap.mmap(file, 0))
    finally:
        os.close(file)
    starts = _starts(sizes)
    buffers = [pages[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return pickle.loads(pickled, buffers=buffers)


def _in_memory(buffers: Sequence[memoryview]) -> int | None:
    """A file in memory with the buffers; none where there is nothing to write, or no such file to be had."""
    sizes = [buffer.nbytes for buffer in buffers]
    if not SHARES_MEMORY or not any(sizes):
        return None
    try:
        file = os.memfd_create("fsmde-batch")
    except OSError:  # a sandbox forbids it, or too many files are open
        return None
    try:
        with open(file, "wb", closefd=False) as writer:
            for start, buffer in zip(_starts(sizes), buffers, strict=True):
                writer.seek(start)
                writer.write(buffer)
    except BaseException:
        os.close(file)
        raise
    return file


def _starts(sizes: Sequence[int]) -> list[int]:
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end = -(-(end + size) // _ALIGNED) * _ALIGNED
    return starts
