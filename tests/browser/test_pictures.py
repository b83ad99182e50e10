"""Makes the pictures of the documentation: simulated engines under load, of which one replica fails."""

from __future__ import annotations

import asyncio
import io
import os
import random

import aiohttp
import pytest
from PIL import Image
from playwright.async_api import Page

from loadtest.simulator import SimulatedEngine, Timing
from tests.browser.conftest import Visit
from tests.kit.gateways import gateway, remote

FOLDER = os.environ.get("HEADGATE_SCREENSHOTS")
MINUTES = float(os.environ.get("HEADGATE_SCREENSHOT_MINUTES", "10"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not FOLDER, reason="makes pictures: HEADGATE_SCREENSHOTS=docs/pictures pytest tests/browser"),
]

CHAT = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Say something about gates, please."}],
    "stream": True,
}
"""What the load asks; how many tokens it wants is drawn for each request."""


async def shot(page: Page, name: str) -> None:
    """Take a picture of the whole page, with a palette: a third of the bytes, and nobody sees it."""
    png = await page.screenshot(full_page=True)
    with Image.open(io.BytesIO(png)) as picture:
        palette = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
        palette.save(f"{FOLDER}/{name}.png", optimize=True)


async def load(address: str, seconds: float) -> None:
    """Ask in an open loop, with a rate that goes up and down."""
    draw = random.Random(7)
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    async def ask(http: aiohttp.ClientSession, path: str, body: object) -> None:
        async with http.post(address + path, json=body) as answer:
            await answer.read()

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        while loop.time() < until:
            swing = 1 + (loop.time() // 90 % 3)
            group.create_task(ask(http, "/v1/chat/completions", CHAT | {"max_tokens": draw.randint(20, 160)}))
            if draw.random() < 0.4:
                group.create_task(ask(http, "/classify", {"model": "prompt-guard", "input": "Who are you?"}))
            await asyncio.sleep(draw.expovariate(1.5 * swing))


async def test_pictures_are_made(visit: Visit) -> None:
    chatty = Timing(ttft=0.12, inter_token=0.03)
    async with (
        SimulatedEngine("chat", timing=chatty) as first,
        SimulatedEngine("chat", timing=Timing(ttft=0.2, inter_token=0.035), seed=1) as second,
        SimulatedEngine("prompt-guard", timing=Timing(ttft=0.01)) as guard,
        SimulatedEngine("minilm", timing=Timing(ttft=0.01)) as embedder,
        gateway(
            {
                "chat": remote(first.address, second.address, max_in_flight=24, max_queue=64, health_interval=2.0),
                "prompt-guard": remote(guard.address, tasks=["classify"]),
                "minilm": remote(embedder.address, tasks=["embed"]),
            }
        ) as served,
    ):
        page = visit.page
        await visit.open(served, token=True)
        await load(served.address, MINUTES * 60 * 0.8)
        await second.close()
        await load(served.address, MINUTES * 60 * 0.2)
        await page.get_by_text("Needs attention").wait_for()
        await shot(page, "page-overview")
        await page.emulate_media(color_scheme="dark")
        await visit.open(served, "#/models/chat")
        await shot(page, "page-model-dark")
        await page.emulate_media(color_scheme="light")
        await visit.open(served, "#/playground?model=chat")
        await page.get_by_label("Text").fill("What is a headgate?")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_text("whole answer after").wait_for(timeout=60_000)
        await shot(page, "page-playground")
