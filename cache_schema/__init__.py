"""The contract between the stages: what a cache holds, its units and provenance, how it is written and read."""

from cache_schema.manifest import TeacherIdentity, TeacherKind

__all__ = ["TeacherIdentity", "TeacherKind"]
