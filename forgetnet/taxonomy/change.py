"""Changes of a taxonomy: pure functions that return another, and say where each path has gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forgetnet.errors import InvalidRecord
from forgetnet.given import whole_of
from forgetnet.taxonomy.concepts import Concept
from forgetnet.taxonomy.graph import Change, Taxonomy
from forgetnet.taxonomy.paths import SEPARATOR, check_name, renamed

__all__ = ["added", "folded", "merged", "moved_under", "renamed_to"]


def _changed(old: Taxonomy, concepts: Sequence[Concept], moved: Mapping[str, str]) -> Change:
    """Return the change to other concepts, where some paths have moved, with all below them."""
    new = Taxonomy(tuple(concepts))
    told = {path: to for path in old.topics() if (to := renamed(path, moved)) != path}
    return Change(new, told)


def added(old: Taxonomy, name: str, under: str | None, gloss: str) -> Change:
    """See :meth:`Taxonomy.add`."""
    parents = () if under is None else (old.find(under),)
    return _changed(old, [*old.concepts, Concept(check_name(name), parents, gloss)], {})


def renamed_to(old: Taxonomy, concept: str, name: str) -> Change:
    """See :meth:`Taxonomy.rename`."""
    at, name = old.find(concept), check_name(name)
    concepts = list(old.concepts)
    known = {each.key for each in concepts}
    key = concepts[at].key
    if key == concepts[at].name:  # where a name is the key, it goes on being it
        key = name if name not in known else ""
    concepts[at] = concepts[at]._replace(name=name, key=key)
    heads = [path.rpartition(SEPARATOR) for path in old.paths(concept)]
    moved = {"".join(head): f"{head[0]}{head[1]}{name}" for head in heads}
    return _changed(old, concepts, moved)


def moved_under(old: Taxonomy, concept: str, under: str | None, out_of: str | None) -> Change:
    """See :meth:`Taxonomy.move`."""
    at = old.find(concept)
    told = old.concepts[at]
    left = set(told.parents) if out_of is None else {old.find(out_of)}
    if not left <= set(told.parents):
        raise InvalidRecord("out_of= names a concept that isn't right above this one")
    stays = [parent for parent in told.parents if parent not in left]
    head = ""
    if under is not None:
        target = old.find(under)
        if target == at or set(old.paths(under)) & set(old.under(concept)):
            raise InvalidRecord("a concept can't be moved under itself; name one elsewhere")
        stays += [] if target in stays else [target]
        head = old.paths(under)[0] + SEPARATOR
    elif stays:
        raise InvalidRecord(
            "a concept at the top lies under no other; leave out_of= out, so that it leaves all"
        )
    concepts = list(old.concepts)
    concepts[at] = told._replace(parents=tuple(sorted(stays)))
    from_ = {f"{path}{SEPARATOR}" for parent in left for path in _paths(old, parent)} or {""}
    gone = [f"{path}{told.name}" for path in from_]
    return _changed(old, concepts, dict.fromkeys(gone, head + told.name))


def _paths(taxonomy: Taxonomy, at: int) -> tuple[str, ...]:
    return taxonomy.written()[at]


def merged(old: Taxonomy, concept: str, into: str) -> Change:
    """See :meth:`Taxonomy.merge`."""
    gone, stays = old.find(concept), old.find(into)
    if gone == stays or set(old.paths(into)) & set(old.under(concept)):
        raise InvalidRecord(
            "a concept can't be merged into itself or what lies under it; merge the other way round"
        )
    target: dict[int, int] = {}
    parents = [dict.fromkeys(each.parents) for each in old.concepts]
    below = [dict.fromkeys(each) for each in old.below]
    queue = [(gone, stays)]
    while queue:
        a, b = queue.pop()
        if a == b or a in target:
            continue
        target[a] = b
        for parent in parents[a]:
            del below[parent][a]
        if a != gone:  # whatever else it lay under has the other one now
            for parent in parents[a]:
                below[parent][b] = parents[b][parent] = None
        there = {old.concepts[child].name: child for child in below[b]}
        for child in list(below[a]):
            del parents[child][a]
            if (other := there.get(old.concepts[child].name, child)) != child:
                queue.append((child, other))
            parents[child][b] = below[b][child] = None
    kept = [i for i in range(len(old)) if i not in target]
    number = {i: n for n, i in enumerate(kept)}
    concepts = [
        old.concepts[i]._replace(parents=tuple(sorted(number[p] for p in parents[i]))) for i in kept
    ]
    head = old.paths(into)[0]
    return _changed(old, concepts, dict.fromkeys(old.paths(concept), head))


def folded(old: Taxonomy, levels: int) -> Change:
    """See :meth:`Taxonomy.fold`."""
    if whole_of(levels, "levels", InvalidRecord) < 2:
        raise InvalidRecord("fold at least 2 levels; one has nothing to hang on")
    level = old.levels()
    anchors: list[tuple[int, ...]] = [()] * len(old)
    concepts = list(old.concepts)
    taken = {(p, c.name) for i, c in enumerate(concepts) if level[i] < levels for p in c.parents}
    for i in old.order:
        if level[i] < levels:
            anchors[i] = (i,)
            continue
        told = concepts[i]
        anchors[i] = tuple(sorted({top for p in told.parents for top in anchors[p]}))
    deep = [i for i in old.order if level[i] >= levels]
    for i in sorted(deep, key=lambda i: (level[i], _paths(old, i))):
        told, name, n = concepts[i], concepts[i].name, 1
        while any((p, name) in taken for p in anchors[i]):
            n += 1
            name = f"{told.name} ({n})"
        taken |= {(p, name) for p in anchors[i]}
        concepts[i] = told._replace(parents=anchors[i], name=name)
    moved = {}
    for i in deep:
        for path in _paths(old, i):
            if (to := _hung(old, path, level, levels) + concepts[i].name) != path:
                moved[path] = to
    return Change(Taxonomy(tuple(concepts)), moved)


def _hung(old: Taxonomy, path: str, level: Sequence[int], levels: int) -> str:
    """Return the part of a path that stays, with a slash."""
    names = path.split(SEPARATOR)
    for depth in range(len(names) - 1, 0, -1):
        head = SEPARATOR.join(names[:depth])
        if level[old.find(head)] < levels:
            return head + SEPARATOR
    return ""
