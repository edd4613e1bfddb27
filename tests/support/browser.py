"""Debian's Chromium, controlled by playwright, if both are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COMMAND = shutil.which("chromium")


def why_not() -> str | None:
    """Return the reason to skip browser tests, or None if a browser is installed."""
    if find_spec("playwright") is None:
        return "needs playwright"
    return None if COMMAND else "needs chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless browser, which is closed at the end of the block. Nothing is downloaded.

    Playwright runs an event loop in this thread until the block ends, so no other event loop can
    run. A fixture that uses this must have the scope of one test.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses its sandbox for root, which many containers run as.
        browser = playwright.chromium.launch(executable_path=COMMAND, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()
