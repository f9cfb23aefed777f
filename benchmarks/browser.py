"""A Chromium to try pages in, spoken to over a pipe by its DevTools protocol; nothing to install.

Knows nothing of maps. It has no network to use: it is started with every host mapped to nowhere.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    """Return the path of a Chromium; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One tab.

    Attributes:
        said: what the page complained of: errors, and whatever its policy blocked.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send = send
        self._receive = receive
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[str] = []
        self.asked: list[str] = []

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        call: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            call["sessionId"] = self._session
        os.write(self._send, json.dumps(call).encode() + b"\0")
        while (told := self._next()).get("id") != self._number:
            self._note(told)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._receive, 1 << 20)
            if not more:
                raise RuntimeError("Chromium ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(line)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(params["exceptionDetails"]))
        elif told.get("method") == "Log.entryAdded":
            self.said.append(str(params["entry"]["text"]))
        elif told.get("method") == "Network.requestWillBeSent":
            self.asked.append(str(params["request"]["url"]))

    def attach(self) -> Self:
        """Open a tab."""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        return self

    def open(self, path: Path, width: int = 1280, height: int = 800, *, dark: bool = False) -> None:
        """Show a file, and wait until it is drawn."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        self("Emulation.setEmulatedMedia", features=[scheme, calm])
        self("Page.navigate", url=path.absolute().as_uri())
        ready = "document.readyState === 'complete' && location.protocol === 'file:'"
        while not self.run(ready):
            pass
        self.settle()

    def run(self, script: str) -> Any:
        """Run JavaScript, wait for what it promises, and return its value as JSON."""
        told = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def settle(self) -> None:
        """Wait for two frames."""
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(1))))")

    def press(self, key: str) -> None:
        """Press a key, and wait for what it draws."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self("Input.dispatchKeyEvent", type="keyUp", key=key)
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Move, press or release the mouse, or turn its wheel."""
        self("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        """Click, and wait for what it draws."""
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=1, clickCount=1)
        self.settle()

    def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode(self("Page.captureScreenshot", format="png")["data"])


def _end(process: int) -> None:
    """Ask a process to end, and end it if it hasn't after 20 seconds."""
    os.kill(process, signal.SIGTERM)
    for _ in range(200):
        if os.waitpid(process, os.WNOHANG)[0]:
            return
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@contextmanager
def browser() -> Iterator[Page]:
    """Start a Chromium without a window, and end it."""
    program = found()
    if program is None:
        raise FileNotFoundError("there is no Chromium on the path")
    to_it, from_us = os.pipe()
    from_it, to_us = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        words = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking",
        ]  # fmt: skip

        # DevTools reads from 3 and writes to 4; copies from 10 on are in neither's way.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_it, to_us)]
        silent = [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
        wired = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends, 3)]
        process = os.posix_spawn(program, words, os.environ, file_actions=[*silent, *wired])
        for end in (to_it, to_us, *ends):
            os.close(end)
        try:
            yield Page(from_us, from_it).attach()
        finally:
            _end(process)
            os.close(from_us)
            os.close(from_it)
