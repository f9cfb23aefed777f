"""A topic lies where its path says, whatever else is there; and a region is its subtree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import InvalidScope
from forgetnet.atlas.chart import region_of
from forgetnet.atlas.disk import holds
from forgetnet.atlas.layout import REACH, Layout, Path, lay_out, planted, scatter, spots
from forgetnet.geometry import poincare

KEY = bytes(range(32))
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "health", "work", "x y", "ü", "0"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=6).map(tuple), min_size=1, max_size=30)
ALL = [(a, b) for a in "abcde" for b in "abcde"]


def joined(paths: list[Path]) -> list[str]:
    return ["/".join(path) for path in paths]


def records(layout: Layout, many: int = 2):
    """Some records of every topic, with where they lie."""
    topics = np.repeat(np.arange(len(layout.paths)), many)
    drawn = spots([f"record {i}" for i in range(len(topics))], KEY)
    return topics, scatter(layout.place[topics], drawn)


@given(PATHS, st.data())
def test_what_stays_lies_where_it_lay_to_the_bit(paths: list[Path], data):
    stay = data.draw(st.lists(st.sampled_from(paths), max_size=len(paths)))
    taxonomy = planted(joined(data.draw(st.sampled_from([[], ALL, paths[::2]]))))
    before, after = lay_out(paths, KEY, taxonomy), lay_out(stay, KEY, taxonomy)
    for path, number in after.number.items():
        old = before.number[path]
        assert after.place[number].tobytes() == before.place[old].tobytes()
        assert after.rim[number].tobytes() == before.rim[old].tobytes()


@given(PATHS, st.sampled_from([[], ALL]))
@settings(max_examples=80)
def test_a_drawn_topic_is_in_the_region_if_and_only_if_it_is_in_the_subtree(
    paths: list[Path], known: list[Path]
):
    layout = lay_out(paths, KEY, planted(joined(known)))
    topics, points = records(layout)
    for topic in range(1, len(layout.paths)):
        path = layout.paths[topic]
        under = np.array([each[: len(path)] == path for each in layout.paths])
        assert (layout.under(topic) == under).all()
        region = region_of(layout, topic, topics, points)
        drawn, marked = np.zeros(len(under), bool), np.zeros(len(topics), bool)
        for whole in region.wholes:
            drawn |= holds(layout.arc(whole), layout.place)
            marked |= holds(layout.arc(whole), points)
        assert not (drawn & ~under).any() and not (marked & ~under[topics]).any()
        drawn[region.alone] = True
        assert (drawn == under).all()
        assert (marked | np.isin(topics, region.alone))[under[topics]].all()


@given(PATHS)
def test_nothing_of_a_subtree_is_outside_of_its_half_plane(paths: list[Path]):
    layout = lay_out(paths, KEY, {})
    topics, points = records(layout, 5)
    for topic in range(1, len(layout.paths)):
        inside = layout.under(topic)
        assert holds(layout.arc(topic), layout.place[inside]).all()
        assert holds(layout.arc(topic), points[inside[topics]]).all()


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=30))
def test_with_a_taxonomy_every_region_is_one_half_plane(paths: list[Path]):
    layout = lay_out(paths, KEY, planted(joined(paths)))
    topics, points = records(layout, 40)
    for topic in range(1, len(layout.paths)):
        assert region_of(layout, topic, topics, points) == ([topic], [])


def test_records_lie_within_reach_of_their_topics_and_fill_it_evenly():
    layout = lay_out([("a", "b")], KEY, {})
    drawn = spots([str(i) for i in range(4000)], KEY)
    at = scatter(np.repeat(layout.place[2:3], 4000), drawn)
    centre = torch.tensor([[layout.place[2].real, layout.place[2].imag]])
    away = poincare.dist(torch.tensor(np.stack([at.real, at.imag], 1)), centre, c=1.0).numpy()
    assert away.max() <= REACH * (1 + 1e-6)
    share = (np.cosh(away) - 1) / (np.cosh(REACH) - 1)  # of the area; so it is uniform
    assert abs(share.mean() - 0.5) < 0.02 and abs((share < 0.25).mean() - 0.25) < 0.03


def test_another_key_draws_another_map_and_names_are_told_apart():
    paths = [("ab",), ("a", "b"), ("b",)]
    one, other = lay_out(paths, KEY, {}), lay_out(paths, bytes(32), {})
    assert abs(one.place[1:] - other.place[1:]).min() > 1e-6
    assert spots(["x"], KEY).tobytes() != spots(["x"], bytes(32)).tobytes()
    assert len(set(one.place.tolist())) == 5


def test_twenty_thousand_children_have_places_of_their_own_in_their_parents_half_plane():
    paths = [("top", f"child {i}") for i in range(20_000)]
    layout = lay_out(paths, KEY, {})
    assert len(set(layout.place.tolist())) == 20_002
    top = layout.number["top",]
    assert holds(layout.arc(top), layout.place[top:]).all()
    topics, points = records(layout, 1)
    assert region_of(layout, top, topics, points) == ([top], [])


def test_a_wide_taxonomy_is_drawn_and_what_float64_cant_draw_is_refused():
    wide = planted(f"top/child {i}" for i in range(20_000))
    layout = lay_out([("top", f"child {i}") for i in range(0, 20_000, 7)], KEY, wide)
    topics, points = records(layout, 1)
    for topic in (1, 2, 1000, len(layout.paths) - 1):
        assert region_of(layout, topic, topics, points) == ([topic], [])
    deep = planted(f"{a}/{b}" for a in range(3000) for b in ("x", *range(3000 * (a == 1))))
    with pytest.raises(InvalidScope, match="name fewer topics in it on the widest levels"):
        lay_out([("1", "7", "y", "z", "z", "z")], KEY, deep)


@pytest.mark.parametrize("topic", ["a//b", "", "/", "a/b/c/d/e/f/g"])
def test_a_taxonomy_of_what_are_no_topics_is_refused(topic: str):
    with pytest.raises(InvalidScope, match="taxonomy= holds what is no topic"):
        planted(["a", topic])
