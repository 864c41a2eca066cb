"""A headless Chromium, spoken to in the DevTools protocol over two pipes: nothing but the standard library."""

import base64
import fcntl
import itertools
import json
import os
import select
import time
from pathlib import Path

SECONDS = 60
"""Longest wait for an answer."""


class Chromium:
    """A running browser with one page."""

    def __init__(self, binary: str, profile: Path):
        command = [
            *(binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"),
        ]
        ends = [*os.pipe(), *os.pipe()]
        theirs_in, ours_out, ours_in, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs_in, 3),
            (os.POSIX_SPAWN_DUP2, theirs_out, 4),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        self._process = os.posix_spawn(binary, command, os.environ, file_actions=actions)
        for end in (*ends, theirs_in, theirs_out):
            os.close(end)
        self._out, self._in = ours_out, ours_in
        self._numbers, self._buffer, self._session, self._events = itertools.count(1), b"", None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """Ends the browser."""
        self.call("Browser.close")
        os.waitpid(self._process, 0)
        os.close(self._in)
        os.close(self._out)

    def call(self, method, **parameters):
        """The result of a command; events that come before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], SECONDS)[0], "the browser does not answer"
            received = os.read(self._in, 1 << 16)
            assert received, "the browser has ended"
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path, width, scheme="light", height=900):
        """Loads a page in a window of that size, and waits until its scripts have run."""
        self._events.clear()
        self.resize(width, height)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        while not self._seen("Page.loadEventFired"):
            self._events.append(self._read())
        self.wait_for("document.documentElement.dataset.ready === 'yes'")

    def resize(self, width, height=900):
        """Gives the window another size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def wait_for(self, condition):
        """Waits until a JavaScript expression is true."""
        self.wait_until(lambda: self.evaluate(condition))

    def wait_until(self, happened):
        """Waits until a function returns something true."""
        deadline = time.monotonic() + SECONDS
        while not happened():
            assert time.monotonic() < deadline, f"did not happen within {SECONDS} seconds"
            time.sleep(0.02)

    def press(self, key, code=None, text=""):
        """Presses a key, such as Tab."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=code or key,
                text=text if kind == "keyDown" else "",
                windowsVirtualKeyCode={"Tab": 9, "Enter": 13, " ": 32}.get(key, 0),
            )

    def picture(self, path):
        """Writes what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self):
        """The page in print, as PDF."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(answer["data"])

    def evaluate(self, expression):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _seen(self, *methods):
        return [event["params"] for event in self._events if event.get("method") in methods]

    @property
    def problems(self):
        """Exceptions, console output and violations of the page's policy since it was opened."""
        return self._seen("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    @property
    def requests(self):
        """Addresses the page asked for since it was opened, data: aside."""
        asked = [event["request"]["url"] for event in self._seen("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith("data:")]
