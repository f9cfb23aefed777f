"use strict";
// Draws the world on a canvas, as seen with a focus in the middle. Knows nothing of what is clicked.

// What came with the page, as arrays.
function readWorld(data) {
  const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const topics = data.topics, n = topics.name.length, m = data.records.count;
  const topicOf = new Uint32Array(bytes(data.records.topic).buffer);
  const spot = new Uint16Array(bytes(data.records.spot).buffer);
  const world = {
    n, m, topicOf, data,
    name: topics.name, parent: topics.parent, own: topics.own, total: topics.total, rim: topics.rim,
    x: Float64Array.from(topics.x), y: Float64Array.from(topics.y),
    colour: bytes(data.records.colour), planned: bytes(data.records.goes),
    px: new Float64Array(m), py: new Float64Array(m),
    depth: new Uint8Array(n), children: Array.from({ length: n }, () => []),
  };
  for (let i = 1; i < n; i++) {
    world.depth[i] = world.depth[topics.parent[i]] + 1;
    world.children[topics.parent[i]].push(i);
  }
  const wide = Math.cosh(data.reach) - 1;
  for (let j = 0; j < m; j++) {
    const r = Math.tanh(Math.acosh(1 + (spot[2 * j] + .5) / 65536 * wide) / 2);
    const turn = 2 * Math.PI * spot[2 * j + 1] / 65536, t = topicOf[j];
    [world.px[j], world.py[j]] =
      Disk.move(r * Math.cos(turn), r * Math.sin(turn), world.x[t], world.y[t]);
  }
  world.ranked = Array.from({ length: n - 1 }, (_, i) => i + 1)
    .sort((a, b) => world.total[b] - world.total[a] || a - b);
  return world;
}

// Which topics are this one or hang under it.
function underOf(world, topic) {
  const inside = new Uint8Array(world.n);
  inside[topic] = 1;
  for (let i = topic + 1; i < world.n; i++) inside[i] = inside[world.parent[i]];
  return inside;
}

// Half-planes that go with a topic and hold nothing else; as region_of in chart.py.
function regionOf(world, topic) {
  const wholes = [], alone = [], ahead = [topic];
  for (let asked = 0; ahead.length; asked++) {
    const here = ahead.pop();
    if (here && asked < 256 && !hasStrangers(world, here)) wholes.push(here);
    else { alone.push(here); for (const child of world.children[here]) ahead.push(child); }
  }
  return { wholes, alone };
}

function hasStrangers(world, topic) {
  const inside = underOf(world, topic), arc = Disk.arc(...world.rim.slice(3 * topic, 3 * topic + 3), 0, 0);
  for (let i = 0; i < world.n; i++) if (!inside[i] && Disk.holds(arc, world.x[i], world.y[i])) return true;
  for (let j = 0; j < world.m; j++) if (!inside[world.topicOf[j]] && Disk.holds(arc, world.px[j], world.py[j])) return true;
  return false;
}

const COLOURS = 9, DENSE = 3000, NAMES = 70;

class Painter {
  constructor(canvas, world) {
    this.canvas = canvas;
    this.world = world;
    this.context = canvas.getContext("2d");
    this.x = new Float64Array(world.n); this.y = new Float64Array(world.n); // topics, in the disk
    this.rx = new Float64Array(world.m); this.ry = new Float64Array(world.m); // records, likewise
    this.size = new Float64Array(world.n); // pixels of radius of each topic's own disk
    this.widths = new Map();
    this.reach = Math.tanh(world.data.reach / 2) ** 2;
  }

  theme(ink) {
    this.ink = ink;
    this.rgb = Array.from({ length: COLOURS }, (_, i) => packed(i < 8 ? ink[`s${i}`] : ink.grey));
    this.red = packed(ink.gone);
  }

  fit() {
    const box = this.canvas.getBoundingClientRect(), dpr = Math.min(window.devicePixelRatio || 1, 2);
    this.dpr = dpr; this.w = box.width; this.h = box.height;
    const w = Math.max(1, Math.round(box.width * dpr)), h = Math.max(1, Math.round(box.height * dpr));
    if (this.canvas.width !== w || this.canvas.height !== h) { this.canvas.width = w; this.canvas.height = h; }
    this.cx = box.width / 2; this.cy = box.height / 2;
    const side = box.width > 700 ? 130 : box.width > 420 ? 96 : 16;
    this.R = Math.max(40, Math.min(box.width / 2 - side, box.height / 2 - 44));
  }

