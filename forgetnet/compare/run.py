"""Run a comparison: every contestant on the same data and models, seed by seed.

Knows nothing of settings but that they are given.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from forgetnet.audit.robustness import FEWEST_SEEDS
from forgetnet.compare.comparison import Comparison, Row, spread_of
from forgetnet.compare.contestants import Entry, controls
from forgetnet.compare.designed import DESIGNS, designed
from forgetnet.compare.judge import Evidence, evidence, judge, telling
from forgetnet.compare.measure import measure, relearning
from forgetnet.compare.methods import known_methods, unlearned
from forgetnet.compare.settings import PROVING, Setting
from forgetnet.compare.worlds import World
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.audit import audit_unlearning

__all__ = ["run"]


@dataclass
class _Kept:
    """What is gathered of one contestant, seed by seed."""

    entry: Entry
    numbers: dict[str, list[float]] = field(default_factory=dict)
    told: list[Evidence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    audit: str = ""


def run(
    setting: Setting,
    *,
    seeds: Sequence[int] = PROVING,
    methods: Sequence[str] | None = None,
    references: int = 2,
    audited: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare forgetting by design with unlearning in weights.

    Each seed draws data, trains an original and retrained models, and runs every contestant. The
    original and a retrained model are rows, too.

    Args:
        setting: what is compared on.
        seeds: one or more.
        methods: names of contestants beside the controls; all by default.
        references: retrained models beside the one that is a control; 1 at least.
        audited: put each model of the first seed to ``audit_unlearning``, too, which looks closer
            at one run; it takes longer than all the rest.
        progress: told in a few words what comes next.

    Raises:
        InvalidRecord: no seed, or a name that nobody has.
        Unsupported: scipy isn't installed, or what the setting needs.
    """
    names = [*DESIGNS, *known_methods()]
    own = [*setting.designs, *known_methods()]
    wanted = own if methods is None else list(dict.fromkeys(methods))
    if unknown := [name for name in wanted if name not in names]:
        raise InvalidRecord(f"no contestant is called {unknown[0]!r}; there are {', '.join(names)}")
    if not seeds or references < 1:
        raise InvalidRecord("a comparison needs a seed, and a reference to compare with")
    began = time.perf_counter()
    kept: dict[str, _Kept] = {}
    unfit: dict[str, str] = {}
    for number, seed in enumerate(seeds, start=1):
        said = f"{setting.name} {setting.request}, seed {number} of {len(seeds)}"
        if progress is not None:
            progress(f"{said}: training")
        world = World(setting, seed, references)
        for entry in _entries(world, wanted, unfit):
            if progress is not None:
                progress(f"{said}: {entry.name}")
            one = kept.setdefault(entry.name, _Kept(entry))
            steps = relearning(world, entry, -(-FEWEST_SEEDS // len(seeds)))
            for name, value in measure(world, entry, steps).items():
                one.numbers.setdefault(name, []).append(value)
            one.told.append(evidence(world, entry, steps))
            one.notes += [entry.note] if entry.note else []
            if audited and number == 1:
                one.audit = _audit(world, entry)
    for name in unfit:
        kept.pop(name, None)  # what fits some seeds only is no contestant
    return Comparison(
        setting.name,
        setting.request,
        setting.about,
        tuple(seeds),
        tuple(_row(one, kept) for one in kept.values()),
        unfit,
        telling(kept["original"].told, kept["retrained"].told),
        round(time.perf_counter() - began, 3),
    )


def _entries(world: World, wanted: Sequence[str], unfit: dict[str, str]) -> Iterator[Entry]:
    """Yield what takes part; note what doesn't apply."""
    yield from controls(world)
    for name in wanted:
        if name in unfit:
            continue
        found = designed(world, name) if name in DESIGNS else unlearned(world, name)
        if isinstance(found, str):
            unfit[name] = found
        else:
            yield found


def _audit(world: World, entry: Entry) -> str:
    """Return what an audit of one run says; nothing where equal bits have said it already."""
    family, sides = entry.family, world.material.sides
    if entry.equal or entry.module is None or family is None or len(family.retrained) < 2:
        return ""
    return audit_unlearning(
        family.original,
        entry.module,
        # the row of a retrained model is no reference of its own
        [model for model in family.retrained if model is not entry.module],
        forget=sides["forget"],
        retain=sides["retain"],
        holdout=sides["unseen"],
        task=world.setting.task,
        paraphrase=sides.get("paraphrase"),
        seed=world.seed,
    ).verdict.value


def _row(one: _Kept, kept: dict[str, _Kept]) -> Row:
    verdict = judge(one.told, kept["original"].told, kept["retrained"].told)
    ended = Counter(one.notes)
    runs = len(one.told)
    note = "; ".join(f"{what}, {count} of {runs} runs" for what, count in ended.items())
    numbers = {name: spread_of(values) for name, values in one.numbers.items()}
    entry = one.entry
    return Row(entry.name, entry.group, entry.guarantee, numbers, verdict, note, one.audit)
