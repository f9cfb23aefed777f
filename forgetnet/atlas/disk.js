"use strict";
// The hyperbolic plane as the unit disk; the same maths as disk.py, held together by a test.
// A point is a pair of numbers; a move by (u, v) carries the origin there.
const Disk = {
  // (z + w) / (1 + conj(w) z)
  move(x, y, u, v) {
    const below = 1 + u * x + v * y, off = u * y - v * x, size = below * below + off * off;
    const above = x + u, beside = y + v;
    return [(above * below + beside * off) / size, (beside * below - above * off) / size];
  },

  // Many points by the negative of (u, v): so that (u, v) comes to lie in the middle.
  centred(xs, ys, u, v, outX, outY) {
    for (let i = 0; i < xs.length; i++) {
      const x = xs[i], y = ys[i];
      const below = 1 - u * x - v * y, off = v * x - u * y, size = below * below + off * off;
      const above = x - u, beside = y - v;
      outX[i] = (above * below + beside * off) / size;
      outY[i] = (beside * below - above * off) / size;
    }
  },

  radius(x, y) { return 2 * Math.atanh(Math.min(Math.hypot(x, y), 1 - 1e-16)); },

  // The same direction, at most `most` from the origin.
  within(x, y, most) {
    const length = Math.hypot(x, y), limit = Math.tanh(most / 2);
    return length > limit ? [x * limit / length, y * limit / length] : [x, y];
  },

  // The focus for which the point w of the world is drawn at t: t (1 - conj(f) w) = w - f.
  focusFor(w, t) {
    const dx = w[0] - t[0], dy = w[1] - t[1];
    const px = t[0] * w[0] - t[1] * w[1], py = t[0] * w[1] + t[1] * w[0];
    const size = 1 - (t[0] * t[0] + t[1] * t[1]) * (w[0] * w[0] + w[1] * w[1]);
    return [(dx + px * dx + py * dy) / size, (dy + py * dx - px * dy) / size];
  },

  // The way from p to q: the point after a share of it.
  between(p, q, share) {
    const [x, y] = Disk.move(q[0], q[1], -p[0], -p[1]), length = Math.hypot(x, y);
    if (length < 1e-15) return q;
    const at = Math.tanh(Math.atanh(Math.min(length, 1 - 1e-16)) * share) / length;
    return Disk.move(x * at, y * at, p[0], p[1]);
  },

  // A half-plane is three points of the rim: its ends, and one between.
  arc(first, middle, last, u, v) {
    const out = [];
    for (const angle of [first, middle, last]) {
      const [x, y] = Disk.move(Math.cos(angle), Math.sin(angle), -u, -v), size = Math.hypot(x, y);
      out.push(x / size, y / size);
    }
    return out;
  },

  // Whether a point is inside: Re((z - a)/(z - b) conj((m - a)/(m - b))) > 0.
  holds(arc, x, y) {
    const q = Disk.ratio(arc, x, y), m = Disk.ratio(arc, arc[2], arc[3]);
    return q[0] * m[0] + q[1] * m[1] > 0;
  },

  ratio(arc, x, y) {
    const ax = x - arc[0], ay = y - arc[1], bx = x - arc[4], by = y - arc[5];
    const size = bx * bx + by * by;
    return [(ax * bx + ay * by) / size, (ay * bx - ax * by) / size];
  },

  // The circle that joins p and q at right angles to the rim: [centre x, y, radius], or null for
  // a straight line.
  circle(px, py, qx, qy) {
    const cross = px * qy - py * qx;
    if (Math.abs(cross) < 1e-9) return null;
    const p = (1 + px * px + py * py) / 2, q = (1 + qx * qx + qy * qy) / 2;
    const x = (p * qy - q * py) / cross, y = (q * px - p * qx) / cross;
    return [x, y, Math.hypot(px - x, py - y)];
  },
};
