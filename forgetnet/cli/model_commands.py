"""Commands of models: train one from a file of rows or texts, and predict with it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.frame import REFUSED
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store
from forgetnet.cli.session import is_model, opened_model
from forgetnet.cli.voice import Voice
from forgetnet.errors import InvalidRecord

if TYPE_CHECKING:
    from forgetnet.ingest import Fault
    from forgetnet.model import ForgetNet
    from forgetnet.record import Record

__all__ = ["predict", "train"]

_SHOWN = 20
_PARTS = ("ridge", "torch", "prototype", "memory")

_TARGET = typer.Option("--target", metavar="FIELD", help="What is to be learnt.")
_TEXT = typer.Option(
    "--text-field", metavar="FIELD", help="Learn from this text; by default from all columns."
)
_SUBJECT = typer.Option("--subject-field", metavar="FIELD", help="Whose row it is.")
_ID = typer.Option("--id-field", metavar="FIELD", help="The row's id; random ones if left out.")
_NUMERIC = typer.Option(
    "--numeric",
    metavar="FIELD",
    help="A column of numbers; may be repeated. By default, columns that hold numbers only.",
)
_DROP = typer.Option("--drop", metavar="FIELD", help="Leave this column out; may be repeated.")
_TASK = typer.Option("--task", metavar="NAME", help="classification, the default, or regression.")
_EXPERT = typer.Option(
    "--expert",
    metavar="NAME",
    help="ridge, torch, prototype or memory; may be repeated. By default ridge, torch and memory.",
)
_CAP = typer.Option(
    "--cap", metavar="N", min=1, help="Most records of several people in a leaf; by default 512."
)


def train(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="CSV, TSV, JSONL or Parquet.")],
    *,
    target: Annotated[str, _TARGET],
    text_field: Annotated[str | None, _TEXT] = None,
    subject_field: Annotated[str | None, _SUBJECT] = None,
    id_field: Annotated[str | None, _ID] = None,
    numeric: Annotated[list[str] | None, _NUMERIC] = None,
    drop: Annotated[list[str] | None, _DROP] = None,
    task: Annotated[str | None, _TASK] = None,
    expert: Annotated[list[str] | None, _EXPERT] = None,
    cap: Annotated[int | None, _CAP] = None,
    store: Store = "./model",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Learn from a file; make the model if there is none, and add to it if there is one.

    A row without a target is stored and searched, not learnt. forget, with --store, makes the
    model what it would be if it had never seen what is forgotten.
    """
    if task not in {None, "classification", "regression"}:
        raise typer.BadParameter(f"--task is classification or regression, not {task}")
    voice = Voice(as_json=as_json)
    began = time.perf_counter()
    rows, faults = _rows(source, voice)
    names = {"target": target, "text": text_field, "subject": subject_field, "id": id_field}
    _check_names(rows, {option: name for option, name in names.items() if name is not None})
    taken = {target, *filter(None, (subject_field, id_field)), *(drop or [])}
    chosen: Any = encoder
    if not text_field and not is_model(store):
        chosen = _table(rows, [name for name in rows[0] if name not in taken], numeric)
    kind = task or "classification"
    create: dict[str, Any] = {"task": kind, "experts": _experts(expert, kind), "cap": cap}
    create["chosen"] = () if text_field or numeric else (_guessed(),)
    there = is_model(store)
    with opened_model(store, chosen, key, create=create) as model:
        if there:
            _check_settings(model, task, expert, cap)
        known = bool(model.count())
        _warn(voice, rows, subject_field, id_field, known=known)
        model.partial_fit(
            _records(model, _inputs(model, rows, text_field), [row[target] for row in rows]),
            subjects=[_name(row, subject_field) for row in rows] if subject_field else None,
            ids=[str(row[id_field]) for row in rows] if id_field else None,
        )
        count, labels = model.count(), model.classes_.tolist()
        digest = model.digest()
    seconds = time.perf_counter() - began
    what = "added to" if known else "learnt by"
    said = f"{len(rows):,} rows {what} the model in {store}; it has learnt {count:,} records"
    said += f" of {len(labels)} classes" if labels else ""
    said += f" ({seconds:.1f} s)."
    facts = {"rows": len(rows), "learnt": count, "classes": labels, "digest": digest}
    voice.answer({**facts, "refused": len(faults), "seconds": round(seconds, 3)}, said)
    if faults:
        raise typer.Exit(REFUSED)


