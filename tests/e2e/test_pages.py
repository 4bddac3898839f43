"""Both pages as people see them: phone and desktop, light and dark, English and Arabic.

`make pictures` keeps what is seen here in docs/pictures.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, Response, expect

from support.browsers import chromium
from support.server import Space

KEPT = Path(__file__).parents[2] / "docs" / "pictures"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
COUNTED = "^(1 listening|مستمع واحد)"
LOOKS = [
    (size, scheme, language)
    for size in SIZES
    for scheme in ("light", "dark")
    for language in ("en", "ar")
    if language == "en" or scheme == "light"
]


@pytest.fixture(scope="module")
def browser(playwright: Playwright, voices: dict[str, Path]) -> Iterator[Browser]:
    with chromium(playwright, microphone=voices["Voice B"]) as running:
        yield running


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return KEPT if os.environ.get("ROSTRA_PICTURES") else tmp_path


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    size, scheme, language = request.param
    viewport = SIZES[size]
    opened = browser.new_page(viewport=viewport, color_scheme=scheme, locale=language, reduced_motion="reduce")
    complaints: list[str] = []
    opened.on("response", lambda got: complaints.append(f"{got.status} {got.url}") if failed(got) else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    overflow = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, "nothing is wider than the screen"
    assert opened.evaluate("document.documentElement.dir") == ("rtl" if language == "ar" else "ltr")
    assert complaints == []
    opened.close()


def failed(got: Response) -> bool:
    """An error; but who hangs up may find that the stage has noticed before (404)."""
    return got.status >= 400 and got.request.method != "DELETE"


def name_of(page: str, look: tuple[str, str, str]) -> str:
    size, scheme, language = look
    return f"{page}-{size}-{scheme}{'' if language == 'en' else '-' + language}.png"


@pytest.mark.browser
@pytest.mark.parametrize(("page", "look"), [(look, look) for look in LOOKS], indirect=["page"])
def test_the_listeners_page(on_air: Space, page: Page, look: tuple[str, str, str], pictures: Path) -> None:
    page.goto(on_air.url)
    page.locator("#play").click()
    expect(page.locator("#space")).to_have_attribute("data-sound", "playing", timeout=20_000)
    expect(page.locator("#speaking")).to_be_visible(timeout=20_000)
    expect(page.locator("#listeners")).to_have_text(re.compile(COUNTED), timeout=20_000)
    page.screenshot(path=pictures / name_of("listener", look))


@pytest.mark.browser
@pytest.mark.parametrize(("page", "look"), [(look, look) for look in LOOKS], indirect=["page"])
def test_the_studios_page(on_air: Space, page: Page, look: tuple[str, str, str], pictures: Path) -> None:
    page.goto(on_air.links["host"])
    page.locator("#name").fill("Voice C")
    page.locator("#agreed").check()
    page.locator("[data-act=open-microphone]").click()
    page.locator("[data-act=join]").click()
    expect(page.locator(".seat[data-connected=true]")).to_have_count(3, timeout=45_000)
    expect(page.locator("#place .link [data-t='network.good']")).to_be_visible(timeout=20_000)
    page.locator("body").press("Home")
    page.mouse.move(0, 0)
    # On a phone, as the thumb finds it: a picture of the whole page would have the controls in the middle.
    page.screenshot(path=pictures / name_of("studio", look), full_page=look[0] == "desktop")
    on_air.post(f"/seats/{on_air.seats()['Voice C']['id']}", {"removed": True})
    expect(page.locator(".seat")).to_have_count(2, timeout=20_000)


@pytest.mark.browser
@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_owners_page_announces_a_space_by_keyboard_alone(
    on_air: Space, browser: Browser, language: str, pictures: Path
) -> None:
    page = browser.new_page(viewport=SIZES["desktop"], locale=language)
    page.goto(on_air.server.owner_link)
    title = page.locator("form input[type=text]")
    expect(title).to_be_visible()
    page.screenshot(path=pictures / name_of("owner", ("desktop", "light", language)))
    title.focus()
    page.keyboard.type("Announced by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Announced by keyboard", timeout=20_000)
    titles = [space["title"] for space in on_air.server.ask("GET", "/api/v1/spaces")["spaces"]]
    assert "Announced by keyboard" in titles
    page.close()
