"""Which deadline has passed: one pure function over what an exchange knows of its time."""

from __future__ import annotations

from gateway.core.errors import BetweenBytesTimeout, FirstByteTimeout, TotalTimeout, UpstreamTimeout
from gateway.pools.timeouts import Timeouts


def overdue(
    limits: Timeouts, *, total: float, waited: float, silence: float, answering: bool
) -> UpstreamTimeout | None:
    """Tell which deadline an admitted request has passed, if any, as the error that says so.

    ``total`` is how long it may take in all; ``waited`` are the seconds since the request had come, ``silence`` those
    since the engine was asked or last heard, 0 where nobody is asked or the client itself does not read; ``answering``
    tells whether the response has begun. Any but a ``TotalTimeout`` is the replica's silence.
    """
    if waited > total:
        return TotalTimeout(f"The request took longer than {total:g} s.")
    if not answering and silence > limits.first_byte:
        return FirstByteTimeout(f"The engine did not begin to answer within {limits.first_byte:g} s.")
    if answering and silence > limits.between_bytes:
        return BetweenBytesTimeout(f"The engine fell silent for {limits.between_bytes:g} s within its response.")
    return None
