"""axe-core on a page: what it finds serious or critical. It is npm's, pinned in frontend/package.json."""

from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page

AXE: Final = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
# In another theme the same markup has other colours, and nothing else.
_OF_COLOURS: Final = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
_RUN: Final = """
async (rules) => {
  const options = { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) };
  const found = await axe.run(document, options);
  return found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map((each) =>
    `${each.id}: ` + each.nodes.slice(0, 4).map((node) =>
      `${node.target.join(" ")} (${(node.any[0] || node.all[0] || node.none[0])?.message})`).join("; "));
}
"""


def read_axe() -> str:
    """Return axe-core's script; skips the test where the libraries could not be fetched."""
    if not AXE.is_file():
        pytest.skip("axe-core was not fetched from npm: make assets")
    return AXE.read_text()


def find_violations(page: Page, axe: str) -> list[str]:
    """Return what axe finds serious or critical on a page, in the light theme and in the dark one."""
    found: list[Any] = []
    page.evaluate(axe)
    for theme, rules in (("light", None), ("dark", _OF_COLOURS)):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found += [f"{theme}: {each}" for each in page.evaluate(_RUN, rules)]
    page.emulate_media(color_scheme="light")
    return found
