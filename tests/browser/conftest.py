"""A real browser before a real gateway, whose engines are simulated: what a person sees of the page, and does there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.kit.gateways import RunningGateway

CHROMIUM = Path("/usr/bin/chromium")

TOKEN = "a-token-of-the-tests"


@pytest.fixture(autouse=True)
def known_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every gateway of these tests the same token."""
    monkeypatch.setenv("HEADGATE_CONTROL_TOKEN", TOKEN)


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Skip all of these tests where there is no browser."""
    if not CHROMIUM.exists():
        pytest.skip("needs Chromium: sudo apt-get install chromium")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(installed: None) -> AsyncIterator[Browser]:
    """Start the one browser that all tests share."""
    quiet = ["quic", "background-networking", "component-update", "sync"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            timeout=2 * PATIENCE,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                # A name that somebody else's DNS has pointed to this machine.
                "--host-resolver-rules=MAP rebound.test 127.0.0.1",
                *(f"--disable-{each}" for each in quiet),
            ],
        )
        yield browser
        await browser.close()


PATIENCE = 60_000
"""Milliseconds: nothing that is awaited takes nearly so long, unless the machine stands still."""

expect.set_options(timeout=PATIENCE)


@dataclass
class Visit:
    """One person's look at the page, and what went wrong in it."""

    page: Page
    wrong: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    async def open(self, served: RunningGateway, view: str = "#/", *, token: bool = False) -> Page:
        """Open a view, as somebody who has the token or not, and wait until the gateway has answered."""
        if token:
            await self.page.goto(f"{served.control}/#token={TOKEN}")
        await self.page.goto(f"{served.control}/{view}")
        await expect(self.page.locator("#updated")).not_to_be_empty()
        return self.page


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Open a window of its own for one test; nothing may go wrong there, nor be fetched from elsewhere."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    here = Visit(page)
    page.on("pageerror", lambda error: here.wrong.append(str(error)))
    page.on("request", lambda request: here.asked.add(request.url.split("/")[2]))
    yield here
    await context.close()
    assert here.wrong == []
    assert {host.rpartition(":")[0] for host in here.asked} <= {"127.0.0.1", "rebound.test"}
