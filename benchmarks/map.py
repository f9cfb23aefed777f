"""What drawing a memory costs, and whether the page can be moved about in.

    python benchmarks/map.py [--records 100000] [--topics 1000] [--frames 60] [--keep FOLDER]

Processor seconds of the verb ``map`` and of each format, in turn, the least of three; sizes of the
files; and, where there is a Chromium, milliseconds of each frame while the page is dragged about:
what the page's own code takes, and from frame to frame. That Chromium draws without a graphics
card, so a usual one is quicker.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from browser import browser, found
from timing import cost, machine, percentile, tell

from forgetnet import Memory, Record
from forgetnet.atlas.picture import Map

MOST = 5.0
"""Seconds of a processor that the verb and one format may take."""

DRAG = """
(async () => {
  const canvas = document.getElementById("now"), box = canvas.getBoundingClientRect();
  const cx = box.width / 2, cy = box.height / 2, own = [], whole = [];
  const paint = Painter.prototype.draw;
  let spent = 0;
  Painter.prototype.draw = function (scene) {
    const start = performance.now();
    paint.call(this, scene);
    this.context.getImageData(0, 0, 1, 1); // so that what was queued is drawn
    spent += performance.now() - start;
  };
  const fire = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, clientX: box.left + x, clientY: box.top + y, bubbles: true, isPrimary: true }));
  canvas.setPointerCapture = () => {};
  fire("pointerdown", cx, cy);
  let before = performance.now();
  for (let i = 1; i <= FRAMES; i++) {
    const turn = i / FRAMES * 4 * Math.PI, away = 240 * i / FRAMES;
    spent = 0;
    fire("pointermove", cx + away * Math.cos(turn), cy + away * Math.sin(turn));
    await new Promise((done) => requestAnimationFrame(done));
    const now = performance.now();
    own.push(spent); whole.push(now - before); before = now;
  }
  fire("pointerup", cx, cy);
  Painter.prototype.draw = paint;
  return [own, whole];
})()
"""


def filled(records: int, topics: int) -> Memory:
    """Make a memory of texts by 200 subjects under topics of three levels, some much larger."""
    rng = random.Random(0)
    names = [f"field {i % 12}/matter {i % 97}/case {i}" for i in range(topics)]
    weights = [1.0 / (1 + i) ** 0.6 for i in range(topics)]
    chosen = rng.choices([None, *names], [weights[0], *weights], k=records)
    memory = Memory.open("memory://", encoder="vectors:8", key=bytes(range(32)))
    vectors = np.random.default_rng(0).normal(size=(records, 8)).astype(np.float32)
    items = [
        Record(f"text {i}", f"id {i}", f"subject {int(rng.paretovariate(0.6)) % 200}", topic)
        for i, topic in enumerate(chosen)
    ]
    memory.add(items, vectors=vectors, progress=False)
    return memory


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--records", type=int, default=100_000)
    words.add_argument("--topics", type=int, default=1_000)
    words.add_argument("--frames", type=int, default=60)
    words.add_argument("--keep", type=Path)
    given = words.parse_args()
    tell(f"storing {given.records:,} records")
    with filled(given.records, given.topics) as memory, tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        drawn: list[Map] = []
        scope = {"topic": "field 3", "after": True}
        steps = {
            "memory.map(topic=, after=True)": lambda: drawn.append(memory.map(**scope)),
            **{
                f"save .{ending}": lambda ending=ending: drawn[-1].save(folder / f"map.{ending}")
                for ending in ("svg", "png", "html")
            },
        }
        spent = {name: min(cost(step)[1] for _ in range(3)) for name, step in steps.items()}
        print(f"{given.records:,} records, {given.topics:,} topics\n")
        print(f"{'step':34} processor s")
        for name, seconds in spent.items():
            print(f"{name:34} {seconds:11.2f}")
        for path in sorted(folder.glob("map.*")):
            print(f"{path.name:34} {path.stat().st_size / 1e6:8.2f} MB")
        if found() is None:
            print("no Chromium here: the page was not tried")
        else:
            single = memory.map(topic="field 3").save(folder / "single.html")
            for path in (single, folder / "map.html"):
                frames(path, given.frames)
    print(f"\n{machine(['numpy', 'matplotlib'])}")
    verb, *formats = spent.values()
    return int(verb + max(formats) >= MOST)


def frames(path: Path, count: int) -> None:
    """Drag a page about, and print how long its frames take."""
    with browser() as page:
        page.open(path)
        own, whole = page.run(DRAG.replace("FRAMES", str(count)))
    print(f"\n{path.name}: {count} frames of a drag, ms: median, 95%, most")
    for name, times in (("drawing", own), ("frame to frame", whole)):
        tail = percentile(times, 0.95)
        print(f"{name:34} {statistics.median(times):7.1f} {tail:7.1f} {max(times):7.1f}")


if __name__ == "__main__":
    sys.exit(main())
