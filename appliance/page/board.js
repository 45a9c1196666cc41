// The boot board: a grid of which only what is in sight exists, however many machines there are.

import { el, byId, say, sayName, shown } from "./dom.js";
import { brief, long, since } from "./clock.js";
import { store, setFilter, MOODS, GLYPHS, WORDS } from "./store.js";

const MARGIN = 6; // rows beyond either end of what is in sight
const grid = byId("board");
const rows = byId("rows");
const drawn = new Map(); // by machine
const spare = [];
let sizes = { plain: 36, line: 19, pad: 8, width: 800, font: "13.5px sans-serif" };
let tops = [0]; // where each reasoned row begins; the last one is where the plain ones begin
let chosen = null; // a machine's name
let openMachine = () => {};

/** Set up; `open` is called with a machine's name. */
export function setUpBoard(open) {
  openMachine = open;
  new ResizeObserver(measure).observe(grid);
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);
  grid.addEventListener("keydown", moved);
  grid.addEventListener("focus", () => { if (!chosen && store.view.length) choose(store.view[0].name, { scroll: false }); });
  rows.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    choose(row.dataset.machine, { scroll: false });
    grid.focus({ preventScroll: true });
    openMachine(row.dataset.machine);
  });
  byId("search").addEventListener("input", (event) => setFilter({ text: event.target.value }));
  byId("by-network").addEventListener("change", (event) => setFilter({ network: event.target.value }));
  byId("by-profile").addEventListener("change", (event) => setFilter({ profile: event.target.value }));
}

/** After anything has changed. */
export function refreshBoard(told) {
  if (told.has("hello")) drawHeads();
  if (!(told.has("rows") || told.has("filter"))) return;
  drawCensus();
  drawFilters();
  arrangeRows();
  const total = store.view.length;
  grid.setAttribute("aria-rowcount", total + 1);
  rows.style.height = `${offset(total)}px`;
  const empty = byId("board-empty");
  empty.hidden = total > 0;
  if (!total) say(empty, store.rows.size ? "No machine is like that." : "No machines yet. The first steps: put some into inventory.d/, or adopt one that asks (Strays); then run pxe-appliance sync.");
  draw();
}

/** Let the clocks on the rungs go on. */
export function tick() {
  for (const line of drawn.values()) clocks(line, store.rows.get(line.dataset.machine));
}

// ---- where rows are ----

const MOST_LINES = 8; // of a reason, and of a remedy: what is longer is in the panel, and in the title
const pen = document.createElement("canvas").getContext("2d");
const widths = new Map(); // of words, which are the same in thousands of rows

function widthOf(word) {
  if (!widths.has(word)) {
    if (widths.size > 20_000) widths.clear();
    widths.set(word, pen.measureText(word).width);
  }
  return widths.get(word);
}

/** How many lines a text takes at most: a browser breaks at hyphens too, we at spaces alone. */
function linesOf(text) {
  if (!text) return 0;
  const space = widthOf(" ");
  let [lines, at] = [1, 0];
  for (const word of shown(text, 2000).split(" ")) {
    const wide = widthOf(word);
    if (at && at + space + wide > sizes.width - 1) [lines, at] = [lines + 1, 0];
    at += (at ? space : 0) + wide;
    if (at > sizes.width) [lines, at] = [lines + Math.floor(at / sizes.width), at % sizes.width];
  }
  return Math.min(MOST_LINES, lines);
}

function heightOf(row) {
  if (row.measured !== sizes) {
    row.measured = sizes;
    const lines = row.verdict ? linesOf(row.says) + linesOf(row.verdict.remedy ? `→ ${row.verdict.remedy}` : "") : 0;
    row.height = sizes.plain + (lines ? sizes.pad + lines * sizes.line : 0);
  }
  return row.height;
}

/** Where the rows are: those with a reason are as high as it needs, the others alike. */
function arrangeRows() {
  tops = [0];
  const last = store.view.findLastIndex((row) => row.verdict);
  for (let index = 0; index <= last; index += 1) tops.push(tops[index] + heightOf(store.view[index]));
}

function offset(index) {
  const last = tops.length - 1;
  return index <= last ? tops[index] : tops[last] + (index - last) * sizes.plain;
}

function indexAt(y) {
  const last = tops.length - 1;
  if (y >= tops[last]) return last + Math.floor((y - tops[last]) / sizes.plain);
  let [low, high] = [0, last];
  while (low < high - 1) {
    const middle = (low + high) >> 1;
    if (tops[middle] <= y) low = middle;
    else high = middle;
  }
  return low;
}

