"""A real headless browser, told what to do over its DevTools pipe: a message is JSON and a NUL."""

import base64
import fcntl
import itertools
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

from tests.waiting import wait_until

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_WITHIN = 60.0


_COMPLAINTS = {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}


class _Refused(AssertionError):
    """The browser cannot do what it is told."""


class Page:
    """One tab."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._read = read
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the browser had to say of the page: what its policy refused, errors in its script."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=1280, height=1000, deviceScaleFactor=1, mobile=False
        )

    def go(self, url: str, *, script: bool = True, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self._ask("Emulation.setScriptExecutionDisabled", value=not script)
        self._ask("Page.navigate", url=url)
        wait_until(lambda: "</footer>" in self.html(), _WITHIN, "the page")

    def html(self) -> str:
        """The document as it is now; empty while another one takes its place."""
        root = self._ask("DOM.getDocument", depth=0)["root"]["nodeId"]
        try:
            text: str = self._ask("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        except _Refused:
            return ""
        return text

    def evaluate(self, expression: str) -> Any:
        return self._ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        """PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot")["data"])

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._hear()
            if told.get("id") == number:
                if "error" in told:
                    raise _Refused(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result
            if told.get("method") in _COMPLAINTS:
                self.complaints.append(json.dumps(told["params"]))

    def _hear(self) -> dict[str, Any]:
        deadline = time.monotonic() + _WITHIN
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser ended"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with its profile in a folder; its end is the end of all its processes."""
    assert BROWSER is not None
    to_it, ours_to_write = os.pipe()
    ours_to_read, from_it = os.pipe()
    # Where it looks for them; ours must not be in the way.
    to_it, from_it = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_it, from_it))

    def ends_in_place() -> None:
        os.dup2(to_it, 3)
        os.dup2(from_it, 4)

    options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    log = folder / "browser.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BROWSER, *options, "--remote-debugging-pipe", f"--user-data-dir={folder / 'browser'}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=False,
            preexec_fn=ends_in_place,  # noqa: PLW1509
            start_new_session=True,
        )
    os.close(to_it)
    os.close(from_it)
    try:
        yield Page(ours_to_write, ours_to_read)
    except AssertionError as error:
        error.add_note(log.read_text(errors="replace")[-5000:])
        raise
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        os.close(ours_to_write)
        os.close(ours_to_read)
