"""Taxonomies in files: edges as TSV, CSV or JSONL, nested JSON or YAML, and the one that ships.

Whatever a file holds, it ends in a taxonomy or in an error that says where it is none. Knows
nothing of WordNet.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.geometry.codes import MAX_DEPTH
from forgetnet.given import path_of
from forgetnet.taxonomy.graph import MAX_CONCEPTS, Taxonomy
from forgetnet.taxonomy.paths import MAX_WRITTEN, SEPARATOR, check_gloss, check_name
from forgetnet.taxonomy.tables import table_rows

__all__ = ["everyday", "load", "read_lines", "read_text"]

_HEADS = ({"parent", "child"}, {"parent", "child", "gloss"})
_FORMS = (
    "edges as .tsv or .csv (parent, child, and perhaps a gloss) or as .jsonl (objects with "
    '"parent" and "child"), or nested as .json or .yaml; each may be packed as .gz'
)


def load(path: str | Path) -> Taxonomy:
    """See :meth:`Taxonomy.load`."""
    where = path_of(path, "path", InvalidRecord)
    kind = where.with_suffix("").suffix if where.suffix == ".gz" else where.suffix
    if kind in {".tsv", ".csv"}:
        return _edges(_rows(where, tabs=kind == ".tsv"))
    if kind == ".jsonl":
        return _edges(_objects(where))
    if kind == ".json":
        return nested(_json(read_text(where), where.name))
    if kind in {".yaml", ".yml"}:
        return nested(_yaml(read_text(where), where.name))
    raise InvalidRecord(f"{where.name!r} is no taxonomy by its ending; give {_FORMS}")


def everyday() -> Taxonomy:
    """See :meth:`Taxonomy.everyday`."""
    return nested(json.loads(files(__package__).joinpath("everyday.json").read_bytes()))


def read_text(path: Path) -> str:
    """Return the text of a file, unpacked.

    Raises:
        InvalidRecord: it can't be read, or isn't UTF-8.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRecord(
            f"{path.name!r} isn't UTF-8, so it is no taxonomy; give {_FORMS}"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRecord(f"can't read {path}: {why}") from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Iterate over the lines of a file that aren't blank: where each stands, and what it says."""
    # not splitlines(): a JSON string may hold U+2028 and U+0085 as they are
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), 1):
        if line.strip():
            yield f"{path.name}, line {number}", line.rstrip("\n")


# -- edges


def _rows(path: Path, *, tabs: bool) -> Iterator[tuple[str, list[str]]]:
    """Iterate over the rows of a table, without its head."""
    rows = table_rows(read_text(path), tabs=tabs)
    try:
        for number, row in rows:
            where = f"{path.name}, line {number}"
            if number == 1 and set(row) in _HEADS:
                continue
            if not 2 <= len(row) <= 3:
                told = f"{len(row)} columns; write parent, child and a gloss"
                raise InvalidRecord(f"line {number}: {told}")
            yield where, row
    except InvalidRecord as error:
        raise InvalidRecord(f"{path.name}, {error}") from None


def _objects(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Iterate over the edges of a JSONL file."""
    for where, line in read_lines(path):
        told = _json(line, where)
        if not isinstance(told, Mapping) or not {"child"} <= told.keys() <= {*_HEADS[1]}:
            raise InvalidRecord(f'{where}: write an object with "parent", "child" and "gloss"')
        parent = told.get("parent")
        yield where, ["" if parent is None else parent, told["child"], told.get("gloss") or ""]


def _edges(rows: Iterator[tuple[str, list[str]]]) -> Taxonomy:
    pairs: list[tuple[str, str]] = []
    glosses: dict[str, str] = {}
    for where, (parent, child, *gloss) in islice(rows, 4 * MAX_CONCEPTS):
        try:
            pairs.append((parent if parent == "" else check_name(parent), check_name(child)))
        except InvalidRecord as error:
            raise InvalidRecord(f"{where}: {error}") from None
        if gloss and gloss[0]:
            glosses[child] = _gloss_of(gloss[0], where)
    if not pairs:
        raise InvalidRecord(f"the file has no edges; give {_FORMS}")
    return Taxonomy.edges(pairs, glosses)


def _gloss_of(value: object, where: str) -> str:
    try:
        return check_gloss(value)
    except InvalidRecord as error:
        raise InvalidRecord(f"{where}: {error}") from None


# -- nested


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except InvalidRecord as error:
        raise InvalidRecord(f"{where}: {error}") from None
    except RecursionError:
        raise InvalidRecord(f"{where}: it is nested too deeply to be a taxonomy") from None
    except ValueError as error:
        raise InvalidRecord(f"{where} is no JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice in one object, of which JSON would drop the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRecord("a name stands twice in one object; join what is below them")
    return found


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped] # it ships no annotations
    except ImportError:
        raise Unsupported(
            "a taxonomy in YAML needs PyYAML, which isn't installed: pip install PyYAML; or write "
            "it as JSON"
        ) from None
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise InvalidRecord(f"{where}: it is nested too deeply to be a taxonomy") from None
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise InvalidRecord(f"{where}, line {line}: this is no YAML") from None


def nested(told: object) -> Taxonomy:
    """Make a tree of nested concepts: names to what is below, or objects with a name.

    Raises:
        InvalidRecord: something in it is no concept, or lies too deep.
    """
    glosses: dict[str, str] = {}
    paths: dict[str, None] = {}
    size = 0
    todo: list[tuple[str, int, Any]] = [("", 1, told)]
    while todo:
        head, level, below = todo.pop()
        for name, gloss, deeper in _children(below, head):
            path = f"{head}{check_name(name)}"
            if level > MAX_DEPTH:
                raise InvalidRecord(
                    f"the taxonomy has more than {MAX_DEPTH} levels, below {head[:200]!r}; join "
                    "the deepest names into one, or give its edges and fold() them"
                )
            if path in paths:
                raise InvalidRecord(f"{path[:200]!r} stands there twice; join what is below them")
            paths[path] = None
            size += len(path)
            if size > MAX_WRITTEN:
                raise InvalidRecord(
                    f"the paths have more than {MAX_WRITTEN} characters in all; shorten the names "
                    "that have most below them"
                )
            if len(paths) > MAX_CONCEPTS:
                raise InvalidRecord(f"a taxonomy has at most {MAX_CONCEPTS} concepts; give fewer")
            if gloss:
                glosses[path] = _gloss_of(gloss, path[:200])
            if deeper is not None:
                todo.append((path + SEPARATOR, level + 1, deeper))
    if not paths:
        raise InvalidRecord(f"there is no concept in it; give {_FORMS}")
    return Taxonomy.of(paths, glosses)


def _children(below: object, head: str) -> Iterator[tuple[str, Any, Any]]:
    """Iterate over what lies right below a concept: name, gloss, and what is below that."""
    if isinstance(below, Mapping):
        for name, value in below.items():
            yield (name, value, None) if isinstance(value, str) else (name, None, value)
    elif isinstance(below, list):
        for each in below:
            if isinstance(each, Mapping) and {"name"} <= each.keys() <= {"name", "gloss", "below"}:
                yield each["name"], each.get("gloss"), each.get("below")
            elif isinstance(each, str):
                yield each, None, None
            else:
                raise InvalidRecord(
                    f"below {head[:200] or 'the top'!r} is no concept: write a name, or an object "
                    'with "name", "gloss" and "below"'
                )
    else:
        raise InvalidRecord(
            f"below {head[:200] or 'the top'!r} is a {type(below).__name__}; write names with what "
            "is below each, or a list of names"
        )
