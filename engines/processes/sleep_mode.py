"""vLLM's sleep mode: a server gives up the memory of its GPUs, keeps its process, and is woken when it is needed again.

The endpoints are there with ``--enable-sleep-mode`` and ``VLLM_SERVER_DEV_MODE=1``. At level 1 the weights go to the
memory of the machine; at level 2 they are dropped, and read again from their files. The KV cache is lost at both.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec

from engines.errors import EngineError


class _Woken(msgspec.Struct):
    """What ``/wake_up`` says: ``awake``, or ``sleeping`` while there is more to be woken."""

    status: str


async def fall_asleep(socket: Path, level: int, within: float) -> None:
    """Have the server at a Unix socket sleep. Raises ``EngineError`` where it does not within so many seconds."""
    try:
        async with asyncio.timeout(within), _session(socket) as session:
            await _post(session, f"/sleep?level={level}")
    except TimeoutError:
        raise EngineError(f"It was not asleep within {within:.3g} s.") from None


async def wake_up(socket: Path, level: int, within: float) -> None:
    """Wake a server that sleeps at ``level``. Raises ``EngineError`` where it is not awake within so many seconds."""
    try:
        async with asyncio.timeout(within), _session(socket) as session:
            if level == 1:
                said = await _post(session, "/wake_up")
            else:
                # The weights first: until they are read again, their memory holds anything at all.
                await _post(session, "/wake_up?tags=weights")
                await _post(session, "/collective_rpc", {"method": "reload_weights"})
                said = await _post(session, "/wake_up?tags=kv_cache")
    except TimeoutError:
        raise EngineError(f"It was not awake within {within:.3g} s.") from None
    if not _is_awake(said):
        raise EngineError(f"It did not say that it is awake, but {said[:200].decode(errors='replace')!r}.")


def _session(socket: Path) -> aiohttp.ClientSession:
    # The time for all requests together is limited by those who call.
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(str(socket)), timeout=timeout)


async def _post(session: aiohttp.ClientSession, path: str, body: object = None) -> bytes:
    """Give the body of a response of 200. Raises ``EngineError`` for every other, and for none."""
    try:
        async with session.post(path, json=body) as answer:
            said = await answer.read()
    except (aiohttp.ClientError, OSError) as error:
        raise EngineError(f"{path} was not answered: {error}.") from None
    if answer.status != 200:
        raise EngineError(f"{path} answered {answer.status}: {said[:200].decode(errors='replace')}")
    return said


def _is_awake(said: bytes) -> bool:
    try:
        return msgspec.json.decode(said, type=_Woken).status == "awake"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
