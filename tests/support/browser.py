"""Debian's Chromium, driven by playwright, if both are there."""

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
    """Return the reason to skip what needs a browser, None where there is one."""
    if find_spec("playwright") is None:
        return "needs playwright"
    return None if COMMAND else "needs chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless browser that ends with the block; nothing is downloaded for it.

    Playwright runs an event loop in this thread until the block ends, so no other test can run one:
    a fixture of this must have the scope of one test.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, which containers are often run as, Chromium's sandbox is refused.
        browser = playwright.chromium.launch(executable_path=COMMAND, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()
