"""The web folder, read once."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from rostra.audience import page


def load() -> dict[str, page.Asset]:
    """Every file of the package's web folder that a browser may ask for."""
    folder = files("rostra").joinpath("web")
    return page.make(dict(_walk(folder, ""))) if folder.is_dir() else {}


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        else:
            found.append((f"{prefix}{entry.name}", entry.read_bytes()))
    return found
