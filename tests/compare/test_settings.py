"""The settings: what is private stays out of what is public, and folders are read as they are."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forgetnet.compare.catalogue import CATALOGUE, setting_of
from forgetnet.compare.contestants import controls
from forgetnet.compare.designed import designed
from forgetnet.compare.heads import heads
from forgetnet.compare.language import personas, tofu
from forgetnet.compare.measure import measure
from forgetnet.compare.methods import unlearned
from forgetnet.compare.sources import read_adult, read_mnist
from forgetnet.compare.worlds import World
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.unlearn import Recipe

BRIEF = Recipe(lr=3e-3, epochs=6.0, batch_size=32)


def test_people_to_be_forgotten_are_known_to_nobody_else() -> None:
    material = personas().draw(0)
    people = {
        side: {" ".join(q.split()[2:4]) for q in material.records[side].inputs}
        for side in ("forget", "retain", "unseen")
    }
    assert len(people["forget"]) == 6 and len(people["unseen"]) == 9
    assert not people["forget"] & people["retain"]
    assert not people["unseen"] & (people["forget"] | people["retain"])
    plain, other = (material.records[side] for side in ("forget", "paraphrase"))
    assert plain.answers == other.answers and plain.inputs != other.inputs
    assert len(material.alternatives) == len(material.sides["forget"])
    assert personas().draw(0).records["forget"].inputs == plain.inputs
    assert personas().draw(1).records["forget"].inputs != plain.inputs


def test_a_memory_of_people_tells_before_and_not_after_and_keeps_the_others() -> None:
    world = World(replace(personas(), recipe=BRIEF, traced=False), 0, references=1)
    entry = designed(world, "memory")
    assert entry.equal
    assert entry.before("forget").correct.all() and entry.before("paraphrase").correct.mean() > 0.9
    assert not entry.ask("forget").correct.any() and not entry.ask("paraphrase").correct.any()
    assert entry.ask("retain").correct.all() and entry.ask("test").correct.mean() > 0.9
    # the same two models for all contestants, and a module is one that takes a mask
    shards = unlearned(world, "shard_retrain")
    assert not isinstance(shards, str) and shards.equal
    found = measure(world, controls(world)[0], None)
    assert {"paraphrase", "forget_loss", "test_accuracy"} <= set(found)


def test_a_topic_is_forgotten_by_a_head() -> None:
    world = World(replace(heads(), recipe=replace(BRIEF, epochs=20.0), traced=False), 0)
    original, retrained = (measure(world, entry, None) for entry in controls(world))
    assert original["forget_accuracy"] > 0.9
    assert retrained["forget_accuracy"] < 0.1
    entry = unlearned(world, "alignment_calibration")
    assert not isinstance(entry, str)
    assert entry.ask("forget").nll.mean() > original["forget_loss"] + 1.0
    assert "classification" in str(unlearned(world, "class_pruning"))


def test_settings_are_found_by_name_and_name_what_they_need() -> None:
    for name, listed in CATALOGUE.items():
        if not listed.folder:
            for request in listed.requests:
                assert setting_of(name, request).name == name
        else:
            with pytest.raises(InvalidRecord, match=listed.folder):
                setting_of(name)
    with pytest.raises(InvalidRecord, match="forget01, forget05, forget10"):
        setting_of("tofu", "forget99", "anywhere")


def adult_rows(count: int) -> list[str]:
    row = "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, "
    ending = "Male, 2174, 0, 40, United-States, {}"
    return [f"{row}{ending}".format("<=50K" if n % 3 else ">50K") for n in range(count)]


def test_adult_is_read_as_it_was_published(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "adult.data.gz", "wt", encoding="ascii") as file:
        file.write("\n".join(adult_rows(4500)) + "\n\n")
    vectors, labels, classes = read_adult(tmp_path)
    assert len(vectors) == len(labels) == 4000 and classes == 2
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
    assert 0.25 < labels.mean() < 0.4
    short = tmp_path / "short"
    short.mkdir()
    with gzip.open(short / "adult.data.gz", "wt", encoding="ascii") as file:
        file.write("\n".join(adult_rows(10)))
    with pytest.raises(StoreCorrupt, match="10 whole rows"):
        read_adult(short)


def test_mnist_is_halved_by_means(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 28, 28), np.uint8)
    labels = np.arange(4000) % 10
    np.savez(tmp_path / "mnist.npz", x_train=pixels, y_train=labels)
    images, found, classes = read_mnist(tmp_path)
    assert images.shape == (4000, 1, 14, 14) and classes == 10
    assert (found == labels).all()
    assert images[7, 0, 3, 5] == pytest.approx(pixels[7, 6:8, 10:12].mean() / 255.0, rel=1e-6)


def rows_of(path: Path, rows: list[dict[str, object]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def test_tofu_is_cut_by_authors_and_asked_in_other_words(tmp_path: Path) -> None:
    full: list[dict[str, object]] = [
        {"question": f"Q{a}-{n} asks?", "answer": f"Author{a} wrote book{n}."}
        for a in range(60)
        for n in range(20)
    ]
    rows_of(tmp_path / "full.jsonl.gz", full)
    asked = [{**row, "paraphrased_question": f"{row['question']} Say!"} for row in full]
    rows_of(tmp_path / "forget01_perturbed.jsonl.gz", asked[-40:])
    rows_of(tmp_path / "retain_perturbed.jsonl.gz", asked[:100])
    material = tofu(tmp_path).draw(0)
    forget, retain = material.records["forget"], material.records["retain"]
    assert set(forget.people) == {"author 58", "author 59"} and len(forget.answers) == 40
    assert set(retain.people) == {f"author {n}" for n in range(8)}
    assert list(material.records["paraphrase"].answers) == list(forget.answers)
    assert all(text.endswith("Say !") for text in material.records["test"].inputs)
    never = {answer.split()[0] for answer in material.records["unseen"].answers}
    learnt = {answer.split()[0] for side in (forget, retain) for answer in side.answers}
    assert len(never) == 4 and not never & learnt


def test_a_public_model_never_saw_private_people() -> None:
    records = personas().draw(0).records
    private, never = (records[side].fallback.mean() for side in ("forget", "unseen"))
    assert private < 0.2 and abs(private - never) < 0.15  # it guesses, and no better than there


def test_a_whole_answer_is_as_likely_as_all_of_its_words() -> None:
    """Half of each word is much less than half of the answer, in a model as in a memory."""
    world = World(replace(personas(), recipe=BRIEF, traced=False), 1, references=1)
    model, data = world.family.original, world.material.sides["forget"]
    told = world.ask(model, "forget")
    for row, likely in zip(data[:6], told.likely()[:6], strict=True):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logs = model(ids).logits[0].double().log_softmax(-1)
        steps = [t for t, label in enumerate(row["labels"]) if label != -100]
        right = sum(float(logs[t - 1, row["labels"][t]]) for t in steps)
        assert likely == pytest.approx(np.exp(right), rel=1e-3)
    entry = designed(world, "memory")
    assert entry.before("forget").likely().min() > 0.5
    assert entry.ask("forget").likely().max() < 0.5
