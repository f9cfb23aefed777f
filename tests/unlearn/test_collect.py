"""The collector: each number by hand, whatever the batches, and a model that stays as it was."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forgetnet.audit.membership import auc
from forgetnet.audit.quality import mean_nll
from forgetnet.audit.retrain import level_distances
from forgetnet.audit.scores import loss_scores, min_k_plus_plus_scores, vocabulary_moments
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import CausalLMTask, ClassificationTask, ContrastiveTask, RegressionTask
from forgetnet.unlearn.collect import collect, generate
from forgetnet.unlearn.result import state_digest
from tests.unlearn.toys import by_hand, mean_loss, people, reader


def classifier(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    return model.to(dtype), (torch.randn(40, 6).to(dtype), torch.randint(0, 4, (40,)))


def test_a_classifier_gives_what_softmax_gives_by_hand():
    model, data = classifier(torch.float64)
    found = collect(model, data)
    logits = model.eval()(data[0]).detach().numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = p[np.arange(40), data[1].numpy()]
    assert found.nll == pytest.approx(-np.log(own), abs=1e-12)
    assert found.confidence == pytest.approx(own, abs=1e-12)
    assert found.probabilities == pytest.approx(p, abs=1e-12)
    assert (found.correct == (p.argmax(axis=1) == data[1].numpy())).all()
    assert (found.tokens == 1).all() and len(found) == 40
    assert np.concatenate(found.logprobs) == pytest.approx(np.log(own), abs=1e-12)


@settings(max_examples=8, deadline=None)
@given(size=st.integers(1, 45), chosen=st.permutations(range(12)))
def test_a_language_model_gives_the_same_alone_and_in_any_padded_batch(size, chosen):
    _, lost, kept, _ = people()
    rows = [(lost + kept)[2 * i] for i in chosen]
    model = reader()
    found = collect(model, rows, batch_size=size)
    for i, row in enumerate(rows):
        assert found.logprobs[i] == pytest.approx(by_hand(model, row), abs=2e-5)
    assert found.nll == pytest.approx(mean_nll(found.logprobs), abs=1e-12)
    assert found.tokens.tolist() == [sum(label != -100 for label in r["labels"]) for r in rows]
    assert found.nll.mean() == pytest.approx(mean_loss(model, rows), abs=1e-5)
    assert found.probabilities is None  # a vocabulary a token would be kept


def test_min_k_plus_plus_of_the_scaled_rows_is_that_of_the_statistic():
    _, lost, _, _ = people()
    model = reader().double()
    found = collect(model, lost)
    means, variances = [], []
    for row in lost:
        where = [t for t, label in enumerate(row["labels"]) if label != -100 and t]
        logits = model(torch.tensor([row["input_ids"]]))[0, [t - 1 for t in where]]
        mean, variance = vocabulary_moments(torch.log_softmax(logits, -1).detach().numpy())
        means.append(mean)
        variances.append(variance)
    theirs = min_k_plus_plus_scores(found.logprobs, means, variances)
    zeros, ones = ([np.full(len(z), v) for z in found.z] for v in (0.0, 1.0))
    assert min_k_plus_plus_scores(found.z, zeros, ones) == pytest.approx(theirs, rel=1e-9)


def test_choices_that_are_ruled_out_weigh_nothing():
    model, (inputs, labels) = classifier()
    model[3].bias.data[3] = -float("inf")
    found = collect(model, (inputs, labels % 3))
    p = found.probabilities[:, :3]
    mean = (p * np.log(p)).sum(axis=1)
    spread = np.sqrt((p * (np.log(p) - mean[:, None]) ** 2).sum(axis=1))
    z = (np.log(p[np.arange(40), labels.numpy() % 3]) - mean) / spread
    assert np.concatenate(found.z) == pytest.approx(z, abs=1e-4)


def test_every_label_must_be_the_likeliest_for_an_answer_to_be_right():
    _, lost, kept, _ = people()
    model = reader()
    with torch.no_grad():
        model.head.weight.mul_(0.7)
        model.mixed.weight.add_(0.2 * torch.randn(32, 32, generator=torch.manual_seed(1)))
    found = collect(model, lost + kept)
    assert 0 < found.correct.sum() < len(found)
    assert (found.correct == [row.all() for row in found.matches]).all()
    for row, labels in zip((lost + kept)[:5], found.matches, strict=False):
        ids = torch.tensor(row["input_ids"])
        likeliest = model(ids[None])[0].argmax(-1)[:-1] == ids[1:]
        assert labels.tolist() == likeliest[torch.tensor(row["labels"][1:]) != -100].tolist()


def test_numbers_and_pairs_give_losses_and_claim_no_right_answers():
    torch.manual_seed(0)
    x, y = torch.randn(9, 3), torch.randn(9, 2)
    linear = nn.Linear(3, 2)
    found = collect(linear, (x, y))
    wanted = 0.5 * (linear(x) - y).square().sum(1).detach().numpy()
    assert found.nll == pytest.approx(wanted, rel=1e-6)
    pairs = ContrastiveTask(torch.randn(4, 3))
    both = collect(linear, (x, pairs.bank[torch.arange(9) % 4]), pairs, gradients=True)
    for each in (found, both):
        assert each.correct is None and each.probabilities is None and not each.logprobs
        assert (each.tokens == 1).all()


def one_by_one(model: nn.Module, data: Any, task: Any) -> list[float]:
    """Norms of gradients by backward, an example at a time."""
    model = copy.deepcopy(model).eval()
    norms = []
    for i in range(task.size(data)):
        model.zero_grad()
        task.loss(model, task.batch(data, [i], torch.device("cpu"))).sum().backward()
        squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.stack(squares).sum().sqrt()))
    return norms


def test_gradients_are_those_of_one_example_at_a_time():
    model, data = classifier()
    _, lost, _, _ = people()
    numbers = (data[0], torch.randn(40, 2))
    bank = torch.randn(5, 6)
    pairs = (data[0], bank[torch.arange(40) % 5])
    cases = [
        (model, data, ClassificationTask()),
        (reader(), lost[:10], CausalLMTask()),
        (nn.Linear(6, 2), numbers, RegressionTask()),
        (nn.Linear(6, 3), pairs, ContrastiveTask(bank)),
        (nn.Linear(6, 3), pairs, ContrastiveTask(bank, "lorentz")),
    ]
    for net, examples, task in cases:
        found = collect(net, examples, task, gradients=True, batch_size=7)
        assert found.gradient == pytest.approx(one_by_one(net, examples, task), rel=1e-4)


class Looks(nn.Module):
    """A layer that looks at values, which no vectorised pass can; half of it goes unused."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused = nn.Linear(6, 4), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) if float(x.sum()) > 1e9 else self.layer(2 * x)


