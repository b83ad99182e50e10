"""What an exchange needs of the layers around it: how a dialect reads streams, and how long things may take."""

from __future__ import annotations

from typing import Protocol

from gateway.core.context import RequestContext
from gateway.core.errors import GatewayError


class Stream(Protocol):
    """The reader of one response's events. It meters usage into the request's context and may leave events out."""

    complete: bool
    """Whether the dialect's end marker has passed."""

    failure: GatewayError | None
    """The error that the engine reported inside the stream, if it did."""

    refused: bool
    """Whether that error is all that the stream holds."""

    withheld: bool
    """Whether that error was left out of what the client gets, because another replica may go on."""

    @property
    def events(self) -> int:
        """How many events have been read or passed."""

    def feed(self, events: bytes) -> bytes:
        """Read whole events and return those that the client gets."""

    def read_each_event(self) -> None:
        """Take no fast path: read every event by itself."""

    def passes(self, data: bytes) -> int:
        """Tell how many bytes of what was read are chunks that go to the client as they are; those are not fed."""

    def end(self, rest: bytes) -> bytes | None:
        """The engine's body has ended cleanly, with ``rest`` unfinished: give the client's last bytes if all has come.

        ``None`` if the stream is not complete.
        """

    def finish(self) -> bytes | None:
        """Give the last bytes of a stream that was cut, if its client has all else that it asked for; else ``None``."""

    def resume(self, body: bytes, usage_bytes: int) -> Continuation | None:
        """Tell how another replica can go on with a stream that was cut; ``None`` if that cannot be done right.

        ``body`` is that of the first request, ``usage_bytes`` those at its end that ask for usage. What the other
        replica says is rewritten, and fed to this stream.
        """

    def settle(self) -> None:
        """The stream is over, perhaps too early: meter what was seen."""

    def error(self, error: GatewayError) -> bytes:
        """Write ``error`` as the events that end a stream."""


class Continuation(Protocol):
    """How another replica goes on with a stream."""

    @property
    def body(self) -> bytes:
        """What it is asked."""

    def rewrite(self, events: bytes) -> bytes:
        """Give what it says as further events of the same stream: with its ids, and the usage of the whole."""


class StreamFactory(Protocol):
    """Begins to read a stream."""

    def __call__(self, context: RequestContext, *, strip_usage: bool) -> Stream:
        """``strip_usage`` leaves out the usage event that the client did not ask for."""


class Dialect(Protocol):
    """How one family of endpoints speaks: its streams, its usage, its errors."""

    @property
    def idempotent(self) -> bool:
        """Whether a request changes nothing at an engine, so that it may be sent twice."""

    def stream(self, context: RequestContext, *, strip_usage: bool) -> Stream:
        """Begin to read a stream; ``strip_usage`` leaves out the usage event that the client did not ask for."""

    def meter(self, context: RequestContext, body: bytes) -> None:
        """Take the usage out of a whole response."""


class Deadlines(Protocol):
    """The part of ``[gateway.timeouts]`` that an exchange keeps whatever its model is, in seconds."""

    @property
    def queue(self) -> float:
        """Longest wait for a slot."""

    @property
    def keep_alive_comment(self) -> float:
        """Silence towards the client after which a stream gets a comment."""
