"""The settings that there are, by name, with what each needs to be read from.

Knows nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from forgetnet.compare.heads import clinc150, heads
from forgetnet.compare.language import TOFU_REQUESTS, personas, tofu
from forgetnet.compare.settings import Setting
from forgetnet.compare.tables import REQUESTS, adult, digits, mnist
from forgetnet.errors import InvalidRecord

__all__ = ["CATALOGUE", "Listed", "setting_of"]


@dataclass(frozen=True)
class Listed:
    """A setting that can be asked for.

    Attributes:
        requests: that it knows, the usual one first.
        make: makes it, of a folder (None where it needs none) and a request.
        folder: the name of the data set that it needs; "" for none.
    """

    requests: tuple[str, ...]
    make: Callable[[Path, str], Setting]
    folder: str = ""


_TABLE = tuple(REQUESTS)
CATALOGUE: Mapping[str, Listed] = {
    "digits": Listed(_TABLE, lambda _, request: digits(request)),
    "personas": Listed(("people",), lambda _folder, _request: personas()),
    "heads": Listed(("topic",), lambda _folder, _request: heads()),
    "heads-lorentz": Listed(("topic",), lambda _folder, _request: heads("lorentz")),
    "adult": Listed(_TABLE, adult, "adult"),
    "mnist": Listed(("class", "random", "poisoned"), mnist, "mnist"),
    "tofu": Listed(tuple(TOFU_REQUESTS), tofu, "tofu"),
    "clinc150": Listed(("topic",), lambda folder, _: clinc150(folder), "clinc150"),
    "clinc150-lorentz": Listed(
        ("topic",), lambda folder, _: clinc150(folder, "lorentz"), "clinc150"
    ),
}
"""All settings by name; those without a folder need nothing but what is installed."""


def setting_of(name: str, request: str | None = None, data: str | Path | None = None) -> Setting:
    """Return a setting by its name.

    Args:
        name: of :data:`CATALOGUE`.
        request: what is to be forgotten; the usual request by default.
        data: the folder of its data set, or one that holds it by name.

    Raises:
        InvalidRecord: there is no such setting or request, or a folder is needed.
        StoreCorrupt: the folder doesn't hold the data.
        Unsupported: something that it needs isn't installed.
    """
    listed = CATALOGUE.get(name)
    if listed is None:
        raise InvalidRecord(f"no setting is called {name[:40]!r}; there are {', '.join(CATALOGUE)}")
    chosen = listed.requests[0] if request is None else request
    if chosen not in listed.requests:
        known = ", ".join(listed.requests)
        raise InvalidRecord(f"{name} can be asked to forget {known}, not {chosen[:40]!r}")
    if listed.folder and data is None:
        raise InvalidRecord(f"{name} reads {listed.folder} from a folder; name it by --data, data=")
    folder = Path("." if data is None else data)
    inner = folder / listed.folder
    return listed.make(inner if listed.folder and inner.is_dir() else folder, chosen)
