"""Which deadline has passed: one pure function over what an exchange knows of its time."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.exchange.attempt import ANSWERING, SENT, AttemptState
from gateway.exchange.ports import Deadlines


@dataclass(frozen=True, slots=True)
class Overdue:
    """What took too long, in words for the client; ``silent`` says that it was the engine's silence."""

    message: str
    silent: bool


def overdue(
    limits: Deadlines, state: AttemptState | None, *, total: float, waited: float, silence: float
) -> Overdue | None:
    """Tell which deadline an admitted request has passed, if any.

    ``total`` is how long it may take in all; ``waited`` are the seconds since the request had come, ``silence`` those
    since the engine was asked or last heard; ``state`` is that of the attempt, ``None`` where nobody is asked or the
    client itself does not read.
    """
    if waited > total:
        return Overdue(f"The request took longer than {total:g} s.", silent=False)
    if state is SENT and silence > limits.first_byte:
        return Overdue(f"The engine did not begin to answer within {limits.first_byte:g} s.", silent=True)
    if state is ANSWERING and silence > limits.between_bytes:
        return Overdue(f"The engine fell silent for {limits.between_bytes:g} s within its response.", silent=True)
    return None
