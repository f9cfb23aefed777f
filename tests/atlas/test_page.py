"""The page in a Chromium: it draws, is moved, picks a cone, and does nothing else.

Run with ``pytest -m slow``; skipped where there is no Chromium on the path.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import Memory, Record
from forgetnet.atlas.chart import region_of
from forgetnet.atlas.disk import move
from tests.atlas.test_map import HOSTILE, KEY, TAXONOMY, TOPICS, memory_of, record

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        browser = importlib.import_module("browser")
    if browser.found() is None:
        pytest.skip("no Chromium on the path; apt install chromium")
    with browser.browser() as page:
        yield page
    sys.modules.pop("browser", None)


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    chromium.said.clear()
    chromium.asked.clear()
    yield chromium
    assert not chromium.said
    assert {url.partition(":")[0] for url in chromium.asked} <= {"file", "data"}


def drawn(page: Any) -> str:
    """What is on the first canvas."""
    told: str = page.run("document.getElementById('now').toDataURL()")
    return told


@pytest.fixture
def memory() -> Iterator[Memory]:
    with memory_of([record(i, TOPICS[i % 7], f"s{i % 3}") for i in range(70)]) as made:
        yield made


def test_the_maths_of_the_page_are_those_of_the_picture(page: Any, memory: Memory, tmp_path: Path):
    chart = memory.map().chart
    page.open(memory.map().save(tmp_path / "map.html"))
    focus = complex(chart.layout.place[-1])
    got = page.run(f"""(() => {{
      const world = readWorld(JSON.parse(document.getElementById("data").textContent));
      const x = new Float64Array(world.m), y = new Float64Array(world.m);
      Disk.centred(world.px, world.py, {focus.real!r}, {focus.imag!r}, x, y);
      return {{ at: Array.from(world.px, (v, i) => [v, world.py[i]]),
        moved: Array.from(x, (v, i) => [v, y[i]]),
        regions: Array.from({{ length: world.n }}, (_, i) => regionOf(world, i)) }};
    }})()""")
    at = np.array(got["at"]) @ [1, 1j]
    assert np.abs(at - chart.point).max() < 1e-12
    near = np.abs(move(chart.point, -focus)) < 0.999
    moved = np.array(got["moved"]) @ [1, 1j]
    assert np.abs(moved - move(chart.point, -focus))[near].max() < 1e-6
    for topic in range(1, len(chart.layout.paths)):
        region = region_of(chart.layout, topic, chart.topic, chart.point)
        assert sorted(got["regions"][topic]["wholes"]) == sorted(region.wholes)
        assert sorted(got["regions"][topic]["alone"]) == sorted(region.alone)


@pytest.mark.parametrize("taxonomy", [None, TAXONOMY])
def test_wherever_the_page_is_moved_to_the_drawn_cone_holds_its_subtree(
    page: Any, memory: Memory, tmp_path: Path, taxonomy: list[str] | None
):
    page.open(memory.map(taxonomy=taxonomy).save(tmp_path / "map.html"))
    wrong = page.run("""(() => {
      const world = readWorld(JSON.parse(document.getElementById("data").textContent));
      const x = new Float64Array(world.n), y = new Float64Array(world.n);
      let wrong = 0, seen = 0;
      for (let to = 0; to < world.n; to++) {
        Disk.centred(world.x, world.y, world.x[to], world.y[to], x, y);
        for (let i = 1; i < world.n; i++) {
          const under = underOf(world, i), { wholes, alone } = regionOf(world, i);
          const rim = (k) => world.rim.slice(3 * k, 3 * k + 3);
          const arcs = wholes.map((k) => Disk.arc(...rim(k), world.x[to], world.y[to]));
          for (let j = 0; j < world.n; j++) {
            if (Math.hypot(x[j], y[j]) > .9999) continue; // nothing can be told apart there
            const inside = alone.includes(j) || arcs.some((arc) => Disk.holds(arc, x[j], y[j]));
            seen++;
            if (inside !== Boolean(under[j])) wrong++;
          }
        }
      }
      return [wrong, seen];
    })()""")
    assert wrong[0] == 0 and wrong[1] > 500


def test_a_topic_is_found_picked_and_its_call_is_there_to_copy(
    page: Any, memory: Memory, tmp_path: Path
):
    page.open(memory.map(after=True, subject="s1").save(tmp_path / "map.html"))
    assert page.run("document.getElementById('said-left').textContent") == "after: 47"
    page.press("/")
    for sign in "health":
        page.press(sign)
    assert page.run("document.querySelectorAll('#found button').length") == 3
    page.press("Enter")
    page.settle()
    said = {
        name: page.run(f"document.getElementById('{name}').textContent")
        for name in ("chosen", "python", "shell", "said-left", "chosen-about")
    }
    assert said["chosen"] == "health" and said["said-left"] == "after: 50"
    assert said["python"] == 'memory.forget(topic="health")'
    assert said["shell"] == "forgetnet forget --topic health"
    assert said["chosen-about"].startswith("20 records here and below, 0 of them here")
    plan = memory.forget(topic="health", dry_run=True)
    assert len(plan.ids) == 20
    page.press("Escape")
    assert page.run("document.getElementById('card').hidden")


def test_it_can_be_used_by_keys_alone_and_by_the_mouse(page: Any, memory: Memory, tmp_path: Path):
    page.open(memory.map(taxonomy=TAXONOMY).save(tmp_path / "map.html"))
    page.run("document.getElementById('now').focus()")
    seen = [drawn(page)]
    for key in ("ArrowRight", "ArrowUp", "+", "+", "Enter"):
        page.press(key)
        seen.append(drawn(page))
    assert len(set(seen)) == len(seen)
    assert not page.run("document.getElementById('card').hidden")
    for key in ("Escape", "Home"):
        page.press(key)
    assert drawn(page) == seen[0]
    page.mouse("mousePressed", 480, 400, button="left", buttons=1, clickCount=1)
    for step in range(5):
        page.mouse("mouseMoved", 480 + 30 * step, 400, button="left", buttons=1)
    page.mouse("mouseReleased", 600, 400, button="left", clickCount=1)
    page.settle()
    dragged = drawn(page)
    page.mouse("mouseWheel", 600, 300, deltaX=0, deltaY=-300)
    page.settle()
    assert len({seen[0], dragged, drawn(page)}) == 3


def test_a_hostile_name_runs_nothing_and_its_calls_mean_it(page: Any, tmp_path: Path):
    records = [Record(name, f"i{i}", name, name) for i, name in enumerate(HOSTILE)]
    with memory_of(records) as memory:
        page.open(memory.map(texts=True, show_ids=True).save(tmp_path / "map.html"))
        for name in HOSTILE:
            top = name.partition("/")[0]
            told = page.run(f"""(() => {{
              const box = document.getElementById("search");
              box.value = shown({json.dumps(top)}, 20).replace("…", "");
              box.dispatchEvent(new Event("input"));
              document.querySelector("#found button").click();
              return document.getElementById("python").textContent;
            }})()""")
            scope = eval(told, {"memory": _Asked()})  # noqa: S307 - the call that is copied
            assert scope == top
    assert page.run("document.scripts.length") == 2


class _Asked:
    """Takes the call that a page gives, and says which topic it names."""

    def forget(self, *, topic: str) -> str:
        return topic


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("many", [0, 1, 20_000])
def test_it_draws_in_light_and_dark_whatever_there_is(
    page: Any, tmp_path: Path, many: int, dark: bool
):
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (many, 1))
    with Memory.open("memory://", encoder="vectors:2", key=KEY) as memory:
        if many:
            items = [Record(None, f"i{i}", topic=f"a/{i}", vector=v) for i, v in enumerate(vectors)]
            memory.add(items, progress=False)
        page.open(memory.map().save(tmp_path / "map.html"), dark=dark)
    pixel = page.run("""(() => {
      const canvas = document.getElementById("now"), c = canvas.getContext("2d");
      return Array.from(c.getImageData(canvas.width / 2 + 9, canvas.height / 2 + 60, 1, 1).data);
    })()""")
    assert (sum(pixel[:3]) < 3 * 60) == dark and pixel[3] == 255
    before = drawn(page)
    page.run("document.getElementById('theme').click()")
    page.settle()
    assert drawn(page) != before
