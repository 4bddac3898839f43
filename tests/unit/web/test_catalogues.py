"""Every word of the pages comes from a catalogue, in every language, and no word in one is spare."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

import rostra

WEB: Final = Path(rostra.__file__).parent / "web"
LANGUAGES: Final = ("en", "ar")
PLURALS: Final = {"en": {"one", "other"}, "ar": {"zero", "one", "two", "few", "many", "other"}}
"""The categories that each language has (Unicode CLDR, plural rules)."""

SCRIPTS: Final = sorted(WEB.rglob("*.js"))
PAGES: Final = sorted(WEB.rglob("*.html"))

STRING: Final = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`")
COMMENT: Final = re.compile(r"(?m)(?<![:'\"])//.*$|/\*[\s\S]*?\*/")
SAID: Final = re.compile(r"(?:\bt\(|\bsay\([^,()]+(?:\([^()]*\))?,|\blabel\([^,()]+,|\bt:|\blabel:)\s*\[?'([^']+)'")


def catalogue(language: str) -> dict[str, str | dict[str, str]]:
    """Everything that is said in a language: on every page, and in the studio alone."""
    found: dict[str, str | dict[str, str]] = {}
    for file in (f"{language}.json", f"studio/{language}.json"):
        more = json.loads((WEB / "catalogues" / file).read_text())
        assert not found.keys() & more.keys()
        found |= more
    return found


def forms(entry: str | dict[str, str]) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def code(path: Path) -> str:
    return COMMENT.sub("", path.read_text())


class Words(HTMLParser):
    """What a page says: (key or None, text) for each piece of text, and the keys of its labels."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str | None, str]] = []
        self.labels: list[str] = []
        self.languages: list[str | None] = []
        self._keys: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.labels += [given[name] or "" for name in ("data-t-label", "data-t-placeholder") if name in given]
        bad = {"style", "onclick", "alt", "title", "placeholder", "aria-label"} & given.keys()
        assert not bad, f"<{tag}> has {bad}: words belong to the catalogue, styles and scripts to files"
        if tag not in {"meta", "link", "input"}:
            self._keys.append(given.get("data-t"))
            self.languages.append(given.get("lang"))

    def handle_endtag(self, tag: str) -> None:
        self._keys.pop()
        self.languages.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            language = next((name for name in reversed(self.languages) if name), "en")
            self.said.append((self._keys[-1] if self._keys else None, f"{language}:{data.strip()}"))


def words(page: Path) -> Words:
    parser = Words()
    parser.feed(page.read_text())
    return parser


@pytest.mark.parametrize("language", LANGUAGES)
def test_catalogues_have_the_same_keys_and_placeholders(language: str) -> None:
    ours, english = catalogue(language), catalogue("en")
    assert list(ours) == list(english)
    for key, entry in ours.items():
        wanted = placeholders(" ".join(forms(english[key])))
        for form in forms(entry):
            assert form.strip(), key
            # A plural form may say the number in words ("one listener"), but never needs what nobody gives.
            missing = wanted - placeholders(form) - ({"count"} if isinstance(entry, dict) else set())
            assert not missing, key
            assert placeholders(form) <= wanted, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_plurals_have_the_forms_that_the_language_has(language: str) -> None:
    plurals = {key: set(entry) for key, entry in catalogue(language).items() if isinstance(entry, dict)}
    assert {"listeners", "time.days"} <= plurals.keys()
    assert all(found == PLURALS[language] for found in plurals.values()), plurals


def test_arabic_is_arabic() -> None:
    spoken = {key: form for key, entry in catalogue("ar").items() for form in forms(entry)}
    foreign = {"brand", "language.other", "problem.told", "page", "number"}
    assert [key for key, form in spoken.items() if key not in foreign and not re.search("[\u0600-\u06ff]", form)] == []


def test_every_key_is_used_and_every_key_used_is_there() -> None:
    known = catalogue("en").keys()
    pages = [words(page) for page in PAGES]
    from_pages = {key for page in pages for key, _ in page.said if key} | {key for page in pages for key in page.labels}
    source = "\n".join(map(code, SCRIPTS)) + "\n".join(page.read_text() for page in PAGES)
    literals = {literal[1:-1] for literal in STRING.findall(source)}
    assert (set(SAID.findall(source)) | from_pages) - known == set(), "said, but in no catalogue"
    assert known - literals == set(), "in the catalogues, but never said"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(WEB)))
def test_a_page_says_what_the_catalogue_says(page: Path) -> None:
    """So that nothing changes before the reader's eyes when the script arrives; <title> is the brand."""
    for key, text in words(page).said:
        language, _, said = text.partition(":")
        assert said == catalogue(language)[key or "brand"], (key, said)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(WEB)))
def test_a_script_says_nothing_of_its_own(script: Path) -> None:
    """A literal that reads like a sentence belongs into the catalogue; what is thrown is for the console."""
    for line in code(script).splitlines():
        if "throw new" in line or "querySelector" in line:
            continue
        for literal in STRING.findall(line):
            text = re.sub(r"\$\{[^}]*\}", "", literal[1:-1])
            assert not re.search(r"[A-Z][a-z]+ [a-z]{2,}|[a-z]{3,} [a-z]{3,} [a-z]{3,}", text), (
                f"{script.name}: {literal}"
            )
            assert not re.search("[\u0600-\u06ff]", text), f"{script.name}: {literal}"


def test_the_pages_hold_to_their_content_security_policy() -> None:
    """Nothing inline, nobody else's files, no build: what is in the folder is what is served."""
    for page in PAGES:
        text = page.read_text()
        assert "<style" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
            assert address.startswith("/"), address
            target = address.partition("#")[0].removeprefix("/static/")
            assert address == "/" or (WEB / target).is_file(), address
    for script in SCRIPTS:
        for target in re.findall(r"from '([^']+)'", script.read_text()):
            file = WEB / target.removeprefix("/static/") if target.startswith("/") else script.parent / target
            assert file.is_file(), f"{script.name}: {target}"


def test_the_listeners_page_is_small() -> None:
    """Everything that a listener's browser fetches before the sound, uncompressed, in one language."""
    files = [*(WEB / "listener").iterdir(), *(WEB / "shared").iterdir(), WEB / "catalogues" / "ar.json"]
    assert sum(file.stat().st_size for file in files) < 100_000