  // scene: { focus: [u, v], region, goes (by record), gone (draw what is left), chosen }
  draw(scene) {
    const c = this.context, world = this.world, [u, v] = scene.focus;
    this.fit();
    Disk.centred(world.x, world.y, u, v, this.x, this.y);
    Disk.centred(world.px, world.py, u, v, this.rx, this.ry);
    for (let i = 0; i < world.n; i++) {
      const square = this.x[i] ** 2 + this.y[i] ** 2;
      this.size[i] = this.R * Math.sqrt(this.reach) * Math.max(0, 1 - square) / (1 - this.reach * square);
    }
    c.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    c.clearRect(0, 0, this.w, this.h);
    c.fillStyle = this.ink.plane; c.strokeStyle = this.ink.rim; c.lineWidth = 1.2;
    c.beginPath(); c.arc(this.cx, this.cy, this.R, 0, 7); c.fill(); c.stroke();
    this.barred = false;
    this.region(scene, true);
    this.branches(scene);
    this.records(scene);
    this.region(scene, false);
    this.names(scene);
  }

  // How much nearer to the middle a topic's circle is drawn than the topic.
  pull(i) { return (1 - this.reach) / (1 - this.reach * (this.x[i] ** 2 + this.y[i] ** 2)); }

  sx(x) { return this.cx + this.R * x; }
  sy(y) { return this.cy - this.R * y; }

  region(scene, filled) {
    const c = this.context, world = this.world;
    if (scene.gone && !filled) return;
    c.strokeStyle = this.ink.gone; c.fillStyle = this.ink.gone;
    c.setLineDash(scene.gone ? [4, 4] : []); c.lineWidth = scene.gone ? 1.2 : 1.7;
    for (const i of scene.region.wholes) {
      const arc = Disk.arc(...world.rim.slice(3 * i, 3 * i + 3), ...scene.focus);
      c.beginPath();
      this.border(arc);
      if (scene.gone || !filled) c.stroke();
      else {
        c.arc(this.cx, this.cy, this.R, -Math.atan2(arc[5], arc[4]), -Math.atan2(arc[1], arc[0]), false);
        c.globalAlpha = .13; c.fill(); c.globalAlpha = 1;
      }
    }
    if (!filled) {
      const { wholes, alone } = scene.region;
      const ringed = alone.filter((i, first) => i && (this.size[i] > 1.2 || !first));
      if (!alone.length) ringed.push(...wholes.slice(0, 1).filter((i) => this.size[i] < 2));
      for (const i of ringed) {
        const k = world.own[i] ? this.pull(i) : 1;
        c.beginPath();
        c.arc(this.sx(this.x[i] * k), this.sy(this.y[i] * k), world.own[i] ? Math.max(this.size[i] + 4, 8) : 8, 0, 7);
        c.stroke();
      }
    }
    c.setLineDash([]);
  }

  // The border from the first end to the last.
  border(arc) {
    this.join(arc[0], arc[1], arc[4], arc[5], true);
  }

  // The geodesic from one point of the disk to another.
  join(px, py, qx, qy, begin) {
    const c = this.context, circle = Disk.circle(px, py, qx, qy);
    if (begin) c.moveTo(this.sx(px), this.sy(py));
    if (!circle || circle[2] > 400) { c.lineTo(this.sx(qx), this.sy(qy)); return; }
    const [x, y, r] = circle, from = Math.atan2(-(py - y), px - x), to = Math.atan2(-(qy - y), qx - x);
    const turn = ((to - from) % (2 * Math.PI) + 3 * Math.PI) % (2 * Math.PI) - Math.PI;
    c.arc(this.sx(x), this.sy(y), r * this.R, from, to, turn < 0);
  }

  branches(scene) {
    const c = this.context, world = this.world;
    c.strokeStyle = this.ink.branch; c.lineWidth = 1;
    c.beginPath();
    let drawn = 0;
    for (let i = 1; i < world.n && drawn < 4000; i++) {
      const p = world.parent[i];
      if (scene.gone && !scene.left[i]) continue;
      if (Math.abs(this.x[i] - this.x[p]) + Math.abs(this.y[i] - this.y[p]) < 3 / this.R) continue;
      if (this.size[i] < .25 && this.size[p] < 2) continue;
      this.join(this.x[p], this.y[p], this.x[i], this.y[i], true);
      drawn++;
    }
    c.stroke();
    c.fillStyle = this.ink.rim;
    for (let i = 0; i < world.n; i++) {
      const size = this.size[i];
      if (size < 1.2 || (scene.gone && i && !scene.left[i])) continue;
      const k = this.pull(i);
      c.beginPath();
      if (world.own[i]) { c.arc(this.sx(this.x[i] * k), this.sy(this.y[i] * k), size, 0, 7); c.stroke(); }
      else { c.arc(this.sx(this.x[i]), this.sy(this.y[i]), Math.min(2.4, size / 2), 0, 7); c.fill(); }
    }
  }

