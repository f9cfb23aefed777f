"""Training: what a head learns, that a seed says all of it, and what can't be learnt from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forgetnet.encode import VectorsOnly
from forgetnet.errors import InvalidRecord
from forgetnet.heads import Hierarchy, exterior_angles, train_head
from forgetnet.heads.fit import LorentzMap, _several
from forgetnet.heads.lesson import Lesson
from tests.heads.kinship import Words, head, made


def place(name: str) -> int:
    return made().names.index(name)


def test_a_head_ranks_what_stands_above_before_siblings_and_strangers() -> None:
    texts = [f"a {name}" for name in made().names]
    tangents = head().tangents(Words().encode(texts))
    found = []
    for leaf in made().leaves:
        angles = exterior_angles(tangents, tangents[leaf])
        above = made().ancestors[leaf]
        others = np.setdiff1d(np.arange(len(texts)), [*above, leaf])
        found.append(angles[above].max() < angles[others].min())
    assert np.mean(found) > 0.9


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    again = train_head(made(), Words(), dim=8, steps=150, seed=0, progress=False)
    assert again.pin == head().pin
    assert again.map.weight.tobytes() == head().map.weight.tobytes()
    assert head(1).pin != head().pin and head(1).pins.weights != head().pins.weights


def test_what_came_before_in_the_process_has_no_say() -> None:
    torch.manual_seed(7)
    np.random.default_rng(7).random(100)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    again = train_head(made(), Words(), dim=8, steps=150, seed=0, progress=False)
    torch.set_num_threads(threads)
    assert again.pin == head().pin


def test_the_pins_name_the_data_the_encoder_and_the_settings() -> None:
    pins = head().pins
    assert pins.data == made().digest() and pins.encoder == Words().digest
    assert (pins.seed, pins.steps, pins.rate) == (0, 150, 1e-2)
    renamed = Hierarchy(("beast", *made().names[1:]), made().glosses, made().parents)
    assert renamed.digest() != made().digest()


def test_vectors_that_are_there_already_are_taken_as_they_are() -> None:
    vectors = Words().encode(made().names), Words().encode(made().glosses)
    again = train_head(made(), Words(), dim=8, steps=150, vectors=vectors, progress=False)
    assert again.pin == head().pin


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dim": 0}, "dim must be at least 1"),
        ({"dim": 5_000}, "dim= is at most"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"rate": 0.0}, "rate= lies between"),
        ({"rate": float("nan")}, "rate= must be a finite number"),
        ({"rate": "fast"}, "rate= must be a finite number .* not str"),
        ({"source": 3}, "source= is a Hierarchy or a Taxonomy"),
        ({"encoder": "hash"}, "encoder= is an Encoder"),
        ({"vectors": 3}, "two arrays"),
        ({"vectors": ([[1.0]], [["x"]])}, "two arrays"),
        ({"progress": "no"}, "progress= must be True or False"),
        ({"vectors": (np.zeros((2, 24)), np.zeros((2, 24)))}, "two arrays"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(options, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says):
        train_head(**{"source": made(), "encoder": Words(), "progress": False, **options})


def test_a_hierarchy_without_two_that_stand_under_another_is_refused() -> None:
    flat = Hierarchy(("a", "b", "c"), ("a", "b", "c"), ((), (), ()))
    lonely = Hierarchy(("a", "b"), ("a", "b"), ((), (0,)))
    for hierarchy in (flat, lonely):
        with pytest.raises(InvalidRecord, match="at least two concepts"):
            train_head(hierarchy, Words(), progress=False)
    with pytest.raises(InvalidRecord, match="no encoder"):
        train_head(made(), VectorsOnly(24), progress=False)


def test_a_batch_has_siblings_and_all_that_stands_above_them() -> None:
    taught = np.array([place(name) for name in ("crow", "swan", "oak", "bird")])
    batch = Lesson(made(), taught, groups=64, siblings=4).batch(np.random.default_rng(0))
    assert set(batch.records) == set(taught)
    for row, concept in enumerate(batch.above):
        for column, record in enumerate(batch.records):
            assert batch.inside[row, column] == (concept in made().ancestors[record])
    assert {place("animal"), place("bird"), place("tree")} <= set(batch.above)


def test_of_several_positives_each_stands_against_what_is_wrong_alone() -> None:
    scores = torch.tensor([[2.0, 5.0, 1.0, 0.0], [0.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    inside = torch.tensor([[True, True, False, False], [False] * 4])
    wrong = np.exp(1.0) + np.exp(0.0)
    by_hand = np.mean([-np.log(np.exp(s) / (np.exp(s) + wrong)) for s in (2.0, 5.0)])
    assert float(_several(scores, inside)) == pytest.approx(by_hand)


def test_a_start_puts_unit_vectors_at_about_radius_one() -> None:
    made_map = LorentzMap(384, 32, torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(torch.randn(100, 384), dim=1)
    radii = torch.linalg.vector_norm(made_map(vectors).detach(), dim=1)
    assert 0.5 < float(radii.min()) < float(radii.max()) < 1.5
