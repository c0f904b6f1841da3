"""A window of the browser: one person's pages, and everything that the browser complains about on them."""

from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

# The machine may be busy: waits are long, and nothing waits where it need not.
TIMEOUT_MS: Final = 60_000
PHONE: Final = {"width": 360, "height": 740}
DESKTOP: Final = {"width": 1280, "height": 900}
_WATCH_LAYOUT: Final = """
window.layoutShift = 0;
window.shifted = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if (entry.hadRecentInput) continue;
    window.layoutShift += entry.value;
    for (const source of entry.sources) window.shifted.push(source.node?.className || source.node?.nodeName);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


class Window:
    """A page in a context of its own, at the address that the console is used at."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        scripts: bool = True,
        phone: bool = False,
        state: Any = None,
    ) -> None:
        # Cookies of signing in are taken over plain http only from this name.
        self.url = url.replace("127.0.0.1", "localhost")
        self.complaints: list[str] = []
        self.status = 0
        self.context: BrowserContext = browser.new_context(
            java_script_enabled=scripts,
            viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
            storage_state=state,
            color_scheme="light",
            reduced_motion="reduce",
        )
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(_WATCH_LAYOUT)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._on_request)

    def open(self, path: str) -> Page:
        """Open a page by its path, or by an address of the console, and wait until it is whole."""
        if path.startswith("http"):
            path = urlsplit(path).path
        answer = self.page.goto(self.url + path)
        self.status = answer.status if answer is not None else 0
        return self.page

    def ask_for(self, path: str) -> None:
        """Take a page's status without opening it."""
        self.status = self.context.request.get(self.url + path).status

    def sign_in(self, email: str, password: str) -> Page:
        """Sign in by the form."""
        self.open("/sign-in")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)
        return self.page

    def overflow_px(self) -> int:
        """How far the page can be scrolled sideways once it has had a second to fit, as charts do later."""
        overflow_px = self._overflow_px()
        for _ in range(20):
            if overflow_px <= 0:
                break
            self.page.wait_for_timeout(50)
            overflow_px = self._overflow_px()
        return overflow_px

    def _overflow_px(self) -> int:
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def close(self) -> None:
        """Close the window and forget its cookies."""
        self.context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # A page that answers with an error status says so in the console; that is not one of its faults.
        own_status = "status of 4" in message.text and message.location.get("url") == self.page.url
        if message.type in ("error", "warning") and not own_status:
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https") and address.netloc != urlsplit(self.url).netloc:
            self.complaints.append(f"another host was asked: {request.url}")


def enliven_charts(page: Page) -> None:
    """Point at a page's first chart, where it has one, and wait for the library that then draws them all."""
    charts = page.locator("[data-chart-library]")
    if charts.count():
        charts.first.hover()
        page.locator(".uplot").first.wait_for()
