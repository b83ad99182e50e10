"""A child of ``headgate serve --processes N``: ``python -P -m gateway.processes DESCRIPTOR PARENT``. Not for people."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from gateway.processes.child import die_with, run


def main(arguments: list[str]) -> int:
    """Serve as the messages ask that come over the socket with this descriptor."""
    descriptor, parent = map(int, arguments)
    # A signal to end may be for the whole group; the parent alone decides how everything ends.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(descriptor))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