def _guessed() -> str:
    from forgetnet.encode.rows import GUESSED

    return GUESSED


def _check_settings(
    model: ForgetNet, task: str | None, experts: list[str] | None, cap: int | None
) -> None:
    """Refuse settings that a model which exists doesn't have, rather than leave them aside."""
    stack = model.stack
    other = {"--task": task not in {None, stack.task}, "--cap": cap not in {None, stack.cap}}
    if named := [option for option, differs in other.items() if differs]:
        raise InvalidRecord(
            f"this model has --task {stack.task} and --cap {stack.cap}; leave {', '.join(named)} "
            "out, or train another with --store"
        )
    names = {expert.name for expert in (*stack.sums, *stack.leaves)}
    names |= {"memory"} if stack.memory else set()
    if experts and set(experts) != names:
        raise InvalidRecord(
            f"this model has its experts already ({', '.join(sorted(names))}); leave --expert "
            "out, or train another with --store"
        )


def _warn(
    voice: Voice, rows: list[dict[str, Any]], subject: str | None, id: str | None, *, known: bool
) -> None:
    """Say what a later forget, or a second training on the same file, would be surprised by."""
    nobody = sum(not subject or _name(row, subject) is None for row in rows)
    if nobody:
        hint = "" if subject else " (--subject-field)"
        voice.note(
            f"{nobody:,} of {len(rows):,} rows are nobody's{hint}: forgetting a person won't "
            "find them."
        )
    if known and not id:
        voice.note("Rows get new ids (--id-field): what was learnt before is learnt twice.")


def predict(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="CSV, TSV, JSONL or Parquet.")],
    *,
    text_field: Annotated[
        str | None,
        typer.Option("--text-field", metavar="FIELD", help="The text; by default all columns."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="FIELD", help="The right answers: also say how good."),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id-field", metavar="FIELD", help="Repeat the row's id from this field."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the CSV here, not to stdout."),
    ] = None,
    store: Store = "./model",
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a file; as CSV, with its id if asked for, and how probable it is."""
    voice = Voice(as_json=as_json)
    rows, faults = _rows(source, voice)
    _check_names(rows, {} if id_field is None else {"id": id_field})
    with opened_model(store, None, key) as model:
        answers, sure = _answers(model, _inputs(model, rows, text_field))
        quality = _quality(model, rows, answers, target)
    table = _csv([row[id_field] for row in rows] if id_field else None, answers, sure)
    if output is not None:
        output.write_text(table, encoding="utf-8")
    elif not as_json:
        typer.echo(table, nl=False)
    facts: dict[str, Any] = {"rows": len(rows), "refused": len(faults), **quality}
    if as_json:
        facts["predictions"] = answers
        voice.answer(facts)
    else:
        told = "; ".join(f"{name} {value:.4f}" for name, value in quality.items())
        voice.note(f"{len(rows):,} rows answered" + (f": {told}." if told else "."))
    if faults:
        raise typer.Exit(REFUSED)


def _csv(ids: list[Any] | None, answers: list[Any], sure: list[float]) -> str:
    """Write answers as CSV, with ids and probabilities where there are any."""
    columns: dict[str, list[Any]] = {} if ids is None else {"id": ids}
    columns["prediction"] = answers
    if sure:
        columns["probability"] = [f"{value:.6f}" for value in sure]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return table.getvalue()


def _rows(source: Path, voice: Voice) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Read every row of a file; say what can't be read."""
    from forgetnet.ingest import Fault, read_rows

    rows: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for item in read_rows(source):
        if isinstance(item, Fault):
            faults.append(item)
            if len(faults) <= _SHOWN:
                voice.note(str(item))
        else:
            rows.append(item.values)
    if not rows:
        raise InvalidRecord(f"{source} holds no row that can be read")
    return rows, faults


def _check_names(rows: list[dict[str, Any]], names: Mapping[str, str]) -> None:
    for option, name in names.items():
        if missing := sum(name not in row for row in rows):
            raise InvalidRecord(
                f"{missing} of {len(rows)} rows have no field {name[:80]!r} ({option}); the "
                f"first has {', '.join(list(rows[0])[:30])}"
            )


