"""The demo page in headless Chromium: prices arrive and change, and a tab that is closed is gone from the counters."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.ports import free_port
from tests.support.redis import wait_for_port

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "marketdata"
INSTRUMENTS = 6
GROUPS = INSTRUMENTS + 1  # and the counters'
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AT_ONCE = 2_000  # ms; the counters are pushed ten times a second
PATIENCE = 20_000  # ms


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of the example, served by Peneus."""
    port = free_port()
    command = [sys.executable, "-m", "peneus", "-b", "127.0.0.1", "-p", str(port), "marketdata.asgi:application"]
    server = subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, server)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    assert executable is not None, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Browser, demo: str) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()
    wait_until_nobody_is_there(demo, chromium)


def wait_until_nobody_is_there(demo: str, chromium: Browser) -> None:
    context = chromium.new_context()
    deadline = time.monotonic() + PATIENCE / 1000
    while (stats := context.request.get(demo + "stats/").json())["group_members"]:
        assert time.monotonic() < deadline, f"memberships stay: {stats}"
        time.sleep(0.05)
    context.close()


def open_tab(browser: BrowserContext, demo: str) -> Page:
    """A tab that is live, in which nothing has gone wrong."""
    tab = browser.new_page()
    tab.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    tab.goto(demo)
    expect(tab.locator("#link")).to_have_text("live", timeout=PATIENCE)
    return tab


def expect_clients(tab: Page, clients: int, timeout: int = PATIENCE) -> None:
    expect(tab.locator("#clients b")).to_have_text(str(clients), timeout=timeout)
    expect(tab.locator("#channels b")).to_have_text(str(clients), timeout=timeout)
    expect(tab.locator("#group_members b")).to_have_text(str(clients * GROUPS), timeout=timeout)


def test_prices_arrive_and_change(browser, demo):
    tab = open_tab(browser, demo)
    prices = tab.locator(".instrument output")
    expect(prices).to_have_count(INSTRUMENTS)
    for index in range(INSTRUMENTS):
        expect(prices.nth(index)).to_have_text(re.compile(r"^[\d,]+\.\d+$"), timeout=PATIENCE)
    seen = prices.all_text_contents()
    for index, price in enumerate(seen):
        expect(prices.nth(index)).not_to_have_text(price, timeout=PATIENCE)
    if picture := os.environ.get("PENEUS_SCREENSHOT"):
        open_tab(browser, demo)
        tab.wait_for_timeout(6_000)
        tab.screenshot(path=picture, full_page=True)


def test_an_unsubscribed_instrument_stands_still(browser, demo):
    tab = open_tab(browser, demo)
    expect_clients(tab, 1)
    still = tab.locator(".instrument").nth(0)
    expect(still.locator("output")).to_have_text(re.compile(r"\d"), timeout=PATIENCE)
    still.locator("input").uncheck()
    expect(tab.locator("#group_members b")).to_have_text(str(GROUPS - 1), timeout=PATIENCE)
    price = still.locator("output").text_content()
    other = tab.locator(".instrument").nth(1).locator("output")
    for _ in range(3):
        expect(other).not_to_have_text(other.text_content(), timeout=PATIENCE)
    assert still.locator("output").text_content() == price


def test_a_closed_tab_is_gone_from_the_counters_at_once(browser, demo):
    first = open_tab(browser, demo)
    expect_clients(first, 1)
    second = open_tab(browser, demo)
    expect_clients(first, 2)
    expect(first.locator("#log li").first).to_contain_text("a client joined, 2 now")
    expect_clients(second, 2)
    second.close()
    expect_clients(first, 1, timeout=AT_ONCE)
    expect(first.locator("#log li").first).to_contain_text("a client left, 1 now", timeout=AT_ONCE)
    expect(first.locator("#orphaned_channels b")).to_have_text("0")
