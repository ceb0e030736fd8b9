"""The page of an evidence pack in a real browser: readable in light and dark, narrow and on paper, from a file."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from proofs import CASE, PROOF
from tieout_server.reconciliations.pack import pack
from tieout_server.reconciliations.proof import Proof

pytestmark = pytest.mark.browser

READABLE = 4.5
"""Contrast of text against its ground: WCAG 2.2, 1.4.3, level AA."""
_TEXTS = """
const shown = [...document.querySelectorAll("h1, h2, h3, p, a, dt, dd, td, th, li, caption, blockquote, footer, text")];
return shown.filter((element) => element.checkVisibility() && element.textContent.trim()).map((element) => {
  let ground = element;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const style = getComputedStyle(element);
  return [element.textContent.trim().slice(0, 40), element.tagName === "text" ? style.fill : style.color,
          getComputedStyle(ground).backgroundColor];
});
"""


def unpacked(proof: Proof, folder: Path) -> str:
    with zipfile.ZipFile(io.BytesIO(pack(proof).content)) as archive:
        archive.extractall(folder)
    return (folder / "summary.html").as_uri()


def show(browser: Chrome, address: str, *, width: int, scheme: str = "light", media: str = "screen") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(address)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1200, "light"), (1200, "dark")])
@pytest.mark.parametrize("proof", [PROOF, CASE], ids=["discrepancy", "case"])
def test_everybody_can_read_it(  # noqa: PLR0917 - pytest passes them by name
    blank: Chrome, screenshots: Path, tmp_path: Path, proof: Proof, width: int, scheme: str
) -> None:
    show(blank, unpacked(proof, tmp_path), width=width, scheme=scheme)
    name = "case" if proof is CASE else "discrepancy"
    blank.save_screenshot(str(screenshots / f"evidence-{name}-{scheme}-{width}.png"))
    assert len(blank.find_elements(By.TAG_NAME, "h1")) == 1
    assert blank.execute_script("return document.documentElement.lang") == "en"
    assert blank.execute_script("return document.documentElement.scrollWidth") <= width
    texts = blank.execute_script(_TEXTS)
    assert len(texts) > 30
    assert [text for text, *colours in texts if contrast(*colours) < READABLE] == []
    assert blank.get_log("browser") == []  # type: ignore[no-untyped-call] # nothing missing, nothing forbidden
    resources = blank.execute_script("return performance.getEntriesByType('resource').length")
    assert resources == 0


def test_both_lines_of_the_chart_are_drawn_and_told_apart_without_colour(chromium: Chrome, tmp_path: Path) -> None:
    show(chromium, unpacked(PROOF, tmp_path), width=1200)
    (chart,) = chromium.find_elements(By.CSS_SELECTOR, "svg[role=img]")
    assert "Ours is 390.00 now, Xero's 415.40." in str(chart.get_attribute("aria-label"))
    ours, xero = (chart.find_element(By.CSS_SELECTOR, f"path.{side}") for side in ("ours", "xero"))
    assert (ours.size["width"] > 300, xero.size["width"] > 300) == (True, True)
    assert ours.value_of_css_property("stroke") != xero.value_of_css_property("stroke")
    assert xero.value_of_css_property("stroke-dasharray") != "none"


def test_it_prints_on_white_paper(chromium: Chrome, tmp_path: Path) -> None:
    show(chromium, unpacked(CASE, tmp_path), width=800, scheme="dark", media="print")
    body = chromium.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("background-color") in {"rgb(255, 255, 255)", "rgba(255, 255, 255, 1)"}
    printed = chromium.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert len(printed["data"]) > 10_000


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.2, contrast ratio)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    red, green, blue = (linear(int(part) / 255) for part in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(share: float) -> float:
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)