  records(scene) {
    const world = this.world, near = Array.from({ length: COLOURS }, () => []), crossed = [];
    const dense = world.m > DENSE, far = [], deep = [];
    for (let j = 0; j < world.m; j++) {
      const goes = scene.goes[j];
      if (goes && scene.gone) continue;
      const size = this.size[world.topicOf[j]];
      if (dense && size < 1.2) deep.push(j);
      else if (dense && size < 40 + world.own[world.topicOf[j]] / 40) far.push(j);
      else if (goes) crossed.push(j);
      else near[world.colour[j]].push(j);
    }
    if (deep.length) this.bars(deep, scene);
    if (far.length) this.pixels(far, scene);
    this.dots(near);
    this.crosses(crossed);
  }

  dots(near) {
    const c = this.context, world = this.world;
    for (const i of [8, 0, 1, 2, 3, 4, 5, 6, 7]) {
      if (!near[i].length) continue;
      c.fillStyle = i < 8 ? this.ink[`s${i}`] : this.ink.grey;
      c.beginPath();
      for (const j of near[i]) {
        const x = this.sx(this.rx[j]), y = this.sy(this.ry[j]);
        const r = Math.min(4.2, Math.max(1, this.size[world.topicOf[j]] * .13));
        c.moveTo(x + r, y); c.arc(x, y, r, 0, 7);
      }
      c.fill();
    }
  }

