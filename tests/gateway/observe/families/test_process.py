"""The gateway shows what it is and what it does besides requests."""

from __future__ import annotations

from gateway.files.store import FileCounts
from gateway.observe.counters import Counters
from gateway.observe.exposition import Exposition
from gateway.pools.registry import Registry
from tests.gateway.observe.scraping import scraped, value


def test_bytes_of_files_and_those_that_expired(exposition: Exposition, metrics: Counters) -> None:
    metrics.files.add(FileCounts(received_bytes=3, sent_bytes=2, expired=1))
    samples = scraped(exposition)
    assert value(samples, "file_bytes_total", direction="received") == 3
    assert value(samples, "file_bytes_total", direction="sent") == 2
    assert value(samples, "files_expired_total") == 1


def test_what_the_gateway_is(exposition: Exposition) -> None:
    assert value(scraped(exposition), "build_info", version="1.2", commit="abc") == 1
    assert value(scraped(exposition), "config_last_reload_successful") == 1
    exposition.last_reload_successful = False
    assert value(scraped(exposition), "config_last_reload_successful") == 0


def test_connections_and_lost_lines_of_the_log_are_shown(registry: Registry, metrics: Counters) -> None:
    metrics.lost_log_lines = 3
    metrics.wire.connections = 7
    samples = scraped(Exposition(lambda: metrics, lambda: registry, "1.2", "abc"))
    assert value(samples, "client_connections") == 7
    assert value(samples, "access_log_lost_lines_total") == 3