function measure() {
  if (!grid.offsetParent) return; // not in sight: no width to go by
  const probe = newLine();
  probe.classList.add("reasoned");
  rows.append(probe);
  const reason = probe.lastChild;
  const [style, text] = [getComputedStyle(rows), getComputedStyle(reason)];
  const number = (name) => parseFloat(style.getPropertyValue(name));
  const width = reason.clientWidth - parseFloat(text.paddingLeft) - parseFloat(text.paddingRight);
  sizes = { plain: number("--row"), line: number("--lead"), pad: number("--pad"), width, font: `500 ${text.fontSize} ${text.fontFamily}` };
  pen.font = sizes.font;
  widths.clear();
  probe.remove();
  arrangeRows();
  rows.style.height = `${offset(store.view.length)}px`;
  draw();
}

function draw() {
  if (!grid.offsetParent) return;
  const top = rows.getBoundingClientRect().top;
  const first = Math.max(0, indexAt(-top) - MARGIN);
  const last = Math.min(store.view.length - 1, indexAt(innerHeight - top) + MARGIN);
  const wanted = new Map();
  for (let index = first; index <= last; index += 1) wanted.set(store.view[index].name, index);
  for (const [name, line] of drawn) {
    if (wanted.has(name)) continue;
    drawn.delete(name);
    if (spare.length < 80) spare.push(line);
    line.remove();
  }
  for (const [name, index] of wanted) {
    let line = drawn.get(name);
    if (!line) {
      line = spare.pop() ?? newLine();
      drawn.set(name, line);
      rows.append(line);
    }
    place(line, index);
    fill(line, store.view[index]);
  }
  point();
}

// ---- one row ----

let made = 0;
function newLine() {
  made += 1;
  const ladder = el("div.ladder", { role: "gridcell", "aria-colindex": 3 });
  for (let rung = 0; rung < store.rungs.length; rung += 1) ladder.append(el("i", { "aria-hidden": "true" }));
  return el(`div.row#row-${made}`, { role: "row" },
    el("div.name", { role: "gridcell", "aria-colindex": 1 }), el("div.ip", { role: "gridcell", "aria-colindex": 2 }), ladder,
    el("div.mood", { role: "gridcell", "aria-colindex": 4 }, el("span.glyph", { "aria-hidden": "true" }), el("span")),
    el("div.for", { role: "gridcell", "aria-colindex": 5 }),
    el("div.reason", { role: "gridcell", "aria-colindex": 6 }, el("b"), el("span")));
}

function place(line, index) {
  const height = index < tops.length - 1 ? `${heightOf(store.view[index])}px` : "";
  if (line.style.height !== height) line.style.height = height;
  const y = `translateY(${offset(index)}px)`;
  if (line.style.transform !== y) line.style.transform = y;
  if (line.getAttribute("aria-rowindex") !== String(index + 2)) line.setAttribute("aria-rowindex", index + 2);
}

function fill(line, row) {
  const selected = String(row.name === chosen);
  if (line.getAttribute("aria-selected") !== selected) line.setAttribute("aria-selected", selected);
  if (line.row === row) return;
  line.row = row;
  line.dataset.machine = row.name;
  line.dataset.mood = row.mood;
  line.classList.toggle("reasoned", Boolean(row.verdict));
  const [name, ip, ladder, mood, , reason] = line.children;
  sayName(name, row.name);
  say(ip, row.ip);
  mood.dataset.mood = row.mood;
  say(mood.children[0], GLYPHS[row.mood]);
  say(mood.children[1], WORDS[row.mood].toLowerCase());
  [...ladder.children].forEach((cell, height) => {
    const letter = row.cells[height];
    if (cell.dataset.cell !== letter) cell.dataset.cell = letter;
    if (letter !== "c" && cell.firstChild) cell.textContent = "";
    cell.title = title(row, letter, store.rungs[height]);
  });
  ladder.setAttribute("aria-label", spokenLadder(row));
  say(reason.children[0], row.verdict ? row.says : "");
  say(reason.children[1], row.verdict?.remedy ? `→ ${row.verdict.remedy}` : "");
  reason.title = row.verdict ? shown([row.says, row.verdict.remedy].filter(Boolean).join("\n→ "), 2000) : "";
  clocks(line, row);
}

function clocks(line, row) {
  if (!row) return;
  const [, , ladder, , standing] = line.children;
  say(standing, row.at ? long(since(row.at)) : "");
  const height = row.rung ? store.rungs.indexOf(row.rung) : -1;
  const letter = row.cells[height];
  if (letter === "c") say(ladder.children[height], brief(since(row.at)));
}

