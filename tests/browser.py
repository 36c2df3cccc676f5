"""A headless Chromium driven through its command line, for tests that open pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--v=0",
    # Timers of the page run out at once, so that the page is read after its scripts have ended.
    "--virtual-time-budget=10000",
    # Nothing leaves the machine, neither for the page nor for the browser itself.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# [pid:tid:date/time:LEVEL:CONSOLE:line] "text", source: url (line)
_CONSOLE = re.compile(r'^\[[^\]]*CONSOLE[^\]]*\] "(?P<text>.*?)", source: ', re.MULTILINE | re.DOTALL)

TIMEOUT_SECONDS = 120


def find_browser() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass(frozen=True)
class Page:
    """A page as the browser shows it.

    Attributes:
        dom: The document after its scripts ran, as HTML.
        console: What the page wrote to the console, errors of its scripts included.
        requests: Addresses on the network that the page asked for, without getting them.
        screenshot: PNG of the window.
    """

    dom: str
    console: tuple[str, ...]
    requests: tuple[str, ...]
    screenshot: Path


@dataclass(frozen=True)
class Browser:
    """Opens pages.

    Attributes:
        executable: Path of the browser.
        workspace: Folder for its profile and for screenshots.
    """

    executable: str
    workspace: Path

    def open(self, page: Path, *, width: int = 1280, height: int = 1600, dark: bool = False) -> Page:
        """Open a local HTML file, by day or in dark mode, and return what the browser made of it."""
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        size = f"--window-size={width},{height}"
        network = self.workspace / "network.json"
        dom = self._run("--dump-dom", scheme, size, f"--log-net-log={network}", page.resolve().as_uri())
        screenshot = self.workspace / f"{page.stem}-{width}x{height}.png"
        screenshot.unlink(missing_ok=True)
        self._run(f"--screenshot={screenshot}", scheme, size, page.resolve().as_uri())
        if not screenshot.is_file():
            raise RuntimeError(f"{self.executable} took no screenshot of {page}")
        console = tuple(match["text"] for match in _CONSOLE.finditer(dom.stderr))
        return Page(dom.stdout, console, _page_requests(network), screenshot)

    def print(self, page: Path) -> tuple[Path, tuple[str, ...]]:
        """Print a local HTML file; return the PDF, and what the page wrote to the console meanwhile."""
        pdf = self.workspace / f"{page.stem}.pdf"
        pdf.unlink(missing_ok=True)
        printed = self._run(f"--print-to-pdf={pdf}", page.resolve().as_uri())
        return pdf, tuple(match["text"] for match in _CONSOLE.finditer(printed.stderr))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        profile = f"--user-data-dir={self.workspace / 'profile'}"
        return subprocess.run(
            [self.executable, *FLAGS, profile, *arguments],
            capture_output=True,
            check=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )


def _page_requests(log: Path) -> tuple[str, ...]:
    """Read the page's own requests from the browser's network log."""
    events = (event.get("params", {}) for event in json.loads(log.read_text(encoding="utf-8"))["events"])
    # What the browser asks for on its own account (updates, the time) has no origin.
    asked = (event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin")
    return tuple(url for url in asked if not url.startswith(("file:", "data:", "blob:")))