def _name(row: Mapping[str, Any], name: str) -> str | None:
    """Return whose a row is; nobody's where the cell is empty."""
    return str(row[name]) if row[name] not in (None, "") else None


def _records(model: ForgetNet, inputs: list[Any], targets: list[Any]) -> list[Record]:
    """Return rows as records; one whose target is empty teaches nothing."""
    from forgetnet.encode import TableEncoder
    from forgetnet.record import Record

    if isinstance(model.encoder, TableEncoder):
        inputs = model.encoder.to_texts(inputs) if isinstance(inputs[0], dict) else inputs
    return [
        Record(text=text, metadata={} if _is_empty(cell) else {"label": _target(cell, model)})
        for text, cell in zip(inputs, targets, strict=True)
    ]


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == ""


def _target(value: Any, model: ForgetNet) -> Any:
    if model.stack.task == "regression":
        try:
            return float(value)
        except (TypeError, ValueError):
            raise InvalidRecord("a target of a regression is no number") from None
    return value


def _is_number(value: Any) -> bool:
    if value in (None, ""):
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _table(rows: list[dict[str, Any]], columns: list[str], numeric: list[str] | None) -> Any:
    """Return the encoder of a table's rows: which columns hold numbers, and which words."""
    from forgetnet.encode import TableEncoder

    numbers = numeric or [
        name for name in columns if all(_is_number(row.get(name)) for row in rows)
    ]
    words = [name for name in columns if name not in numbers]
    return TableEncoder(numeric=numbers, categorical=words)


def _inputs(
    model: ForgetNet, rows: list[dict[str, Any]], text_field: str | None
) -> list[Any]:
    """Return what a model is asked: texts, or the columns that it knows, numbers as numbers."""
    from forgetnet.encode import TableEncoder

    encoder = model.encoder
    if text_field or not isinstance(encoder, TableEncoder):
        if not text_field:
            raise InvalidRecord("this model learns from texts; name their field by --text-field")
        _check_names(rows, {"text": text_field})
        return [str(row[text_field]) for row in rows]
    numbers, words = list(encoder.numeric), list(encoder.categorical)
    for name in encoder.columns:
        _check_names(rows, {"column": name})
    return [
        {
            **{name: _number(row[name], name) for name in numbers},
            **{name: row[name] if row[name] != "" else None for name in words},
        }
        for row in rows
    ]


def _number(value: Any, name: str) -> float | None:
    """Read a cell of numbers; nothing where it is empty."""
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidRecord(f"column {name[:80]!r} is of numbers, and a cell holds none") from None


def _experts(names: list[str] | None, task: str) -> list[Any] | None:
    """Return the experts that were named; None for the default ones."""
    if not names:
        return None
    from forgetnet import experts

    kinds = {
        "ridge": "RidgeTrunk",
        "torch": "TorchExpert",
        "prototype": "PrototypeExpert",
        "memory": "NeighbourExpert",
    }
    if unknown := [name for name in names if name not in kinds]:
        raise typer.BadParameter(f"--expert is one of {', '.join(_PARTS)}, not {unknown[0]}")
    return [getattr(experts, kinds[name])(task=task) for name in dict.fromkeys(names)]


def _answers(model: ForgetNet, inputs: list[Any]) -> tuple[list[Any], list[float]]:
    """Return answers, and their probabilities where there are any."""
    if not model.classes_.size:
        return model.predict(inputs).tolist(), []
    shares = model.predict_proba(inputs)
    return model.classes_[shares.argmax(axis=1)].tolist(), shares.max(axis=1).tolist()


def _quality(
    model: ForgetNet, rows: list[dict[str, Any]], answers: list[Any], target: str | None
) -> dict[str, float]:
    """Compare with the right answers, where they are there."""
    if target is None:
        return {}
    _check_names(rows, {"target": target})
    if model.classes_.size:
        right = [str(row[target]) == str(a) for row, a in zip(rows, answers, strict=True)]
        return {"accuracy": sum(right) / len(right)}
    right = [_target(row[target], model) for row in rows]
    errors = [abs(value - a) for value, a in zip(right, answers, strict=True)]
    return {"mean absolute error": sum(errors) / len(errors)}
