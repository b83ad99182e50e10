"""What a person sees of the page and does there, in a real Chromium before a real gateway with simulated engines."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from gateway.app import Gateway
from gateway.config.schema import Config
from gateway.console.startup_log import StartupLog
from gateway.reload.reloader import ConfigSource
from loadtest.simulator import SimulatedEngine, Timing
from loadtest.simulator.faults import Faults
from tests.browser.conftest import TOKEN, Visit
from tests.kit.eventually import eventually
from tests.kit.gateways import RunningGateway, gateway, remote

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

CLASSIFIER = {"tasks": ["classify"]}
NOBODY = remote("http://127.0.0.1:1", tasks=["generate"])


@asynccontextmanager
async def chat(
    *engines: SimulatedEngine, more: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """Run a gateway with a model ``chat`` on these engines, and ``more`` models."""
    async with asyncio.TaskGroup() as group:
        for engine in engines:
            group.create_task(engine.start())
    model = remote(*(each.address for each in engines), tasks=["generate"], hold=0.0)
    models = {"chat": model, **(more or {})}
    try:
        async with gateway(models, **settings) as served:
            yield served
    finally:
        for engine in engines:
            await engine.close()


async def complete(served: RunningGateway, **more: Any) -> int:
    """Ask for a completion, as any client; give the status."""
    body = {"model": "chat", "prompt": "a", "max_tokens": 20, **more}
    async with aiohttp.ClientSession() as http, http.post(f"{served.address}/v1/completions", json=body) as answer:
        await answer.read()
        return answer.status


def row(page: Page, table: str, name: str) -> Any:
    """Find the row of a table that begins with a name."""
    return page.get_by_role("group", name=table, exact=True).get_by_role("row").filter(has_text=name)


def tile(page: Page, name: str) -> Any:
    return page.locator(".tiles > div").filter(has_text=name).locator("dd")


async def test_the_overview_shows_models_and_what_they_do_now(visit: Visit) -> None:
    async with (
        SimulatedEngine("guard") as guard,
        chat(SimulatedEngine("chat"), more={"guard": remote(guard.address, **CLASSIFIER)}) as served,
    ):
        page = await visit.open(served)
        await expect(page).to_have_title("Overview - Headgate")
        await expect(page.locator("#gateway-state")).to_have_text("serving")
        await expect(tile(page, "Models ready")).to_have_text("2 / 2")
        await expect(row(page, "Models", "guard")).to_contain_text("classify")
        await expect(page.get_by_text("No request has failed.")).to_be_visible()
        for _ in range(5):
            assert await complete(served) == 200
        await expect(row(page, "Models", "chat").get_by_role("cell").nth(5)).not_to_have_text("0")
        await expect(page.locator(".plot canvas")).to_have_count(6)
        plot = page.get_by_role(
            "img", name=re.compile("^Requests per second in the last hour: now all [0-9.]+, highest")
        )
        await expect(plot).to_be_visible()


async def test_models_are_found_among_many_and_sorted(visit: Visit) -> None:
    more = {f"org/model-{number}": NOBODY for number in range(250)}
    async with chat(SimulatedEngine("chat"), more=more, ready=["chat"]) as served:
        page = await visit.open(served)
        await expect(page.locator("#gateway-state")).to_have_text("250 models not ready")
        rows = page.get_by_role("group", name="Models", exact=True).locator("tbody tr")
        await expect(rows).to_have_count(200)
        await expect(page.get_by_text("and 51 models more; filter to see them")).to_be_visible()
        await page.get_by_label("Filter models").fill("model-24")
        await expect(rows).to_have_count(11)
        await page.get_by_role("button", name="Model", exact=True).click()
        await expect(rows.first).to_contain_text("org/model-24")
        await page.get_by_label("Filter models").fill("nothing of this name")
        await expect(page.get_by_text("No model has such a name.")).to_be_visible()
        await page.get_by_label("Filter models").fill("chat")
        await page.get_by_role("link", name="chat", exact=True).click()
        await expect(page.get_by_role("heading", name="chat", exact=True)).to_be_visible()


async def test_a_replica_that_dies_is_named_with_the_reason(visit: Visit) -> None:
    first, second = SimulatedEngine("chat"), SimulatedEngine("chat")
    async with chat(first, second) as served:
        page = await visit.open(served)
        await expect(tile(page, "Replicas ready")).to_have_text("2 / 2")
        await second.close()
        attention = page.get_by_role("region", name="Needs attention")
        await expect(attention).to_contain_text("failing chat-1 of chat")
        await expect(attention).to_contain_text("refused the connection")
        await expect(page.locator("#announcements")).to_have_text("Not ready any more: chat-1")
        await expect(page.locator("#gateway-state")).to_have_text("serving")
        await attention.get_by_role("link", name="chat").click()
        await expect(row(page, "Replicas", "chat-1")).to_contain_text("failing")
        await expect(row(page, "Recent decisions", "chat-1").first).to_contain_text("→ failing")
        await first.close()
        await eventually(lambda: not served.gateway.plane.registry.models[0].pool.ready)
        assert await complete(served) == 503
        await expect(row(page, "Recent errors", "503").first).to_contain_text("no_ready_replica")
        await expect(page.locator("#gateway-state")).to_have_text("1 model not ready")


async def test_a_chat_is_seen_while_it_streams_and_can_be_stopped(visit: Visit) -> None:
    engine = SimulatedEngine("chat", timing=Timing(inter_token=0.02))
    async with chat(engine) as served:
        page = await visit.open(served, "#/playground")
        answers, figures = page.get_by_role("region", name="Answers"), page.locator(".figures")
        await page.get_by_label("Max tokens").fill("1000000")
        await page.get_by_role("button", name="Send").click()
        await expect(answers).to_contain_text("t3")
        await expect(answers).to_have_attribute("aria-busy", "true")
        assert engine.running == 1
        await page.get_by_role("button", name="Stop").click()
        await expect(figures).to_have_text("Stopped.")
        await eventually(lambda: engine.running == 0)
        # One that comes to its end is part of the conversation from then on.
        await page.get_by_label("Max tokens").fill("25")
        await page.get_by_label("Text").fill("What is a headgate?")
        await page.get_by_label("Text").press("Control+Enter")
        await expect(figures).to_contain_text(re.compile(r"First token after .*25 out; [\d.]+ tokens/s"))
        await expect(answers).to_contain_text("t24")
        await page.get_by_label("Text").fill("And who opens it?")
        await page.get_by_role("button", name="Send").click()
        await eventually(lambda: b"opens" in engine.requests[-1].body)
        said = json.loads(engine.requests[-1].body)["messages"]
        assert [each["role"] for each in said] == ["user", "assistant", "user"]


async def test_a_classifier_and_an_embedder_are_asked(visit: Visit) -> None:
    async with (
        SimulatedEngine("guard") as guard,
        SimulatedEngine("mini") as mini,
        chat(
            SimulatedEngine("chat"),
            more={"guard": remote(guard.address, **CLASSIFIER), "mini": remote(mini.address, tasks=["embed"])},
        ) as served,
    ):
        page = await visit.open(served, "#/playground?model=guard")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("region", name="Answers").locator("meter")).to_have_count(2)
        await page.get_by_label("Model", exact=True).select_option("mini")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("region", name="Answers")).to_contain_text("dimensions, length")


async def test_the_request_is_shown_as_curl_and_as_python_that_run(visit: Visit) -> None:
    shells, programs = [], []
    async with (
        SimulatedEngine("guard") as guard,
        SimulatedEngine("mini") as mini,
        chat(
            SimulatedEngine("chat"),
            more={"guard": remote(guard.address, **CLASSIFIER), "mini": remote(mini.address, tasks=["embed"])},
        ) as served,
    ):
        for model in ("chat", "guard", "mini"):
            page = await visit.open(served, f"#/playground?model={model}")
            await page.get_by_label("Text").fill('It\'s "quoted", with a \\ and a 水 in it.\nAnd a second line.')
            shells.append(await page.locator("pre code").first.text_content() or "")
            programs.append(await page.locator("pre code").last.text_content() or "")
        said = [
            await run("sh", "-c", "\n".join(each.replace("curl", "curl -sS", 1) for each in shells)),
            await run(sys.executable, "-c", "\n".join(programs)),
        ]
        asked = [json.loads(engine.requests[-1].body)["input"] for engine in (guard, mini)]
    for each in said:
        assert re.search(r"t1.*label.*0\.\d", each, re.DOTALL)
    assert asked == ['It\'s "quoted", with a \\ and a 水 in it.\nAnd a second line.'] * 2


async def run(*command: str) -> str:
    """Run a program to its end; give what it says."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_with_api_keys_the_playground_asks_for_one_and_shows_it_nowhere(visit: Visit) -> None:
    keys = [{"id": "alice", "sha256": sha256(b"sk-alice").hexdigest()}]
    async with chat(SimulatedEngine("chat"), keys=keys) as served:
        page = await visit.open(served, "#/playground")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("alert").filter(has_text="401")).to_be_visible()
        await page.get_by_label("API key").fill("sk-alice")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("region", name="Answers")).to_contain_text("t3")
        shown = await page.locator("pre code").all_text_contents()
        assert all("sk-alice" not in each and "API_KEY" in each for each in shown)


