"""An engine that computes nothing: vLLM's shapes, a model of its timing, and every fault one can ask for.

- ``SimulatedEngine`` listens, counts, and remembers what it received.
- a ``Connection`` speaks HTTP/1.1 with one client and hands each request to an ``Exchange``.
- an ``Exchange`` is one request's life: it waits in the batch, runs there, and writes its response.
- the batch decides when tokens are ready: a ``Batch`` at a fixed pace (``Timing``), or a ``Scheduler`` that works as
  vLLM's does, with the costs and limits of a known engine (``Profile``).
- a response is a ``UnaryResponse`` body or an ``EventStream``; ``routes`` says which path builds which.
- ``Faults`` say what goes wrong on the way; they can change while the engine runs.

In a test::

    async with SimulatedEngine(model="sim", port=0, timing=Timing(ttft=0.1)) as engine:
        ...  # talk to engine.address
        await engine.until(lambda e: e.aborted == 1)
"""

from loadtest.simulator.batch import Timing
from loadtest.simulator.connection import ReceivedRequest
from loadtest.simulator.counts import Counts
from loadtest.simulator.faults import Cut, Faults
from loadtest.simulator.profile import Profile
from loadtest.simulator.server import SimulatedEngine

__all__ = ["Counts", "Cut", "Faults", "Profile", "ReceivedRequest", "SimulatedEngine", "Timing"]
