"""Keys by subject: nothing in plain, and old copies go dark when the last record of one goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet import (
    ForgetNet,
    Memory,
    NeighbourExpert,
    Record,
    RidgeTrunk,
    StoreCorrupt,
    StoreError,
    Unsupported,
    restore,
)
from tests.faults.cuts import PowerCutError, failing

KEY = bytes(range(32))
OPTIONS = {"encoder": "hash:32", "key": KEY}
WORDS = b"quincunx"


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY, **more)


def rows(whose: str, count: int) -> list[Record]:
    return [
        Record(f"quincunx of {whose} {n}", id=f"{whose}-{n}", subject=whose, metadata={"n": n})
        for n in range(count)
    ]


def filled(path: Path, count: int = 4) -> Memory:
    memory = open_(path, encryption="subject")
    memory.add([*rows("ann", count), *rows("bob", count)])
    return memory


def keys(path: Path) -> int:
    data = (path / "store" / "keys").read_bytes()
    return sum(any(data[start : start + 64]) for start in range(0, len(data), 64))


def holding(path: Path, words: bytes) -> list[str]:
    return [str(p) for p in path.rglob("*") if p.is_file() and words in p.read_bytes()]


@pytest.mark.parametrize("count", [4, 300])
def test_nothing_that_a_row_says_lies_in_a_file_and_answers_are_those_of_a_plain_one(
    tmp_path, count
):
    path = tmp_path / "kb"
    with filled(path, count) as memory, open_("memory://") as plain:
        vector = memory.get("ann-0", vector=True).vector
        plain.add([memory.get(r.id, vector=True) for r in memory.get_all()])
        assert holding(path, WORDS) == []
        assert holding(path, vector.tobytes()[:32]) == []
        assert memory.digest() == plain.digest()
        wanted = plain.search("quincunx of bob 3", k=3)
    with open_(path) as memory, open_(path, readonly=True) as reader:
        assert memory.search("quincunx of bob 3", k=3) == wanted
        assert reader.search("quincunx of bob 3", k=3) == wanted
        memory.update("bob-1", "quincunx again", subject="cid")
        assert reader.get("bob-1").text == "quincunx again"
        assert keys(path) == 3
        memory.purge()
        assert holding(path, WORDS) == []


def test_a_key_goes_with_the_last_record_and_takes_every_old_copy_along(tmp_path):
    path, old = tmp_path / "kb", tmp_path / "old"
    with filled(path) as memory:
        memory.purge()
    shutil.copytree(path, old)
    with open_(path) as memory:
        assert memory.forget(ids=["ann-0", "ann-1"]).status == "erased"
        assert keys(path) == 2
        receipt = memory.forget(subject="ann")
        assert receipt.status == "erased"
        searched = next(s for s in receipt.surfaces if s.name == "vectors and index")
        assert any(check.check == "reopened, searched by flat" for check in searched.verification)
        assert keys(path) == 1
    with open_(old) as memory:  # the control: with its keys the copy is readable
        assert memory.get("ann-0").text == "quincunx of ann 0"
    shutil.copy(path / "store" / "keys", old / "store" / "keys")
    with pytest.raises(StoreCorrupt, match="keys of 4 rows are gone"):
        open_(old)


def test_backups_hold_no_key_and_lose_whom_the_memory_forgets(tmp_path):
    path, place = tmp_path / "kb", tmp_path / "backups"
    with filled(path) as memory:
        backup = memory.backup(place)
        memory.forget(ids="bob-0")
        memory.forget(subject="ann")
        wanted = memory.digest()
    data = backup.read_bytes()
    assert (path / "store" / "keys").read_bytes() not in data
    (slots,) = place.glob("keys-*.slots")
    assert slots.read_bytes() == (path / "store" / "keys").read_bytes()
    done = restore(backup, tmp_path / "back", **OPTIONS)
    with open_(tmp_path / "back") as back:
        assert back.digest() == wanted
        assert back.residue(subjects="ann", ids=["ann-1", "bob-0"]).clean
    assert done.receipt.counts["direct"] == 1  # bob-0; ann's rows had no key any more
    slots.unlink()
    with pytest.raises(StoreError, match="keys of its rows"):
        restore(backup, tmp_path / "again", **OPTIONS)
    assert not (tmp_path / "again").exists()


def test_a_subject_that_came_again_has_another_key_and_old_rows_stay_dark(tmp_path):
    path, place = tmp_path / "kb", tmp_path / "backups"
    with filled(path) as memory:
        backup = memory.backup(place)
        memory.forget(subject="ann")
        memory.add(rows("ann", 1))
        later = memory.backup(place)
        wanted = memory.digest()
    assert restore(backup, tmp_path / "back", **OPTIONS).records == 4
    assert holding(tmp_path / "back", WORDS) == []
    restore(later, tmp_path / "again", **OPTIONS)
    with open_(tmp_path / "again") as again:
        assert again.digest() == wanted


def test_a_place_out_of_reach_keeps_its_keys_and_the_receipt_says_so(tmp_path):
    with filled(tmp_path / "kb") as memory:
        memory.backup(tmp_path / "backups")
        shutil.move(tmp_path / "backups", tmp_path / "away")
        receipt = memory.forget(subject="ann")
        assert any("could not be reached" in told for told in receipt.predicate["exclusions"])
        shutil.move(tmp_path / "away", tmp_path / "backups")
        memory.forget(ids="bob-0")
        (slots,) = (tmp_path / "backups").glob("keys-*.slots")
        assert slots.read_bytes() == (tmp_path / "kb" / "store" / "keys").read_bytes()


def test_a_changed_or_swapped_row_is_refused(tmp_path):
    path = tmp_path / "kb"
    filled(path).close()
    (tail,) = [p for p in (path / "store").rglob("*") if p.is_file() and p.suffix == ".lance"] or [
        next((path / "store").rglob("*.tail"))
    ]
    assert tail.exists()
    data = (path / "store" / "keys").read_bytes()
    (path / "store" / "keys").write_bytes(data[64:128] + data[:64])  # order means nothing
    open_(path).close()
    flipped = bytearray(data)
    flipped[20] ^= 1
    (path / "store" / "keys").write_bytes(flipped)
    with pytest.raises(StoreCorrupt, match="are gone"):
        open_(path)
    (path / "store" / "keys").write_bytes(data)
    with open_(path) as memory:
        assert memory.count() == 8


def test_what_makes_no_sense_is_refused_and_an_old_memory_stays_as_it_is(tmp_path):
    with open_(tmp_path / "plain") as memory:
        memory.add("quincunx", ids=["r1"])
    with pytest.raises(StoreError, match="aren't encrypted"):
        open_(tmp_path / "plain", encryption="subject")
    assert not (tmp_path / "plain" / "store" / "keys").exists()
    with open_(tmp_path / "plain") as memory:
        assert memory.get("r1") is not None
    with pytest.raises(Unsupported, match="nothing to encrypt"):
        open_("memory://", encryption="subject")
    for wrong in ("all", True, 3):
        with pytest.raises(StoreError, match="encryption="):
            open_(tmp_path / "new", encryption=wrong)
    assert not (tmp_path / "new").exists()
    with filled(tmp_path / "kb"):
        pass
    with open_(tmp_path / "kb", encryption="subject") as memory:  # said again
        assert memory.count() == 8


@pytest.mark.parametrize("after", [False, True])
def test_cut_at_any_durable_step_the_rest_is_readable_and_the_key_goes_in_the_end(tmp_path, after):
    filled(tmp_path / "first").close()
    at = 0
    while True:
        at += 1
        path = tmp_path / f"kb{at}"
        shutil.copytree(tmp_path / "first", path)
        memory = open_(path)
        try:
            with failing(at, PowerCutError, after=after) as calls:
                memory.add(rows("cid", 2))
                memory.forget(subject="ann")
        except PowerCutError:
            memory._store._lock.release()
        else:
            assert len(calls) < at
            break
        with open_(path) as memory:
            memory.purge()
            here = {record.subject for record in memory.get_all()}
            assert "bob" in here
            assert keys(path) == len(here)
            memory.forget(subject="ann")
            assert keys(path) == len(here - {"ann"})
        assert holding(path, WORDS) == []
    assert at > 8


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "forget", "delete", "purge", "reopen", "update"]),
            st.integers(0, 5),
        ),
        max_size=12,
    )
)
def test_after_any_history_it_equals_a_plain_one_and_has_a_key_for_each(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("kb") / "kb"
    memory, live = open_(path, encryption="subject"), {}
    for step, (verb, n) in enumerate(steps):
        if verb == "add":
            name = f"r{step}"
            memory.add(f"quincunx {step}", ids=[name], subject=None if n == 5 else f"s{n % 3}")
            live[name] = True
        elif verb == "reopen":
            memory.close()
            memory = open_(path)
        elif verb == "purge":
            memory.purge()
        elif live:
            name = sorted(live)[n % len(live)]
            if verb == "update":
                memory.update(name, f"quincunx changed {step}", subject=f"s{n % 4}")
            else:
                memory.forget(ids=name) if verb == "forget" else memory.delete(name)
                del live[name]
    memory.purge()
    found = memory.get_all()
    assert {r.id for r in found} == set(live)
    assert keys(path) == len({r.subject or r.id for r in found})
    assert holding(path, WORDS) == []
    with open_("memory://") as plain:
        plain.add([memory.get(r.id, vector=True) for r in found])
        assert plain.digest() == memory.digest()
    memory.close()


def test_a_seal_is_bound_to_its_row_and_never_the_same_twice(tmp_path):
    import numpy as np

    from forgetnet_stores.lance.columns import Rows, from_arrow, to_arrow
    from forgetnet_stores.lance.ring import Ring

    ring = Ring(tmp_path / "keys", bytes(32), readonly=False)
    content = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    place = np.zeros((4, 17), np.float32)
    table = to_arrow(Rows(np.arange(4, dtype=np.uint64), rows("ann", 4), content, place))
    sealed, again = ring.seal(table), ring.seal(table)
    assert set(sealed.column("sealed").to_pylist()).isdisjoint(again.column("sealed").to_pylist())
    back = from_arrow(ring.unseal(sealed, 8), 8)
    assert [record.text for record in back.records] == [record.text for record in rows("ann", 4)]
    assert back.content.tobytes() == content.tobytes()
    place = sealed.schema.get_field_index("sealed")
    mixed = sealed.column("sealed").take([1, 0, 2, 3])
    swapped = sealed.set_column(place, sealed.schema.field(place), mixed)
    with pytest.raises(StoreCorrupt, match="changed"):
        ring.unseal(swapped, 8)


def test_without_its_keys_it_says_what_is_missing(tmp_path):
    path = tmp_path / "kb"
    filled(path).close()
    filled(tmp_path / "pieces", 300).close()
    open_(tmp_path / "plain").close()
    with open_(tmp_path / "plain") as memory:
        memory.add("quincunx")
    (tmp_path / "plain" / "store" / "keys").touch()
    with pytest.raises(StoreCorrupt, match="aren't sealed"):
        open_(tmp_path / "plain")
    for each in (path, tmp_path / "pieces"):
        (each / "store" / "keys").rename(tmp_path / "away")
        for more in ({}, {"readonly": True}):
            with pytest.raises(StoreCorrupt, match=r"'keys' doesn't belong.* missing"):
                open_(each, **more)
        with pytest.raises(StoreError, match="bring back"):
            open_(each, encryption="subject")
        (tmp_path / "away").rename(each / "store" / "keys")
        with open_(each) as memory:
            assert memory.get("ann-0").text == "quincunx of ann 0"


def test_a_reader_follows_a_subject_that_came_again_with_another_key(tmp_path):
    with filled(tmp_path / "kb") as memory, open_(tmp_path / "kb", readonly=True) as reader:
        assert reader.count() == 8
        memory.forget(subject="ann")
        assert reader.count() == 4
        assert len(reader._store._state.ring) == 1  # it holds on to no key that went
        memory.add(rows("ann", 1))
        assert reader.get("ann-0").text == "quincunx of ann 0"
        memory.forget(subject="ann")  # and of what went and came between two looks
        memory.add(rows("ann", 2))
        assert reader.get("ann-1").text == "quincunx of ann 1"


def test_a_model_s_rows_are_sealed_and_its_receipts_say_that_experts_aren_t(tmp_path):
    def model(path: Path, *more: object, **options: object) -> ForgetNet:
        experts = [NeighbourExpert(k=3), *more]
        return ForgetNet.open(path, **OPTIONS, experts=experts, progress=False, **options)

    for name, more in (("rows", ()), ("learnt", (RidgeTrunk(features=16),))):
        path = tmp_path / name
        with model(path, *more, encryption="subject") as net:
            people = [f"s{n % 3}" for n in range(9)]
            net.fit([f"quincunx {n}" for n in range(9)], people, subjects=people)
            net.save(tmp_path / f"{name} copy")
        assert keys(path) == keys(tmp_path / f"{name} copy") == 3
        assert holding(path, WORDS) == holding(tmp_path / f"{name} copy", WORDS) == []
        for place in (path, tmp_path / f"{name} copy"):
            with model(place, *more) as net:
                receipt = net.forget(subject="s1")
                assert receipt.status == "erased"
                told = receipt.predicate["exclusions"]
                assert any("isn't sealed" in one for one in told) == bool(more)
                assert net.predict(["quincunx 1"]) != ["s1"]
            assert keys(place) == 2
    with pytest.raises(StoreError, match="encryption="):
        model(tmp_path / "new", encryption="all")