const MEANS = { r: "reached", s: "skipped", c: "stands here", f: "does not go on from here", e: "comes next", "-": "not yet" };
const title = (row, letter, rung) => `${rung}: ${MEANS[letter]}`;

function spokenLadder(row) {
  if (!row.rung) return "has not asked yet";
  const height = store.rungs.indexOf(row.rung) + 1;
  return `${row.rung}, rung ${height} of ${store.rungs.length}${row.mood === "booting" || row.mood === "stuck" ? `: ${shown(row.says)}` : ""}`;
}

// ---- above the rows ----

function drawHeads() {
  const ladder = el("div.ladder", { role: "columnheader", "aria-colindex": 3, "aria-label": "rungs" },
    store.rungs.map((rung) => el("span", { "aria-hidden": "true" }, rung)),
    ["dhcp", "loader", "system"].map((group) => el("span.group", { "aria-hidden": "true" }, group)));
  byId("heads").replaceChildren(
    el("div.name", { role: "columnheader", "aria-colindex": 1 }, "machine"), el("div.ip", { role: "columnheader", "aria-colindex": 2 }, "address"),
    ladder, el("div", { role: "columnheader", "aria-colindex": 4 }, "state"), el("div.for", { role: "columnheader", "aria-colindex": 5 }, "for"),
    el("div.unseen", { role: "columnheader", "aria-colindex": 6 }, "reason"));
}

function drawCensus() {
  const census = byId("census");
  if (!census.children.length) census.append(...MOODS.map((mood) => el("i", { "data-mood": mood })));
  MOODS.forEach((mood, n) => {
    census.children[n].style.flexGrow = store.counts[mood];
    census.children[n].hidden = !store.counts[mood];
  });
}

function drawFilters() {
  const chips = byId("moods");
  if (!chips.children.length) {
    const chip = (mood, label) => el("button", { type: "button", "data-mood": mood, click: () => setFilter({ mood: store.filter.mood === mood ? "" : mood }) },
      mood ? el("span.glyph", { "aria-hidden": "true" }, GLYPHS[mood]) : null, label, el("b"));
    chips.append(chip("", "All"), ...MOODS.map((mood) => chip(mood, WORDS[mood])));
  }
  let all = 0;
  for (const mood of MOODS) all += store.counts[mood];
  for (const chip of chips.children) {
    const mood = chip.dataset.mood;
    const count = mood ? store.counts[mood] : all;
    say(chip.lastChild, count);
    chip.setAttribute("aria-pressed", String(store.filter.mood === mood));
    chip.hidden = mood !== "" && !count && store.filter.mood !== mood;
  }
  pick(byId("by-network"), "All networks", new Set([...store.rows.values()].map((row) => row.network)), store.filter.network);
  pick(byId("by-profile"), "All profiles", new Set([...store.rows.values()].map((row) => row.profile).filter(Boolean)), store.filter.profile);
}

function pick(select, all, names, now) {
  const wanted = [...names].sort();
  const key = wanted.join("\n");
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(el("option", { value: "" }, all), ...wanted.map((name) => el("option", { value: name }, name)));
  }
  select.value = now;
  select.closest("label").hidden = wanted.length < 2 && !now;
}

// ---- keys ----

/** Move the choice by so many rows. */
export function step(by) {
  if (!store.view.length) return;
  const here = store.view.findIndex((row) => row.name === chosen);
  const there = here < 0 ? 0 : Math.max(0, Math.min(store.view.length - 1, here + by));
  choose(store.view[there].name);
}

function moved(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor(innerHeight / sizes.plain) - 4);
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
  if (by !== undefined) {
    step(by);
    event.preventDefault();
  } else if (event.key === "Enter" && chosen) {
    openMachine(chosen);
    event.preventDefault();
  }
}

/** Choose a machine; `scroll` brings it into sight. */
export function choose(name, { scroll = true } = {}) {
  chosen = name;
  const index = store.view.findIndex((row) => row.name === name);
  if (scroll && index >= 0) {
    const top = rows.getBoundingClientRect().top + offset(index);
    const bottom = rows.getBoundingClientRect().top + offset(index + 1);
    if (top < 60) scrollBy(0, top - 90);
    else if (bottom > innerHeight - 20) scrollBy(0, bottom - innerHeight + 60);
  }
  draw();
}

export const chosenMachine = () => chosen;

/** Tell assistive technology which row is meant; only one that exists can be. */
function point() {
  const line = chosen ? drawn.get(chosen) : null;
  if (line) grid.setAttribute("aria-activedescendant", line.id);
  else grid.removeAttribute("aria-activedescendant");
}
