"""Controls headless Chromium by its DevTools protocol through pipes, which needs neither a driver nor a port."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
WAIT = 120  # seconds for an answer, on a busy machine
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
    "--remote-debugging-pipe",
]  # fmt: skip


class Page:
    """A tab. told: console messages, uncaught exceptions and log entries. asked: URLs that the page requested."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing, self.rest, self.number, self.session = reading, writing, b"", 0, None
        self.told: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that arrive meanwhile are recorded."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + WAIT
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.reading], [], [], max(0, until - time.monotonic()))
            assert ready, "chromium does not answer"
            data = os.read(self.reading, 1 << 20)
            assert data, "chromium has ended"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, parameters: dict[str, Any]) -> None:
        if event == "Runtime.consoleAPICalled":
            self.told.append(str([value.get("value") for value in parameters["args"]]))
        elif event == "Runtime.exceptionThrown":
            self.told.append(str(parameters["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.told.append(parameters["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"][:200])

    def open(self, path: Path, width: int, dark: bool = False) -> None:
        """Open a file in a window `width` pixels wide."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        until = time.monotonic() + WAIT
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < until, "the page does not load"

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def shoot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self, path: Path) -> None:
        """Write the page as PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Chromium with an empty profile in a folder, and one tab."""
    (theirs_in, writing), (reading, theirs_out) = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', CHROMIUM, *FLAGS]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    child = subprocess.Popen([*command, f"--user-data-dir={folder}"], pass_fds=[theirs_in, theirs_out], **quiet)
    for end in (theirs_in, theirs_out):
        os.close(end)
    try:
        yield Page(reading, writing)
    finally:
        for end in (reading, writing):
            os.close(end)
        child.terminate()
        child.wait(WAIT)
