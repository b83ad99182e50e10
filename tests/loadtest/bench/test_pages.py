"""Pages of the control plane."""

from loadtest.bench.pages import get, kept, put
from loadtest.simulator import Faults, SimulatedEngine


async def test_a_page_has_its_status_and_text() -> None:
    async with SimulatedEngine("m") as engine:
        page = await get(f"{engine.address}/metrics")
        assert page.status == 200
        assert "vllm:num_requests_running" in page.text
        engine.faults = Faults(unhealthy=True)
        assert (await get(f"{engine.address}/health")).status == 503


async def test_a_page_can_be_put() -> None:
    async with SimulatedEngine("m") as engine:
        assert (await put(f"{engine.address}/sim/faults", b'{"status": 418}')).status == 200
        assert engine.faults.status == 418


async def test_a_page_can_be_got_again_on_the_same_connection() -> None:
    async with SimulatedEngine("m") as engine, kept(f"{engine.address}/health") as health:
        assert (await health()).status == 200
        engine.faults = Faults(refuse=True)  # Whoever has a connection keeps it.
        assert (await health()).status == 200
        engine.faults = Faults(unhealthy=True)
        assert (await health()).status == 503
