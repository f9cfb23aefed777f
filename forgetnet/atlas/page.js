"use strict";
// What is clicked, typed and said. All names are set as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent), world = readWorld(data);
  const MOST = 21; // radius of the farthest focus
  const painters = [new Painter($("now"), world), new Painter($("left"), world)];
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const planned = { region: data.region, goes: world.planned, chosen: 0, count: sum(world.planned) };
  let focus = [world.x[data.focus], world.y[data.focus]];
  let picked = planned, chosen = 0, drawing = false, flight = null;

  function sum(flags) { let n = 0; for (const flag of flags) n += flag; return n; }

  function pathOf(topic) {
    const names = [];
    for (let i = topic; i; i = world.parent[i]) names.unshift(world.name[i]);
    return names.join("/");
  }

  function leftOf(goes) {
    const left = new Array(world.n).fill(0);
    for (let j = 0; j < world.m; j++) if (!goes[j]) left[world.topicOf[j]]++;
    for (let i = world.n - 1; i > 0; i--) left[world.parent[i]] += left[i];
    return left;
  }

  function paint() {
    drawing = false;
    const scene = { focus, region: picked.region, goes: picked.goes, chosen, left: picked.left };
    painters[0].draw({ ...scene, gone: false });
    if (!$("beside").hidden) painters[1].draw({ ...scene, gone: true });
  }

  function redraw() {
    if (!drawing) { drawing = true; requestAnimationFrame(paint); }
  }

  function look(x, y) {
    focus = Disk.within(x, y, MOST);
    $("hover").hidden = true;
    redraw();
  }

  function fly(to) {
    const from = focus, start = performance.now(), mine = flight = {};
    const target = Disk.within(to[0], to[1], MOST);
    if (calm.matches) { look(...target); return; }
    const step = (now) => {
      if (flight !== mine) return;
      const share = Math.min(1, (now - start) / 500), eased = share * share * (3 - 2 * share);
      look(...Disk.between(from, target, eased));
      if (share < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // -- choosing what would go

  function choose(topic, { move = false } = {}) {
    chosen = topic;
    if (topic) {
      const inside = underOf(world, topic), goes = new Uint8Array(world.m);
      for (let j = 0; j < world.m; j++) goes[j] = inside[world.topicOf[j]];
      picked = { region: regionOf(world, topic), goes, count: sum(goes) };
    } else picked = planned;
    picked.left = leftOf(picked.goes);
    if (move && topic) fly([world.x[topic], world.y[topic]]);
    say();
    redraw();
  }

  const number = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  // Signs that draw nothing, or turn around what is beside them, are written by number.
  const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu;
  const coded = (sign) => {
    const code = sign.codePointAt(0).toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, "0")}` : `\\u${code.padStart(4, "0")}`;
  };
  const literal = (text) => JSON.stringify(text).replace(HIDDEN, coded);
  const quoted = (text) => /^[\w@%+=:,.\/-]+$/.test(text) ? text
    : text.search(HIDDEN) < 0 ? `'${text.replaceAll("'", `'"'"'`)}'`
    : `$'${text.replace(/[\\']/g, "\\$&").replace(HIDDEN, coded)}'`;

  function say() {
    $("card").hidden = !chosen;
    $("about").textContent = chosen ? "" : data.about;
    const share = `now: ${world.m.toLocaleString("en")}`, rest = world.m - picked.count;
    $("said-now").textContent = $("beside").hidden ? "" : share;
    $("said-left").textContent = `after: ${rest.toLocaleString("en")}`;
    if (!chosen) return;
    const path = pathOf(chosen), own = world.own[chosen];
    $("chosen").textContent = shown(path, 400);
    $("chosen-about").textContent = `${number(picked.count, "record")} here and below, ${own.toLocaleString("en")} of them here`
      + (picked.region.wholes.length === 1 && !picked.region.alone.length ? "." : "; topics near it share its part of the disk, so its region is drawn in pieces.");
    const store = data.store === null ? "" : ` --store ${quoted(data.store)}`;
    $("python").textContent = `memory.forget(topic=${literal(path)})`;
    $("shell").textContent = path.includes("\0") ? "A shell can't say a name with NUL."
      : `forgetnet forget --topic ${quoted(path)}${store}`;
    $("up").disabled = !world.parent[chosen];
  }

  // -- moving

  function near(steps, at = [0, 0]) {
    flight = null;
    if (steps > 0) {
      const share = Math.tanh(.22 * steps), target = Disk.move(at[0] * share, at[1] * share, ...focus);
      look(...target);
    } else {
      const away = Disk.radius(...focus), length = Math.hypot(...focus);
      const k = length ? Math.tanh(Math.max(0, away + .45 * steps) / 2) / length : 0;
      look(focus[0] * k, focus[1] * k);
    }
  }

  // Nearer to what is picked, or to the topic that is nearest and not yet in the middle.
  function ahead() {
    const to = chosen || painters[0].middle(1, .1);
    if (to) fly(Disk.between(focus, [world.x[to], world.y[to]], .4));
  }

  function push(x, y) {
    flight = null;
    look(...Disk.move(x, y, ...focus));
  }

  painters.forEach((painter) => {
    const canvas = painter.canvas;
    let grip = null, moved = 0, pinch = 0;
    const pointers = new Map();
    const spot = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const inDisk = ([x, y]) => Disk.within((x - painter.cx) / painter.R, (painter.cy - y) / painter.R, 3.5);
    canvas.addEventListener("pointerdown", (event) => {
      flight = null; moved = 0;
      pointers.set(event.pointerId, spot(event));
      canvas.setPointerCapture(event.pointerId);
      grip = Disk.move(...inDisk(spot(event)), ...focus);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (pointers.has(event.pointerId)) {
        const before = pointers.get(event.pointerId), now = spot(event);
        moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
        pointers.set(event.pointerId, now);
        if (pointers.size === 2) {
          const [a, b] = [...pointers.values()], wide = Math.hypot(a[0] - b[0], a[1] - b[1]);
          if (pinch) near(4 * Math.log(wide / pinch), inDisk([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]));
          pinch = wide;
        } else if (moved > 3) {
          canvas.classList.add("moving");
          look(...Disk.focusFor(grip, inDisk(now)));
        }
        $("hover").hidden = true;
      } else hover(painter, spot(event));
    });
    const release = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      pinch = 0;
      for (const left of pointers.values()) grip = Disk.move(...inDisk(left), ...focus);
      canvas.classList.remove("moving");
      if (event.type === "pointerup" && moved <= 3) {
        const found = painter.at(...spot(event));
        choose(found ? found.topic : 0);
      }
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => { $("hover").hidden = true; });
    canvas.addEventListener("dblclick", () => { if (chosen) choose(chosen, { move: true }); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const steps = -event.deltaY * (event.deltaMode === 1 ? .33 : .01);
      near(Math.max(-3, Math.min(3, steps)), inDisk(spot(event)));
    }, { passive: false });
  });

  function hover(painter, [x, y]) {
    const found = painter.at(x, y), box = $("hover");
    painter.canvas.classList.toggle("over", Boolean(found && found.topic));
    box.hidden = !found;
    if (!found) return;
    const lines = [found.topic ? shown(pathOf(found.topic), 200) : "no topic"];
    if (found.record === undefined) lines.push(`${number(world.total[found.topic], "record")} here and below`);
    else {
      const colour = world.colour[found.record], { texts, ids } = data.records;
      lines.push(colour < 8 && data.subjects[colour] ? shown(data.subjects[colour][0], 100) : "another subject, or nobody");
      if (picked.goes[found.record]) lines.push("would go");
      if (ids) lines.push(shown(ids[found.record], 100));
      if (texts && texts[found.record] !== null) lines.push(texts[found.record].slice(0, 600));
    }
    box.textContent = lines.join("\n");
    const inset = painter.canvas.getBoundingClientRect().left - $("panes").getBoundingClientRect().left;
    const left = Math.min(x + inset + 14, $("panes").clientWidth - box.offsetWidth - 8);
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${Math.min(y + 14, $("panes").clientHeight - box.offsetHeight - 8)}px`;
  }

  // -- keys and buttons

  $("now").addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => push(-.12, 0), ArrowRight: () => push(.12, 0),
      ArrowUp: () => push(0, .12), ArrowDown: () => push(0, -.12),
      "+": ahead, "=": ahead, "-": () => near(-1),
      Enter: () => choose(painters[0].middle(1)), Home: () => fly([0, 0]),
    }[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(); }
  });
  document.addEventListener("keydown", (event) => {
    const typing = document.activeElement === $("search");
    if (event.key === "/" && !typing) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape") { if (typing) { $("search").value = ""; find(); } $("now").focus(); choose(0); }
  });
  $("home").onclick = () => fly([0, 0]);
  $("nearer").onclick = ahead;
  $("farther").onclick = () => near(-1.5);
  $("centre").onclick = () => choose(chosen, { move: true });
  $("up").onclick = () => choose(world.parent[chosen], { move: true });
  $("clear").onclick = () => { choose(0); $("now").focus(); };
  $("compare").onchange = () => { $("beside").hidden = !$("compare").checked; say(); redraw(); };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.onclick = async () => {
      const code = $(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch { // not allowed in a frame: mark it, so that Ctrl+C takes it
        window.getSelection().selectAllChildren(code);
        button.textContent = "Marked";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
  }

  // -- search

  let keys = null; // paths as they are shown, and as they are, in small letters; made when first needed

  function find() {
    const asked = $("search").value.trim().toLocaleLowerCase(), list = $("found");
    list.replaceChildren();
    if (!asked) return;
    keys ??= world.name.map((_, i) => `${shown(pathOf(i), 400)}\n${pathOf(i)}`.toLocaleLowerCase());
    for (const i of world.ranked) {
      if (list.childElementCount >= 30) break;
      if (!keys[i].includes(asked)) continue;
      const button = document.createElement("button"), name = document.createElement("span"), count = document.createElement("span");
      name.textContent = shown(pathOf(i), 200); count.textContent = world.total[i].toLocaleString("en");
      button.type = "button";
      button.append(name, count);
      button.onclick = () => choose(i, { move: true });
      const item = document.createElement("li");
      item.append(button);
      list.append(item);
    }
    if (!list.childElementCount) list.textContent = "No topic has this in its path.";
  }
  $("search").oninput = find;
  $("search").onkeydown = (event) => {
    if (event.key === "Enter") $("found").querySelector("button")?.click();
    if (event.key === "ArrowDown") { event.preventDefault(); $("found").querySelector("button")?.focus(); }
  };
  $("found").onkeydown = (event) => {
    const item = document.activeElement.closest("li");
    const to = { ArrowDown: item?.nextElementSibling, ArrowUp: item?.previousElementSibling }[event.key];
    if (to) { event.preventDefault(); to.querySelector("button").focus(); }
  };

  // -- what is said once

  function legend() {
    const rows = data.subjects.map(([name, count], i) => [`s${i}`, name, count]);
    const [others, theirs] = data.others;
    if (others) rows.push(["grey", others === 1 ? "one more" : `${others.toLocaleString("en")} more`, theirs]);
    if (data.nobodys) rows.push(["grey", "nobody's", data.nobodys]);
    for (const [ink, name, count] of rows.filter((row) => row[2])) {
      const item = document.createElement("li"), dot = document.createElement("i");
      const said = document.createElement("span"), n = document.createElement("span");
      dot.style.background = `var(--${ink})`;
      said.textContent = shown(name, 100); n.textContent = count.toLocaleString("en");
      item.append(dot, said, n);
      $("legend").append(item);
    }
  }

  function theme() {
    const style = getComputedStyle(document.documentElement), ink = {};
    for (const name of ["paper", "plane", "rim", "ink", "soft", "branch", "grey", "gone"]) ink[name] = style.getPropertyValue(`--${name}`).trim();
    for (let i = 0; i < 8; i++) ink[`s${i}`] = style.getPropertyValue(`--s${i}`).trim();
    painters.forEach((painter) => painter.theme(ink));
    const isDark = (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    $("theme").textContent = isDark ? "Light" : "Dark";
    redraw();
  }
  $("theme").onclick = () => {
    document.documentElement.dataset.theme = $("theme").textContent.toLowerCase();
    theme();
  };
  dark.addEventListener("change", theme);

  $("title").textContent = data.title;
  $("note").textContent = data.note;
  $("now").setAttribute("aria-label", data.title);
  $("compare").checked = data.after;
  $("beside").hidden = !data.after;
  planned.left = leftOf(planned.goes);
  legend();
  say();
  theme();
  new ResizeObserver(redraw).observe($("panes"));
})();
