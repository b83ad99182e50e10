"""SIGTERM stops a job at once, or where it can be stopped without a loss."""

from __future__ import annotations

import os
import signal

import pytest

from engines.train.errors import Stopped
from engines.train.stop import StopSignal


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_stops_at_once() -> None:
    stop = StopSignal()
    with stop.listening(), pytest.raises(Stopped):
        terminate()
    assert stop.requested


def test_where_it_is_deferred_it_is_asked_for_and_then_raised() -> None:
    stop = StopSignal()
    seen = []

    def train() -> None:
        with stop.deferred():
            terminate()
            seen.append(stop.requested)

    with stop.listening(), pytest.raises(Stopped):
        train()
    assert seen == [True]


def test_afterwards_the_signal_means_what_it_did() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
