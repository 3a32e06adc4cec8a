"""Chromium, spoken to through its own pipe: what a page does once it is opened."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-extensions"),
)


class Browser:
    """A page at a time: `open` it, `run` programs in it, and see what `events` say."""

    def __init__(self, profile, commands, answers):
        flags = [*_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # It listens on the file descriptor 3 and answers on 4.
        script = f'exec "$0" "$@" 3<&{commands[0]} 4>&{answers[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, PROGRAM, *flags],
            pass_fds=(commands[0], answers[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(commands[0])
        os.close(answers[1])
        self.commands, self.answers = commands[1], answers[0]
        self.events, self.read, self.count, self.session = [], b"", 0, None
        (target,) = [
            one["targetId"]
            for one in self.ask("Target.getTargets")["targetInfos"]
            if one["type"] == "page"
        ]
        found = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = found["sessionId"]
        for part in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{part}.enable")

    def ask(self, method, **params):
        """The answer to a command of the DevTools protocol."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self, seconds=20):
        end = time.monotonic() + seconds
        while b"\0" not in self.read:
            left = max(0, end - time.monotonic())
            if not select.select([self.answers], [], [], left)[0]:
                raise TimeoutError(f"Chromium said nothing for {seconds} seconds")
            if not (piece := os.read(self.answers, 1 << 20)):
                raise RuntimeError("Chromium has ended")
            self.read += piece
        message, _, self.read = self.read.partition(b"\0")
        return json.loads(message)

    def open(self, path, width=1400, dark=False):
        """Waits until the page of a file is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": 900, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        self.events = []
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._next())

    def run(self, program):
        """The value of a JavaScript expression, awaited where it is a promise."""
        of = {"expression": program, "awaitPromise": True, "returnByValue": True}
        answer = self.ask("Runtime.evaluate", **of)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def complaints(self):
        """What the console, the log and failing programs have said since `open`."""
        names = "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"
        return [e for e in self.events if e.get("method") in names]

    def requests(self):
        """Addresses that were asked for since `open`."""
        sent = [
            e for e in self.events if e.get("method") == "Network.requestWillBeSent"
        ]
        return [event["params"]["request"]["url"] for event in sent]

    def end(self):
        os.close(self.commands)
        self.process.terminate()
        self.process.wait(20)
        os.close(self.answers)


@contextlib.contextmanager
def browser():
    """A Chromium with a profile of its own, until the end of the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        one = Browser(profile, os.pipe(), os.pipe())
        try:
            yield one
        finally:
            one.end()
