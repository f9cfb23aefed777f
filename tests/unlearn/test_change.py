"""What rounding leaves of a change, counted by hand."""

from __future__ import annotations

import pytest
import torch

from forgetnet.unlearn.change import changes, survival


def test_what_survives_rounding_is_counted_by_hand() -> None:
    old = torch.tensor([[127.0, 10.0, 20.0, 30.0]])  # the scale of 8 bits is 1
    new = torch.tensor([[127.0, 10.4, 21.0, 30.0]])
    assert survival(old, new, 8) == 0.5  # 10.4 is 10 again, 21 isn't 20
    assert survival(old, new, 4) == 0.0  # the scale of 4 bits is 18.1
    assert survival(old, old, 8) == 1.0


def test_a_scale_that_moves_is_no_change_of_the_others() -> None:
    old, new = torch.tensor([[127.0, 10.0]]), torch.tensor([[128.0, 10.4]])
    assert survival(old, new, 8) == 0.5  # 10.4 becomes 10 * 128 / 127: it isn't what it was made


def test_each_row_has_its_own_scale_and_a_vector_one() -> None:
    old = torch.tensor([[127.0, 10.0], [1.27, 0.10]])
    new = torch.tensor([[127.0, 10.4], [1.27, 0.14]])
    assert survival(old, new, 8) == 0.5
    assert survival(old.reshape(-1), new.reshape(-1), 8) == 0.0


def test_norms_and_shares_by_hand() -> None:
    (one, two) = changes(
        {"b": torch.zeros(2), "a": torch.tensor([3.0, 4.0])},
        {"b": torch.tensor([0.0, 2.0]), "a": torch.tensor([3.0, 4.5])},
    )
    assert (one.name, one.norm, one.changed) == ("a", 0.5, 0.5)
    assert one.relative == pytest.approx(0.1)
    assert (two.norm, two.relative, two.changed) == (2.0, 1.0, 0.5)
