"""A browser that a test drives: it opens pages, clicks, and says what is to be seen (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from browser import BROWSER
from websockets.sync.client import ClientConnection, connect

_PATIENCE_SECONDS = 120.0


class Tab:
    """One page in a headless Chromium.

    Args:
        connection: The page's own socket.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its result.

        Raises:
            RuntimeError: The browser refuses.
        """
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=_PATIENCE_SECONDS))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def js(self, expression: str) -> Any:
        """Returns the value of an expression in the page.

        Raises:
            RuntimeError: The expression throws.
        """
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def before_each_page(self, script: str) -> None:
        """Has a script run in every page that is opened from now on, before the page's own."""
        self.send("Page.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, address: str) -> None:
        """Goes to an address."""
        self.send("Page.navigate", url=address)

    def wait_for(self, expression: str) -> Any:
        """Returns the value of an expression once it is true.

        Raises:
            TimeoutError: It stays false.
        """
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            with suppress(RuntimeError):  # the page is not there yet
                if value := self.js(expression):
                    return value
            time.sleep(0.05)
        raise TimeoutError(f"not so within {_PATIENCE_SECONDS:.0f} s: {expression}")

    def click(self, selector: str) -> None:
        """Presses the mouse in the middle of the first element that a CSS selector finds, as a user would.

        Raises:
            RuntimeError: Something else lies over it, or it is outside the window.
        """
        self.wait_for(f"document.querySelector({selector!r}) !== null")
        *place, seen = self.js(
            f"(() => {{ const element = document.querySelector({selector!r}), box = element.getBoundingClientRect();"
            " const x = box.x + box.width / 2, y = box.y + box.height / 2, hit = document.elementFromPoint(x, y);"
            " return [x, y, element.parentElement.contains(hit)]; })()"
        )
        if not seen:
            raise RuntimeError(f"{selector} is not to be seen at {place}")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], **button)

    def picture(self, file: Path) -> None:
        """Saves what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def open_browser(folder: Path, width: int = 1400, height: int = 900) -> Iterator[Callable[[], Tab]]:
    """Starts a browser; what is yielded opens tabs in it.

    Args:
        folder: Where its profile lies.
        width: Of its window, in pixels.
        height: Of its window, in pixels.
    """
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}", "--remote-debugging-port=0",
        "--remote-allow-origins=*", "about:blank",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(folder / "profile" / "DevToolsActivePort", process)
        sockets = ExitStack()

        def tab() -> Tab:
            address = f"http://127.0.0.1:{port}/json/new?about:blank"
            made = httpx.put(address, trust_env=False, timeout=_PATIENCE_SECONDS)
            return Tab(sockets.enter_context(connect(made.json()["webSocketDebuggerUrl"], max_size=None, proxy=None)))

        with sockets:
            yield tab
    finally:
        process.kill()
        process.wait(timeout=_PATIENCE_SECONDS)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the browser did not start (exit code {process.poll()})")
