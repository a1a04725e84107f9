"""Every error that fsmde raises on purpose.

A message says what was found, what was expected and what mends it; the command line prints it as one
line and exits with a non-zero status.
"""

from __future__ import annotations


class FsmdeError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


class ConfigError(FsmdeError):
    """A configuration that cannot be used: unknown key, wrong type, contradiction."""


class DatasetError(FsmdeError):
    """Raw data that is missing, damaged or not what its format promises."""


class TeacherError(FsmdeError):
    """A teacher that cannot be found, loaded or understood."""


class LocksMissingError(FsmdeError):
    """A folder on a file system that cannot keep a second writer out."""


class CacheError(FsmdeError):
    """Base of what can be wrong with a cache."""


class CacheMissingError(CacheError):
    """There is no cache, split or teacher where one was named."""


class CacheIncompleteError(CacheError):
    """The cache is being written or was interrupted; run stage 1 again to finish it."""


class CacheMismatchError(CacheError):
    """The cache holds something else than what was asked for; the message names the field."""


class CacheLockedError(CacheError):
    """Another process writes to this cache; the message names its host and process."""


class CacheCorruptError(CacheError):
    """Stored bytes do not agree with their checksum or their journal."""


class TrainingError(FsmdeError):
    """Training cannot start, go on or be resumed."""


class ToldElsewhereError(TrainingError):
    """Another of the processes that train together failed, and says why."""


class EvaluationError(FsmdeError):
    """A prediction that cannot be scored."""