  crosses(crossed) {
    const c = this.context, world = this.world;
    c.strokeStyle = this.ink.gone; c.lineWidth = 1.6; c.lineCap = "round";
    c.beginPath();
    for (const j of crossed) {
      const x = this.sx(this.rx[j]), y = this.sy(this.ry[j]);
      const r = Math.min(3.6, Math.max(1, this.size[world.topicOf[j]] * .11));
      c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r);
    }
    c.stroke();
  }

  // Records too deep to be seen, counted around the rim in bars as long as the root of their number.
  bars(deep, scene) {
    const c = this.context, bins = Math.round(2 * Math.PI * this.R / 2.4), step = 2 * Math.PI / bins;
    const table = new Uint32Array(bins * 10), sums = new Uint32Array(bins);
    for (const j of deep) {
      const turn = Math.atan2(this.ry[j], this.rx[j]) / (2 * Math.PI) + 1;
      const bin = Math.min(bins - 1, Math.floor(turn % 1 * bins));
      sums[bin]++;
      table[10 * bin + (scene.goes[j] ? 9 : this.world.colour[j])]++;
    }
    let most = 0;
    for (const sum of sums) if (sum > most) most = sum;
    const lines = Array.from({ length: 10 }, () => []);
    for (let i = 0; i < bins; i++) {
      if (!sums[i]) continue;
      let best = 0;
      for (let k = 1; k < 10; k++) if (table[10 * i + k] > table[10 * i + best]) best = k;
      lines[best].push([(i + .5) * step, 2 + 14 * Math.sqrt(sums[i] / most)]);
    }
    c.lineWidth = 2; c.lineCap = "butt";
    lines.forEach((found, k) => {
      c.strokeStyle = k < 8 ? this.ink[`s${k}`] : k < 9 ? this.ink.grey : this.ink.gone;
      c.beginPath();
      for (const [angle, long] of found) {
        const x = Math.cos(angle), y = -Math.sin(angle), from = this.R + 2, to = from + long;
        c.moveTo(this.cx + from * x, this.cy + from * y); c.lineTo(this.cx + to * x, this.cy + to * y);
      }
      c.stroke();
    });
    this.barred = true;
  }

  // Many records at once: a pixel or four each, the darker the more of them fall on it.
  pixels(far, scene) {
    const { width, height } = this.canvas, dpr = this.dpr, own = this.world.own;
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.flat = new Uint32Array(this.image.data.buffer);
      this.count = new Uint16Array(width * height);
      this.sheet = document.createElement("canvas");
      this.sheet.width = width; this.sheet.height = height;
    }
    const flat = this.flat, count = this.count, cx = this.cx * dpr, cy = this.cy * dpr, R = this.R * dpr;
    flat.fill(0); count.fill(0);
    for (const j of far) {
      const x = Math.round(cx + R * this.rx[j]), y = Math.round(cy - R * this.ry[j]);
      if (x < 0 || y < 0 || x >= width - 1 || y >= height - 1) continue;
      const at = y * width + x;
      const strength = ++count[at] > 3 ? 0xff000000 : count[at] > 1 ? 0xd0000000 : 0xa0000000;
      const ink = (scene.goes[j] ? this.red : this.rgb[this.world.colour[j]]) | strength;
      flat[at] = ink;
      const t = this.world.topicOf[j], size = this.size[t] * dpr;
      if (own[t] * 5 < Math.PI * size * size) { flat[at + 1] = ink; flat[at + width] = ink; flat[at + width + 1] = ink; }
    }
    this.sheet.getContext("2d").putImageData(this.image, 0, 0);
    this.context.drawImage(this.sheet, 0, 0, this.w, this.h);
  }

  // Names, the largest topics first, where no other name is.
  names(scene) {
    const c = this.context, world = this.world, boxes = [], middle = this.middle();
    const first = world.depth[middle] + 1;
    let drawn = 0, tried = 0;
    const one = (i) => {
      const size = this.size[i], chosen = i === scene.chosen;
      if (size < (world.depth[i] <= first ? 1 : 3) && !chosen) return;
      if (scene.gone && !scene.left[i]) return;
      tried++;
      const bold = world.depth[i] <= first, letters = Math.min(15, 11 + size / 14);
      const count = scene.gone ? scene.left[i] : world.total[i];
      const text = `\u2068${shown(world.name[i], 26)}\u2069 · ${count.toLocaleString("en")}`;
      c.font = `${bold || chosen ? 600 : 400} ${letters.toFixed(1)}px system-ui, sans-serif`;
      const wide = this.measure(text, c.font), square = Math.hypot(this.x[i], this.y[i]);
      let x = this.sx(this.x[i]), y = this.sy(this.y[i]), align = "center";
      if (square > .8) {
        const k = (this.R + (this.barred ? 26 : 10)) / (this.R * square);
        x = this.cx + this.R * this.x[i] * k; y = this.cy - this.R * this.y[i] * k;
        align = this.x[i] >= 0 ? "left" : "right";
      } else y += (world.own[i] ? Math.max(size, 4) : 4) + letters * .9;
      let left = align === "center" ? x - wide / 2 : align === "left" ? x : x - wide;
      const over = Math.max(0, left + wide + 6 - this.w) - Math.max(0, 6 - left);
      if (Math.abs(over) < 80) { left -= over; x -= over; }
      const box = [left - 3, y - letters * .75, left + wide + 3, y + letters * .75];
      if (box[0] < 2 || box[2] > this.w - 2 || box[1] < 2 || box[3] > this.h - 2) return;
      if (boxes.some((b) => box[0] < b[2] && b[0] < box[2] && box[1] < b[3] && b[1] < box[3])) return;
      boxes.push(box);
      c.textAlign = align; c.textBaseline = "middle"; c.lineJoin = "round";
      c.strokeStyle = square > .8 ? this.ink.paper : this.ink.plane; c.lineWidth = 3.5;
      c.strokeText(text, x, y);
      c.fillStyle = chosen ? this.ink.gone : bold ? this.ink.ink : this.ink.soft;
      c.fillText(text, x, y);
      drawn++;
    };
    if (scene.chosen) one(scene.chosen);
    for (const i of world.ranked) {
      if (i !== scene.chosen) one(i);
      if (drawn > NAMES || tried > 6 * NAMES) break;
    }
  }

  measure(text, font) {
    const key = font + text;
    let wide = this.widths.get(key);
    if (wide === undefined) {
      if (this.widths.size > 5000) this.widths.clear();
      wide = this.context.measureText(text).width;
      this.widths.set(key, wide);
    }
    return wide;
  }

  // The topic nearest the middle, from number `first` on and at least `from` away.
  middle(first = 0, from = 0) {
    let best = 0, least = Infinity;
    for (let i = first; i < this.world.n; i++) {
      const away = this.x[i] ** 2 + this.y[i] ** 2;
      if (away < least && away >= from * from) { least = away; best = i; }
    }
    return best;
  }

  // What is under a pixel: { topic } or { record, topic }, or null.
  at(sx, sy) {
    const x = (sx - this.cx) / this.R, y = (this.cy - sy) / this.R, world = this.world;
    let best = null, least = (7 / this.R) ** 2;
    for (let j = 0; j < world.m; j++) {
      const away = (this.rx[j] - x) ** 2 + (this.ry[j] - y) ** 2;
      if (away < least && this.size[world.topicOf[j]] > 4) { least = away; best = { record: j, topic: world.topicOf[j] }; }
    }
    if (best) return best;
    for (let i = 1; i < world.n; i++) {
      const grip = Math.max(this.size[i], 9) / this.R;
      const away = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (away < grip * grip && (!best || away < least)) { least = away; best = { topic: i }; }
    }
    return best;
  }
}

// A name as one short line, without signs that draw nothing or turn the rest around.
function shown(name, longest) {
  const line = name.slice(0, 8 * longest).replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, " ")
    .replace(/[\p{Cf}\p{Co}\p{Cn}]/gu, (sign) => "\u200c\u200d".includes(sign) ? sign : "").trim();
  const signs = Array.from(line);
  return (signs.length > longest || name.length > 8 * longest ? signs.slice(0, longest - 1).join("") + "…" : line) || "□";
}

// #rrggbb as a pixel without its strength.
function packed(colour) {
  const number = parseInt(colour.slice(1), 16);
  return (number & 255) << 16 | number & 0xff00 | number >> 16;
}
