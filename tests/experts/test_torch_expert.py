"""A torch expert's bits: decided by settings, seed and records, and by nothing else."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts import State, make_view
from forgetnet.experts.expert import config_digest
from forgetnet.experts.public import PublicCorpus
from forgetnet.experts.torch_expert import TorchExpert
from tests.experts import leaves
from tests.experts.leaves import DIM, leaf, numbers

QUICK = TorchExpert(hidden=8, epochs=3, min_steps=6, batch=8, dropout=0.2)
ROOT = Path(__file__).resolve().parents[2]


def generators() -> list[object]:
    """The states of all global generators."""
    legacy = np.random.mtrand._rand.get_state()[1].tobytes()
    return [random.getstate(), legacy, torch.random.get_rng_state().tolist()]


def test_same_seed_twice_and_another_seed() -> None:
    view = leaf()
    assert QUICK.fit(view, 7).digest() == QUICK.fit(view, 7).digest()
    assert QUICK.fit(view, 7).digest() != QUICK.fit(view, 8).digest()


def test_a_fresh_process_gives_the_same_bits() -> None:
    code = (
        "import torch; torch.manual_seed(99); torch.set_num_threads(2)\n"
        "from tests.experts.test_torch_expert import QUICK, leaf\n"
        "print(QUICK.fit(leaf(), 7).digest())"
    )
    ask = [sys.executable, "-c", code]
    shown = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == QUICK.fit(leaf(), 7).digest()


@settings(max_examples=8)
@given(st.sets(st.sampled_from([f"s{i}" for i in range(10)]), max_size=9), st.integers(0, 99))
def test_deleted_is_never_seen_in_any_order_of_arrival(gone: set[str], order: int) -> None:
    whole = leaf()
    keep = [n for n, i in enumerate(whole.ids) if f"s{int(i.split('-')[1]) % 10}" not in gone]
    survived = QUICK.fit(whole.take(keep), 3)
    assert survived.digest() == QUICK.fit(leaf(without=gone, order=order), 3).digest()


def test_one_leaf_is_blind_to_another() -> None:
    alone = QUICK.fit(leaf(seed=2), 5).digest()
    for size in (10, 11, 40):
        QUICK.fit(leaf(size, seed=1), 4)
        assert QUICK.fit(leaf(seed=2), 5).digest() == alone


def test_nothing_of_the_process_is_left_changed() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(4711)  # a state that no training ends in by itself
    before = generators()
    try:
        QUICK.prepare(QUICK.fit(leaf(), 1))(leaf().codes)
        with pytest.raises(Unsupported):
            replace(QUICK, module=leaves.batch_norm).fit(leaf(), 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert not torch.are_deterministic_algorithms_enabled()
    assert generators() == before


def test_what_a_process_has_set_does_not_reach_the_bits() -> None:
    expected = QUICK.fit(leaf(), 1).digest()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(5)
    try:
        with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
            assert QUICK.fit(leaf(), 1).digest() == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_two_threads_do_not_mix_their_draws() -> None:
    expected = [QUICK.fit(leaf(seed=s), s).digest() for s in range(4)]
    found: dict[int, str] = {}

    def work(s: int) -> None:
        found[s] = QUICK.fit(leaf(seed=s), s).digest()

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[s] for s in range(4)] == expected


def test_it_learns() -> None:
    view = leaf(200)
    predictor = TorchExpert(hidden=16).prepare(TorchExpert(hidden=16).fit(view, 0))
    answers = predictor(view.codes)
    assert predictor.exact
    np.testing.assert_allclose(answers.sum(axis=1), 1.0)
    right = [predictor.classes[n] for n in answers.argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(right, view.labels, strict=True)]) > 0.9


def test_an_answer_does_not_depend_on_its_company() -> None:
    view = leaf(70)
    predictor = QUICK.prepare(QUICK.fit(view, 0))
    whole = predictor(view.codes)
    alone = np.concatenate([predictor(view.codes[i : i + 1]) for i in range(70)])
    assert np.array_equal(whole, alone)
    assert predictor(view.codes[:0]).shape == (0, 4)
    with pytest.raises(InvalidRecord, match="takes 12 dimensions"):
        predictor(view.codes[:, 1:])


def test_one_class_is_not_trained_and_one_record_is_enough() -> None:
    one = leaf(1)
    state = QUICK.fit(one, 0)
    assert not state.tensors
    again = QUICK.prepare(State.from_bytes(state.to_bytes()))
    assert again(one.codes).tolist() == [[1.0]]
    assert again.classes == one.labels
    lone = numbers(one)
    regression = replace(QUICK, task="regression")
    answer = regression.prepare(regression.fit(lone, 0))(lone.codes)
    np.testing.assert_allclose(answer, lone.values, atol=1.0)


def test_bytes_hold_all_of_a_state() -> None:
    expert = replace(QUICK, module=leaves.wide)
    state = expert.fit(leaf(), 0)
    again = State.from_bytes(state.to_bytes())
    assert again.digest() == state.digest()
    assert np.array_equal(expert.prepare(again)(leaf().codes), expert.prepare(state)(leaf().codes))


@pytest.mark.parametrize("width", [1, 3])
def test_numbers_are_learnt_in_their_own_unit(width: int) -> None:
    view = numbers(leaf(200), width)
    expert = TorchExpert(task="regression", hidden=16, epochs=60)
    answer = expert.prepare(expert.fit(view, 0))(view.codes)
    assert answer.shape == (200, width)
    spread = view.values.std(axis=0)
    assert (np.abs(answer - view.values).mean(axis=0) < 0.3 * spread).all()


def test_a_constant_target_is_answered() -> None:
    view = leaf()
    flat = make_view(view.ids, view.codes, np.full((40, 1), 7.5), view.keys)
    expert = replace(QUICK, task="regression", epochs=30)
    np.testing.assert_allclose(expert.prepare(expert.fit(flat, 0))(flat.codes), 7.5, atol=0.5)


def test_class_weights_help_the_rare_class() -> None:
    view = leaf(300, classes=2)
    rare = [n for n, label in enumerate(view.labels) if label == "class 1"][:6]
    few = view.take(sorted(rare + [n for n, la in enumerate(view.labels) if la == "class 0"]))
    blurred = make_view(few.ids, few.codes // 3, few.labels, few.keys)
    plain = replace(QUICK, dropout=0.0)
    recall = {}
    for name, expert in {
        "plain": plain,
        "balanced": replace(plain, class_weight="balanced"),
        "told": replace(plain, class_weight={"class 1": 25.0}),
    }.items():
        answers = expert.prepare(expert.fit(blurred, 0))(blurred.codes)
        recall[name] = answers[[la == "class 1" for la in blurred.labels], 1].mean()
    assert recall["balanced"] > recall["plain"]
    assert recall["told"] > recall["plain"]


def test_weights_are_the_same_setting_in_any_form() -> None:
    pairs = (("b", 2), ("a", 3))
    forms: list[Any] = [dict(pairs), {"a": 3.0, "b": 2}, pairs, (["a", 3], ["b", 2])]
    assert len({config_digest(replace(QUICK, class_weight=form)) for form in forms}) == 1


def test_a_public_head_is_a_start_and_is_named() -> None:
    view = leaf(seed=3)
    public = PublicCorpus("made for the test", leaf(200, seed=3).vectors, leaf(200, seed=3).labels)
    expert = replace(QUICK, lr=1e-4, epochs=1, min_steps=0)
    warm = replace(expert, lr=2e-3, epochs=40).warmed(public)
    warm = replace(expert, warm=warm.warm, warm_source=warm.warm_source)
    assert config_digest(warm) != config_digest(expert)
    assert warm.config()["warm"][1] == "made for the test"
    hits = {}
    for name, own in {"cold": expert, "warm": warm}.items():
        predictor = own.prepare(own.fit(view, 0))
        said = [predictor.classes[n] for n in predictor(view.codes).argmax(axis=1)]
        hits[name] = sum(a == b for a, b in zip(said, view.labels, strict=True))
    assert hits["warm"] > hits["cold"]


def test_a_public_head_of_other_classes_gives_rows_by_label() -> None:
    source = leaf(80, classes=4)
    head = replace(QUICK, epochs=20).fit(source, 0)
    two = source.take([n for n, la in enumerate(source.labels) if la in {"class 1", "class 3"}])
    still = replace(QUICK, lr=1e-12, epochs=1, min_steps=0, weight_decay=0.0, warm=head)
    kept = still.fit(two, 0).tensors["weights/4.weight"]
    np.testing.assert_allclose(kept, head.tensors["weights/4.weight"][[1, 3]], atol=1e-6)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (leaves.batch_norm, "batch normalisation"),
        (leaves.numpy_noise, "two modules of this factory differ"),
        (leaves.wrong_width, "maps"),
        (lambda dim, outputs: leaves.wide(dim, outputs + 0), "needs a name"),
        ("tests.experts.leaves:nobody", "can be imported"),
    ],
)
def test_a_module_that_cannot_be_exact_is_refused(module: Any, said: str) -> None:
    expert = replace(QUICK, module=module)
    with pytest.raises(Unsupported, match=said):
        digest_and_fit(expert)


def digest_and_fit(expert: TorchExpert) -> None:
    config_digest(expert)
    expert.fit(leaf(), 0)


def test_a_module_may_be_named() -> None:
    by_name = replace(QUICK, module="tests.experts.leaves:wide")
    itself = replace(QUICK, module=leaves.wide)
    assert by_name.fit(leaf(), 0).digest() == itself.fit(leaf(), 0).digest()
    assert config_digest(by_name) == config_digest(itself) != config_digest(QUICK)


def test_a_loss_beyond_all_numbers_is_an_error() -> None:
    with pytest.raises(InvalidRecord, match="finite number"):
        replace(QUICK, lr=1e30).fit(leaf(), 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": 0},
        {"epochs": 0},
        {"lr": float("nan")},
        {"dropout": 1.0},
        {"slices": 0},
        {"class_weight": {"class 0": 0.0}},
        {"task": "regression", "class_weight": "balanced"},
    ],
)
def test_settings_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        replace(QUICK, **wrong)


def test_targets_of_another_task_and_empty_leaves_are_refused() -> None:
    with pytest.raises(InvalidRecord):
        QUICK.fit(numbers(leaf()), 0)
    with pytest.raises(InvalidRecord):
        replace(QUICK, task="regression").fit(leaf(), 0)
    with pytest.raises(InvalidRecord):
        QUICK.fit(leaf(without=[f"s{i}" for i in range(10)]), 0)
    endless = make_view(["a"], np.zeros((1, DIM), np.int16), np.array([[np.inf]]), ["0"])
    with pytest.raises(InvalidRecord):
        replace(QUICK, task="regression").fit(endless, 0)
