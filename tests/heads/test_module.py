"""The module of sentence-transformers: the inner product of query and document is -cosh d."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from forgetnet.encode import minilm
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.geometry import lorentz
from forgetnet.heads import Hierarchy, HyperbolicHead, PublicHead, pipeline, train_head
from tests.heads.kinship import WIDTH, head


@pytest.fixture(scope="module")
def trained() -> PublicHead:
    names = ("animal", "dog", "cat", "plant", "oak", "elm")
    hierarchy = Hierarchy(names, names, ((), (0,), (0,), (), (3,), (3,)))
    return train_head(hierarchy, minilm(), dim=6, steps=20, progress=False)


def points(task: str | None) -> torch.Tensor:
    rows = torch.nn.functional.normalize(
        torch.randn(9, WIDTH, generator=torch.Generator().manual_seed(0)), dim=1
    )
    made = HyperbolicHead(head())({"sentence_embedding": rows}, task=task)
    return made["sentence_embedding"]


def test_a_query_has_its_time_turned_round_and_a_document_has_not() -> None:
    asked, stored = points("query"), points("document")
    assert stored.shape == (9, head().map.dim + 1)
    assert torch.equal(asked[:, 0], -stored[:, 0]) and torch.equal(asked[:, 1:], stored[:, 1:])
    assert torch.equal(points(None), stored)
    assert lorentz.check_point(stored, k=1.0, limit=6.0) == []
    right = -torch.cosh(lorentz.dist(stored[:, None], stored[None], k=1.0))
    torch.testing.assert_close(asked @ stored.T, right, rtol=1e-4, atol=1e-4)


def test_a_module_comes_back_bit_for_bit_and_refuses_a_changed_one(tmp_path: Path) -> None:
    HyperbolicHead(head()).save(str(tmp_path / "2_Head"))
    again = HyperbolicHead.load(str(tmp_path), subfolder="2_Head")
    assert torch.equal(again.weight, HyperbolicHead(head()).weight)
    assert not list(again.parameters())  # frozen: no optimiser finds anything
    path = tmp_path / "2_Head" / "head.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(StoreCorrupt):
        HyperbolicHead.load(str(tmp_path), subfolder="2_Head")


def test_a_pipeline_answers_by_hyperbolic_distance(trained: PublicHead) -> None:
    model = pipeline(minilm().folder, trained)
    texts = ["dog", "a small oak", "the elm in the yard"]
    asked = model.encode_query(texts, convert_to_tensor=True)
    stored = model.encode_document(texts, convert_to_tensor=True)
    vectors = minilm().encode(texts)
    tangents = torch.from_numpy(trained.tangents(vectors))
    right = -torch.cosh(lorentz.polar_dist(tangents[:, None], tangents[None], k=1.0))
    found = model.similarity(asked, stored).double()
    torch.testing.assert_close(found, right, rtol=2e-3, atol=2e-3)
    assert np.isclose(found.diagonal().numpy(), -1.0, atol=2e-3).all()
    assert model.get_embedding_dimension() == 7


def test_a_head_of_another_encoder_is_refused() -> None:
    with pytest.raises(InvalidRecord, match=f"takes vectors of {WIDTH} numbers, not of 384"):
        pipeline(minilm().folder, head())
