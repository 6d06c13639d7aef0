"""A real browser for the tests of pages: headless Chromium driven over a pipe by its DevTools protocol, stdlib only."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

NAMES = (
    "chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome",
    "google-chrome-stable",
)  # fmt: skip
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--remote-debugging-pipe",
)  # fmt: skip
SECONDS = 60  # that one answer may take on a busy machine

# Elements with text of their own whose contrast with what is behind them is too small (WCAG 2.2, 1.4.3).
CONTRAST = """(() => {
  const parse = (color) => {
    const found = color.match(/[0-9.]+/g).map(Number);
    return color.startsWith("color(srgb") ? found.slice(0, 3).map((v) => 255 * v).concat(found[3] ?? 1) : found;
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if ((color[3] ?? 1) > 0) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  let seen = 0;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = parse(node instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(node))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    seen += 1;
    if (ratio < 4.5) bad.push([node.tagName, node.className, node.textContent.slice(0, 30), ratio.toFixed(2)]);
  }
  return { seen, bad };
})()"""


def find() -> str | None:
    """The program named by HARNESS_CHROMIUM, else the first of `NAMES` that is installed."""
    wanted = os.environ.get("HARNESS_CHROMIUM")
    return wanted or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One process with one page. Requests, console messages and exceptions of the page are kept in lists."""

    def __init__(self, program: str, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        # the protocol wants descriptors 3 and 4, which must not be among the ends that are copied there
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (ours[0], theirs[1]))
        os.close(ours[0])
        os.close(theirs[1])
        quiet = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, read, 3), (os.POSIX_SPAWN_DUP2, write, 4)]
        actions += [(os.POSIX_SPAWN_DUP2, quiet, number) for number in (0, 1, 2)]
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setpgroup=0)
        for end in (read, write, quiet):
            os.close(end)
        self._to, self._from = ours[1], theirs[0]
        self._number = 0
        self._buffer = b""
        self._session: str | None = None
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.loaded = 0
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the process and its children."""
        os.close(self._to)
        os.close(self._from)
        os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol; RuntimeError where it fails."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._to, content) :]
        wanted = self._number
        while True:
            answer = self._receive()
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._from, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("the browser gave no answer")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"][:200])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(event["exceptionDetails"].get("exception", event["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.problems.append(str(event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.problems.append(event["entry"]["text"])
        elif method == "Page.loadEventFired":
            self.loaded += 1

    def open(self, path: Path, fragment: str = "") -> None:
        """Loads a file anew and waits until it is complete."""
        self.call("Page.navigate", url="about:blank")
        self.requests.clear()
        self.problems.clear()
        before = self.loaded
        self.call("Page.navigate", url=path.as_uri() + (f"#{fragment}" if fragment else ""))
        while self.loaded == before or self.js("document.readyState") != "complete":
            self.call("Runtime.evaluate", expression="0")

    def js(self, expression: str) -> Any:
        """The JSON value of an expression; a promise is awaited. RuntimeError with the message of an exception."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"].get("exception", {}).get("description", result)))
        return result["result"].get("value")

    def settle(self) -> None:
        """Waits until what was just done is laid out and painted."""
        self.js("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 30)))")

    def size(self, width: int, height: int, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name: str, media: str = "") -> None:
        """`light` or `dark` as the system's wish; `media` may be print."""
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": name}])

    def press(self, key: str) -> None:
        """A key of the keyboard, where the focus is."""
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )  # fmt: skip

    def click(self, selector: str) -> None:
        """A real click in the middle of the first element that matches, scrolled into view."""
        target = json.dumps(selector)
        self.js(f"document.querySelector({target}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self.settle()
        x, y = self.js(
            f"(() => {{ const r = document.querySelector({target}).getClientRects()[0];"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        options = {"captureBeyondViewport": True} if whole else {}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"]))