async def test_a_replica_is_drained_by_who_has_the_token(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat"), SimulatedEngine("chat")) as served:
        page = await visit.open(served, "#/models/chat")
        await page.get_by_role("button", name="Drain chat-1").click()
        await page.get_by_role("dialog").get_by_role("button", name="Drain it").click()
        await page.get_by_role("textbox", name="Token").fill("a-token-of-somebody-else")
        await page.get_by_role("button", name="Use it").click()
        await expect(page.locator("#token-wrong")).to_have_text("this is not the token of this gateway")
        assert len(served.gateway.plane.registry.models[0].pool.ready) == 2
        await page.get_by_role("textbox", name="Token").fill(TOKEN)
        await page.get_by_role("button", name="Use it").click()
        await expect(page.locator("#toast")).to_have_text("chat-1 drains.")
        await expect(row(page, "Replicas", "chat-1")).to_have_count(0)
        await page.get_by_role("link", name="Overview").first.click()
        decided = page.get_by_role("region", name="Recent decisions", exact=True)
        await expect(decided).to_contain_text("POST /replicas/chat-1/drain")
        await expect(decided).to_contain_text("→ removed")


async def test_a_model_at_zero_says_why_nothing_starts_and_is_scaled_by_who_has_the_token(visit: Visit) -> None:
    nowhere: dict[str, Any] = {"engine": "onnx", "source": "/nowhere", "tasks": ["embed"]}
    models = {"full": nowhere, "m": {**nowhere, "hold": 60.0, "scaling": {"min": 0, "max": 3}}}
    async with gateway(models, ready=(), cpu_engines=1) as served:
        page = await visit.open(served, token=True)
        await expect(row(page, "Models", "m").last).to_contain_text("scaled to zero")
        await page.goto(f"{served.control}/#/models/m")
        scaling = page.get_by_role("region", name="Scaling")
        await expect(scaling).to_contain_text("0 desired")
        await expect(scaling).to_contain_text("0 and 3, 8 requests each")
        await scaling.get_by_label("Replicas").fill("2")
        await scaling.get_by_role("button", name="Scale").click()
        await page.get_by_role("dialog").get_by_role("button", name="Scale it").click()
        await expect(page.locator("#toast")).to_have_text("m is to have 2 replicas.")
        await expect(scaling).to_contain_text("fixed at 2 until the next reload")
        await expect(scaling).to_contain_text("room for one more: cpu_engines = 1, and so many run")
        await expect(scaling).to_contain_text("0 → 2 (operator)")
        decided = page.get_by_role("region", name="Recent decisions", exact=True)
        await expect(decided).to_contain_text("operator: an operator asked for this number")
        await scaling.get_by_role("button", name="Leave it to the gateway").click()
        await page.get_by_role("dialog").get_by_role("button", name="Leave them").click()
        await expect(page.locator("#toast")).to_have_text("The replicas of m are left to the gateway.")
        await expect(scaling).to_contain_text("0 and 3, 8 requests each")
        await page.goto(f"{served.control}/#/models/full")
        await expect(page.get_by_role("region", name="Scaling")).to_contain_text("as many replicas as its config")


async def test_the_configuration_is_reloaded_and_what_is_wrong_is_told(visit: Visit, tmp_path: Path) -> None:
    base = {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", "access_log": "off"}
    configs = [
        Config.model_validate({"gateway": base | more, "models": {"chat": NOBODY}}) for more in ({}, {"processes": 2})
    ]
    now = configs[0]
    built = Gateway(now, tmp_path, StartupLog(io.StringIO()), ConfigSource(lambda: now, ()))
    await built.start()
    try:
        page = await visit.open(RunningGateway(built), token=True)
        assert TOKEN not in page.url
        for said in ("The configuration was reloaded.", "gateway.processes: is read at the start only"):
            await page.get_by_role("button", name="Reload configuration").click()
            await page.get_by_role("dialog").get_by_role("button", name="Reload it").click()
            await expect(page.locator("#toast")).to_contain_text(said)
            now = configs[1]
        await expect(page.get_by_role("region", name="Recent decisions", exact=True)).to_contain_text("not reloaded")
    finally:
        await built.stop()


@asynccontextmanager
async def page_of_somebody_else(html: str) -> AsyncIterator[str]:
    """Serve a page at another port, which is another origin; give its address."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=html, content_type="text/html")

    application = web.Application()
    application.add_routes([web.get("/", answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_page_of_another_origin_gives_no_command_and_sees_nothing(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat"), SimulatedEngine("chat")) as served:
        form = (
            f'<form method="post" action="{served.control}/replicas/chat-1/drain"><button>Win a prize</button></form>'
        )
        async with page_of_somebody_else(form) as elsewhere:
            page = visit.page
            await page.goto(elsewhere)
            tried = await page.evaluate(
                """async (gateway) => {
                    const tried = [];
                    for (const [path, method, mode] of [
                        ["/replicas/chat-1/drain", "POST", "no-cors"],
                        ["/reload", "POST", "cors"],
                        ["/page/api/state", "GET", "cors"],
                        ["/page/api/ask/v1/chat/completions", "POST", "cors"],
                    ]) {
                        tried.push(await fetch(gateway + path, { method, mode }).then((r) => r.type, () => "refused"));
                    }
                    return tried;
                }""",
                served.control,
            )
            # What is opaque was sent, and tells the page nothing; the gateway has not done it.
            assert tried == ["opaque", "refused", "refused", "refused"]
            async with page.expect_navigation() as sent:
                await page.get_by_role("button", name="Win a prize").click()
            answer = await sent.value
            assert answer is not None
            assert (answer.status, (await answer.json())["code"]) == (403, "other_origin")
        assert len(served.gateway.plane.registry.models[0].pool.ready) == 2


async def test_a_name_that_was_pointed_here_needs_the_token_to_see_anything(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat")) as served:
        page = visit.page
        await page.goto(f"http://rebound.test:{served.control.rpartition(':')[2]}/")
        await expect(page.locator("#token-wrong")).to_contain_text("is a name, which needs the token")
        assert "chat" not in await page.locator("main").inner_text()
        await page.get_by_role("textbox", name="Token").fill(TOKEN)
        await page.get_by_role("button", name="Use it").click()
        await expect(row(page, "Models", "chat")).to_be_visible()


async def test_everything_is_done_with_the_keyboard_alone(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat"), SimulatedEngine("chat")) as served:
        page = await visit.open(served, token=True)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await tab_to(page, page.get_by_label("Filter models"))
        await tab_to(page, page.get_by_role("link", name="chat", exact=True))
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="chat", exact=True)).to_be_visible()
        drain = page.get_by_role("button", name="Drain chat-0")
        await tab_to(page, drain)
        # A look at the gateway meanwhile takes the focus from nobody.
        shown = await page.locator("#updated").text_content()
        await expect(page.locator("#updated")).not_to_have_text(shown or "")
        await expect(drain).to_be_focused()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Drain chat-0?")
        await expect(dialog).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await expect(drain).to_be_focused()
        assert len(served.gateway.plane.registry.models[0].pool.ready) == 2
        await page.keyboard.press("Enter")
        await tab_to(page, page.get_by_role("button", name="Drain it"))
        await page.keyboard.press("Enter")
        await expect(page.locator("#toast")).to_have_text("chat-0 drains.")


async def tab_to(page: Page, wanted: Any) -> None:
    """Press the tabulator key until an element has the focus."""
    for _ in range(40):
        if await wanted.evaluate("(node) => node === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    pytest.fail("it is not reached")


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const channels = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const luminance = (colour) => {
        const [r, g, b] = [...channels(colour)].slice(0, 3).map((each) => each / 255)
            .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (channels(colour)[3] === 255) return colour;
        }
        return "white";
    };
    const poor = [];
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
        if (!own || !node.checkVisibility() || node.disabled) continue;
        const [a, b] = [luminance(getComputedStyle(node).color), luminance(behind(node))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) poor.push(`${node.className} ${node.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
    }
    return poor;
}"""
"""Texts with less contrast than WCAG 2.2 AA asks for, which is 4.5 to 1."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_text_has_contrast_in_light_and_in_the_dark(visit: Visit, scheme: Any) -> None:
    async with chat(SimulatedEngine("chat"), more={"none": NOBODY}, ready=["chat"]) as served:
        page = visit.page
        await page.emulate_media(color_scheme=scheme)
        await visit.open(served)
        await expect(page.get_by_role("region", name="Needs attention")).to_contain_text("failing none-0")
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == {"light": "rgb(246, 247, 248)", "dark": "rgb(18, 24, 27)"}[scheme]
        assert await page.evaluate(CONTRAST) == []
        await visit.open(served, "#/playground")
        await expect(page.locator("pre code").first).not_to_be_empty()
        assert await page.evaluate(CONTRAST) == []


async def test_a_narrow_screen_scrolls_in_one_direction_only(visit: Visit) -> None:
    async with chat(
        SimulatedEngine("chat"), more={"a-model-with-a-rather-long-name/v1.5": NOBODY}, ready=["chat"]
    ) as served:
        page = visit.page
        await page.set_viewport_size({"width": 360, "height": 740})
        for view in ("#/", "#/models/chat", "#/playground"):
            await visit.open(served, view)
            assert await page.evaluate("document.documentElement.scrollWidth") == 360


async def test_landmarks_and_names_are_there_for_a_screen_reader(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat")) as served:
        page = await visit.open(served)
        for role in ("banner", "navigation", "main"):
            await expect(page.get_by_role(role)).to_have_count(1)
        for view in ("#/", "#/models/chat", "#/playground"):
            await visit.open(served, view)
            await expect(page.get_by_role("heading", level=1)).to_have_count(1)
            nameless = await page.evaluate(
                """[...document.querySelectorAll("button, input, select, textarea, a, [tabindex='0']")].filter((node) =>
                    node.checkVisibility() && !(node.getAttribute("aria-label") || node.labels?.length
                        || node.textContent.trim() || node.tagName === "PRE")).map((node) => node.outerHTML)"""
            )
            assert nameless == []


async def test_what_engines_and_clients_say_is_text_and_never_markup(visit: Visit) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    engine = SimulatedEngine("chat", faults=Faults(status=500, error_body=evil))
    async with chat(engine) as served:
        assert await complete(served) == 502
        page = await visit.open(served)
        await expect(page.get_by_role("region", name="Recent errors", exact=True)).to_contain_text(evil)
        await visit.open(served, "#/playground")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("region", name="Answers")).to_contain_text("onerror")
        await page.goto(f"{served.control}/#/models/{evil.replace('<', '%3C').replace('>', '%3E').replace('/', '%2F')}")
        await expect(page.locator("main")).to_contain_text("there is no model")
        assert await page.locator("main img, main script").count() == 0
        assert "owned" not in await page.title() or evil in await page.title()


async def test_a_gateway_that_is_gone_is_told_and_so_is_its_return(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat")) as served:
        page = await visit.open(served)
        await page.context.set_offline(True)
        await expect(page.locator("#offline")).to_contain_text("The gateway does not answer")
        await expect(row(page, "Models", "chat")).to_be_visible()
        await page.context.set_offline(False)
        await expect(page.locator("#offline")).to_be_hidden()


async def test_several_processes_are_one_gateway(visit: Visit) -> None:
    async with chat(SimulatedEngine("chat"), processes=2) as served:
        page = await visit.open(served)
        await expect(page.locator("#gateway-state")).to_have_text("serving by 2 processes")
        for _ in range(4):
            assert await complete(served) == 200
        await expect(row(page, "Models", "chat").get_by_role("cell").nth(5)).not_to_have_text("0")
