"""What can go wrong before an engine is ready, each with what an operator can do about it."""

from __future__ import annotations


class EngineError(Exception):
    """An engine cannot be started as it is configured."""


class SourceError(EngineError):
    """A model's files are not to be had, or are not what the configuration says."""


class ContentError(SourceError):
    """A package does not hold what the configuration says; to fetch it again would change nothing."""


class GpuError(EngineError):
    """The GPUs that the configuration asks for are not there."""
