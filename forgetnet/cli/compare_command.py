"""The command ``compare``: forgetting by design beside unlearning in weights, as one table."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forgetnet.cli.options import AsJson
from forgetnet.cli.voice import Voice
from forgetnet.errors import InvalidRecord, not_installed

if TYPE_CHECKING:
    from forgetnet.compare import Comparison

__all__ = ["compare"]

_QUICK = {
    "digits": ("random", 2, None),
    "personas": (
        "people",
        1,
        ("memory", "gradient_difference", "npo", "simnpo", "rmu", "scrub", "fine_tune"),
    ),
}
"""What a quick comparison is made of: settings with a request, seeds, and contestants."""

_LEGEND = (
    "Means over seeds ± half a 95% interval. The aim: beside retrained 0, relearning 1, int4 1, "
    "membership AUC that of the retrained. Work and time: shares of a retraining. proven: bit for "
    'bit the twin. All columns and verdicts: docs/comparison.md, "What the numbers mean".'
)

_NAME = typer.Argument(
    metavar="SETTING",
    help="digits, personas or heads; with --data, adult, mnist, tofu or clinc150.",
)
_REQUEST = typer.Option(
    "--request",
    metavar="NAME",
    help="What is to be forgotten: random, class or poisoned of a table; forget01, forget05 or "
    "forget10 of tofu.",
)
_SEEDS = typer.Option("--seeds", metavar="N", min=1, help="How many seeds, from 0 on.")
_METHODS = typer.Option("--methods", metavar="NAME", help="Only this contestant; may be repeated.")
_SHORT = typer.Option("--quick", help="Digits and made-up people, few seeds: under three minutes.")
_AUDIT = typer.Option("--audit", help="Audit each model of the first seed, too: much slower.")
_DATA = typer.Option("--data", metavar="PATH", help="Folder of the data set, or of several.")
_PLOT = typer.Option("--plot", metavar="FILE", help="Draw it, too, as .png, .svg or .pdf.")


def compare(
    name: Annotated[str, _NAME] = "digits",
    *,
    request: Annotated[str | None, _REQUEST] = None,
    seeds: Annotated[int, _SEEDS] = 5,
    methods: Annotated[list[str] | None, _METHODS] = None,
    quick: Annotated[bool, _SHORT] = False,
    audit: Annotated[bool, _AUDIT] = False,
    data: Annotated[Path | None, _DATA] = None,
    plot: Annotated[Path | None, _PLOT] = None,
    as_json: AsJson = False,
) -> None:
    """Compare forgetting by design with unlearning in weights, beside retraining.

    Trains small models here, makes each method forget, and measures what is left, what still
    works, what it took and whether it lasts. Minutes; the table is Markdown.
    """
    from forgetnet.compare import run
    from forgetnet.compare.catalogue import setting_of

    voice = Voice(as_json=as_json)
    wanted = {name: (request, seeds, methods)} if not quick else dict(_QUICK)
    if quick and (request or methods or data or name != "digits"):
        raise InvalidRecord("--quick has settings of its own; leave the others out")
    if plot and importlib.util.find_spec("matplotlib") is None:
        raise not_installed("matplotlib", "notebooks")
    found = []
    for each, (what, count, some) in wanted.items():
        setting = setting_of(each, what, data)
        found.append(
            run(
                setting,
                seeds=range(count),
                methods=some,
                references=1 if quick else 2,
                audited=audit,
                progress=None if as_json else voice.note,
            )
        )
        if not as_json:
            _show(voice, found[-1])
    if not as_json:
        voice.answer({}, _LEGEND)
    for comparison in found if plot else ():
        comparison.plot(_named(plot, comparison, several=len(found) > 1))
    if as_json:
        voice.answer({"comparisons": [comparison.to_dict() for comparison in found]})


def _named(plot: Path | None, comparison: Comparison, *, several: bool) -> Path:
    """Return where a picture goes; of several, each has its setting's name."""
    path = Path() if plot is None else plot
    return path.with_stem(f"{path.stem}-{comparison.setting}") if several else path


def _show(voice: Voice, comparison: Comparison) -> None:
    voice.answer({}, f"{comparison.about}.", "", comparison.to_markdown(), "")
