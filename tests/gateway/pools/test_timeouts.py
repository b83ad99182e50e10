"""A model's timeouts are its own where it has some, and the gateway's where not."""

from __future__ import annotations

from gateway.config.gateway import Timeouts as GatewayTimeouts
from gateway.config.model_timeouts import ModelTimeouts
from gateway.pools.timeouts import Timeouts


def test_what_a_model_does_not_say_is_as_the_gateway_has_it() -> None:
    own, defaults = ModelTimeouts(first_byte=2.0, total=30.0), GatewayTimeouts(connect=1.0, between_bytes=7.0)
    assert Timeouts.of(own, defaults) == Timeouts(connect=1.0, first_byte=2.0, between_bytes=7.0, total=30.0)