def test_gradients_of_a_model_that_cannot_be_vectorised_are_taken_one_by_one():
    model, (_, data) = Looks(), classifier()
    found = collect(model, data, gradients=True)
    assert found.gradient == pytest.approx(one_by_one(model, data, ClassificationTask()), rel=1e-4)
    assert all(p.grad is None for p in model.parameters())


class Noisy(nn.Module):
    """A classifier that draws in evaluation mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(nn.functional.dropout(x, 0.5, training=True))


def test_the_model_and_the_generator_are_left_as_they_were():
    model, data = classifier()
    for net in (model, Noisy()):
        net.train()
        next(net.children()).eval()
        frozen = list(net.parameters())[-1].requires_grad_(False)
        net(data[0]).sum().backward()
        grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
        modes, bits = [m.training for m in net.modules()], state_digest(net)
        drawn = torch.random.get_rng_state()
        first = collect(net, data, gradients=True)
        assert torch.equal(torch.random.get_rng_state(), drawn)
        assert [m.training for m in net.modules()] == modes and state_digest(net) == bits
        assert not frozen.requires_grad
        for p, old in zip(net.parameters(), grads, strict=True):
            assert (p.grad is None) == (old is None) and (old is None or torch.equal(p.grad, old))
        assert (collect(net, data).nll == first.nll).all()


def test_a_loss_that_is_no_number_stays_so_and_the_statistics_refuse_it():
    model, (inputs, labels) = classifier()
    inputs = inputs.clone()
    inputs[3] = float("nan")
    found = collect(model, (inputs, torch.zeros_like(labels)))
    assert np.isnan(found.nll).nonzero()[0].tolist() == [3]
    assert not found.correct[3] and not found.matches[3][0]
    with pytest.raises(InvalidRecord, match="1 values aren't finite"):
        loss_scores(found.nll)
    with pytest.raises(InvalidRecord, match="aren't finite"):
        level_distances(np.stack([found.nll, found.nll], axis=1))
    assert auc(found.nll, found.nll).left_out == 2


def test_labels_outside_of_the_model_and_empty_data_are_refused():
    model, (inputs, _) = classifier()
    with pytest.raises(InvalidRecord, match="none of the model's 4 choices"):
        collect(model, (inputs, torch.full((40,), 4)))
    with pytest.raises(InvalidRecord, match="no example"):
        collect(model, (inputs[:0], torch.zeros(0, dtype=torch.long)))


def test_words_follow_a_prompt_until_the_end_and_every_length_is_answered():
    words, lost, kept, _ = people()
    prompts, answers = [], []
    for row in (lost + kept)[::5]:
        told = sum(label == -100 for label in row["labels"])
        prompts.append(words.decode(row["input_ids"][:told]))
        answers.append(words.decode(row["input_ids"][told:]))
    said = generate(reader(), words, prompts, tokens=20, batch_size=3)
    assert said == [generate(reader(), words, [prompt], tokens=20)[0] for prompt in prompts]
    right = collect(reader(), (lost + kept)[::5]).correct
    assert right.sum() > 2
    assert all(said[i] == answers[i] for i in right.nonzero()[0])
    pieces = [" ".join(prompts[0].split()[:n]) for n in (5, 2, 4, 3, 1)]
    apart = [generate(reader(), words, [piece], tokens=9)[0] for piece in pieces]
    assert generate(reader(), words, pieces, tokens=9) == apart
    with pytest.raises(InvalidRecord, match="prompt 1 has no token"):
        generate(reader(), words, [prompts[0], ""])


def test_a_hugging_face_model_says_the_same_alone_and_padded_on_the_left():
    transformers = pytest.importorskip("transformers")
    words, lost, kept, _ = people()
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    config = transformers.GPT2Config(vocab_size=len(words), bos_token_id=0, eos_token_id=0, **sizes)
    model = transformers.GPT2LMHeadModel(config)
    model.generation_config.temperature = 0.6  # greedy all the same, and no warning
    model.generation_config.do_sample = True
    prompts = [words.decode(row["input_ids"][:n]) for n, row in enumerate(lost + kept, 2) if n < 9]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = generate(model, words, prompts, tokens=12)
    assert len({len(words(prompt)["input_ids"]) for prompt in prompts}) > 3
    for prompt, text in zip(prompts, said, strict=True):
        ids = words(prompt)["input_ids"]
        for _ in range(12):  # by hand, without cache or mask
            following = int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax())
            if following == 0:
                break
            ids.append(following)
        assert text == words.decode(ids[len(words(prompt)["input_ids"]) :])
    found = collect(model, lost, gradients=True)
    assert found.nll.mean() == pytest.approx(mean_loss(model, lost), abs=1e-5)
    assert found.gradient == pytest.approx(one_by_one(model, lost, CausalLMTask()), rel=1e-4)


def test_a_bar_changes_nothing_and_shows_on_terminals_only(capsys):
    model, data = classifier()
    shown = collect(model, data, batch_size=3, progress=True)
    assert (shown.nll == collect(model, data, batch_size=3).nll).all()
    assert capsys.readouterr() == ("", "")
