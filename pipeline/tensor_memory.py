"""How much memory tensors take while something runs, on devices whose allocator does not tell."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that operators make, as long as they live; use as a context manager.

    What an operator needs inside itself is not seen.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        """`known` tensors and views of them do not count."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self._held = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen or storage.data_ptr() in self._known:
            return
        self._seen.add(storage)
        self._change(storage.nbytes())
        weakref.finalize(storage, self._change, -storage.nbytes())

    def _change(self, count: int) -> None:
        self._held += count
        self.peak_bytes = max(self.peak_bytes, self._held)
