"""A gateway as a process of its own, whose fine-tuning jobs learn nothing.

``python -m tests.kit.tuning_gateway FOLDER`` says where clients ask, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.kit.gateways import gateway
from tests.kit.tuning import TRAIN, tunable


async def main(folder: Path) -> None:
    """Serve for ever."""
    models, settings = tunable(folder)
    async with gateway(models, ready=(), train=TRAIN, **settings) as running:
        sys.stdout.write(f"{running.address}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
