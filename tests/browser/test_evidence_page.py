"""The page of an evidence pack in a real browser: readable in light and dark, narrow and on paper, from a file."""

import io
import zipfile
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from proofs import CASE, PROOF
from readability import READABLE, contrast
from tieout_server.reconciliations.pack import pack
from tieout_server.reconciliations.proof import Proof

pytestmark = pytest.mark.browser

_TEXTS = """
const shown = [...document.querySelectorAll("h1, h2, h3, p, a, dt, dd, td, th, li, blockquote, footer")];
return shown.filter((element) => element.checkVisibility() && element.textContent.trim()).map((element) => {
  let ground = element;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const style = getComputedStyle(element);
  return [element.textContent.trim().slice(0, 40), style.color,
          getComputedStyle(ground).backgroundColor];
});
"""


_BROKEN_WORDS = """
const broken = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) for (const word of walker.currentNode.data.matchAll(/[\\p{L}\\p{N}.,]+/gu)) {
  const range = document.createRange();
  range.setStart(walker.currentNode, word.index);
  range.setEnd(walker.currentNode, word.index + word[0].length);
  if (new Set([...range.getClientRects()].map((line) => Math.round(line.top))).size > 1) broken.push(word[0]);
}
return broken;
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


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1200, "light"), (1200, "dark")])
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
    assert blank.execute_script(_BROKEN_WORDS) == []
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


def test_a_phone_shows_the_labels_of_the_chart_and_the_times_as_text_of_their_own(
    chromium: Chrome, tmp_path: Path
) -> None:
    show(chromium, unpacked(PROOF, tmp_path), width=360)
    labels = chromium.find_elements(By.CSS_SELECTOR, ".chart li")
    assert [label.text for label in labels] == ["415.40", "356.93", "298.47", "240.00", "13 Nov 2026", "22 Nov 2026"]
    assert {label.value_of_css_property("font-size") for label in labels} == {"13px"}
    chart = chromium.find_element(By.CSS_SELECTOR, "svg[role=img]").rect
    lines = [path.rect["y"] for path in chromium.find_elements(By.CSS_SELECTOR, "path.grid")]
    for label, line in zip(labels[:4], reversed(lines), strict=True):
        middle = label.rect["y"] + label.rect["height"] / 2
        assert (label.rect["x"] + label.rect["width"] <= chart["x"], abs(middle - line) < 2) == (True, True)
    for moment in chromium.find_elements(By.CSS_SELECTOR, ".timeline li"):
        time, sentence = (moment.find_element(By.TAG_NAME, name).rect for name in ("time", "span"))
        assert time["y"] + time["height"] <= sentence["y"]


def test_it_prints_on_white_paper(chromium: Chrome, tmp_path: Path) -> None:
    show(chromium, unpacked(CASE, tmp_path), width=800, scheme="dark", media="print")
    body = chromium.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("background-color") in {"rgb(255, 255, 255)", "rgba(255, 255, 255, 1)"}
    printed = chromium.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert len(printed["data"]) > 10_000
