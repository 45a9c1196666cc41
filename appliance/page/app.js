// Everything wired: sections by the address's fragment, keys, the line about everything.

import { byId, el, say, speak, advice, shown } from "./dom.js";
import { store, onChange, setFilter, MOODS, GLYPHS } from "./store.js";
import { follow } from "./stream.js";
import { setUpBoard, refreshBoard, tick, step, choose } from "./board.js";
import { setUpPanel, openPanel, closePanel, refreshPanel, tickPanel, panelMachine } from "./panel.js";
import { drawStrays, drawRogues } from "./strays.js";
import { drawNetworks, refreshNetworks } from "./networks.js";
import { drawImages, refreshImages, drawGenerations, drawProblems } from "./shelves.js";

const VIEWS = ["board", "strays", "networks", "images", "generations", "problems"];
const DRAW = { strays: drawStrays, networks: () => drawNetworks(goTo), images: drawImages, generations: drawGenerations, problems: drawProblems };
const MOST_CAUSES = 6;
let view = "board";
let fetching = 0;

// ---- sections ----

/** Open a machine: the board, and the panel beside it. */
function goTo(machine) {
  location.hash = `machine/${encodeURIComponent(machine)}`;
}

function route({ first = false } = {}) {
  const [where, machine] = decode(location.hash.slice(1)).split("/");
  const wanted = where === "machine" ? "board" : VIEWS.includes(where) ? where : "board";
  const moved = wanted !== view;
  view = wanted;
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  for (const link of byId("sections").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (where === "machine" && machine) {
    choose(machine, { scroll: first || panelMachine() !== machine });
    openPanel(machine);
  } else if (panelMachine()) closePanel();
  if (view === "board") refreshBoard(new Set(["filter"]));
  else drawView();
  if (moved && !first && view !== "board") byId(`${view}-title`).focus({ preventScroll: true });
  if (moved) scrollTo(0, 0);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

async function drawView() {
  const body = byId(`${view}-body`);
  const asked = view;
  try {
    await DRAW[view]();
  } catch (error) {
    if (asked === view && !body.childElementCount) body.replaceChildren(el("p.empty", {}, `This cannot be shown now: ${error.message}`));
  }
}

/** Fetch again what is in sight, soon, and once for many reasons. */
function drawSoon() {
  if (fetching) return;
  fetching = setTimeout(() => {
    fetching = 0;
    if (view !== "board") drawView();
  }, view === "strays" ? 3000 : 1500);
}

// ---- the line about everything ----

function drawHealth() {
  const { status, health } = store;
  if (!status) return;
  byId("health").dataset.level = health.level;
  say(byId("sentence"), health.sentence);
  say(byId("detail"), health.detail);
  byId("detail").hidden = !health.detail;
  speak([health.sentence, health.detail].filter(Boolean).join(". "));
  byId("whole").hidden = !health.whole;
  say(byId("whole-text"), health.whole ?? "");
  drawCauses(health.causes ?? []);
  const fix = byId("fix");
  if (fix.dataset.text !== health.fix) {
    fix.dataset.text = health.fix;
    fix.hidden = !health.fix;
    fix.replaceChildren(...(health.fix ? [advice(health.fix)] : []).map((made) => (made.tagName === "P" ? made.textContent : made)));
  }
  const generation = status.generation?.id ? `generation ${status.generation.id}${status.generation.proven ? ", proven" : status.pending ? ", to be confirmed" : ", not proven yet"}` : "no generation yet";
  const networks = (status.networks ?? []).map((n) => `${n.name} ${n.subnet} ${n.up ? "up" : "waits"}`);
  say(byId("facts"), [generation, ...networks.slice(0, 4), networks.length > 4 ? `${networks.length - 4} networks more` : ""].filter(Boolean).join("  ·  "));
  count("strays-count", status.strays);
  count("problems-count", status.problems?.length ?? 0);
  drawRogues(status.rogue_servers ?? []);
  const stuck = status.machines?.stuck ?? 0;
  store.headline = stuck ? `✕ ${stuck} stuck · PXE board` : health.level === "well" ? "✓ PXE board" : health.level === "empty" ? "PXE board" : "! PXE board";
  if (!document.body.classList.contains("stale")) document.title = store.headline;
}

/** Why machines are stuck, most first: each a filter of the board. One reason is told by the board itself. */
function drawCauses(causes) {
  const box = byId("causes");
  const now = store.filter.cause;
  const rest = now && !causes.some((one) => one.id === now) ? [{ id: now, count: 0 }] : [];
  const all = [...causes, ...rest].slice(0, MOST_CAUSES);
  const stuck = causes.reduce((sum, one) => sum + one.count, 0);
  box.hidden = !now && stuck < 2;
  const key = JSON.stringify([all, now, causes.length]);
  if (box.dataset.key === key) return;
  box.dataset.key = key;
  const at = box.contains(document.activeElement) ? document.activeElement.dataset.cause : null;
  box.replaceChildren(...all.map((one) => el("button", { type: "button", "data-cause": one.id, "aria-pressed": String(now === one.id),
    title: now === one.id ? "Show all machines" : "Show these machines only", click: () => chooseCause(one.id) }, el("b", {}, one.count), ` × ${shown(one.id)}`)),
  causes.length > MOST_CAUSES ? el("span", {}, `and ${causes.length - MOST_CAUSES} more`) : "");
  if (at) box.querySelector(`[data-cause="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
}

function chooseCause(id) {
  setFilter({ cause: store.filter.cause === id ? "" : id, mood: "" });
  if (view !== "board") location.hash = "board";
}

function count(id, number) {
  byId(id).hidden = !number;
  say(byId(id), number > 999 ? "999+" : number);
}

// ---- keys ----

function typed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const field = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (field?.id === "search") {
      field.value = "";
      setFilter({ text: "" });
      byId("board").focus({ preventScroll: true });
    } else if (panelMachine()) location.hash = "board";
    return;
  }
  if (field) return;
  const number = VIEWS[Number(event.key) - 1];
  if (event.key === "/") {
    if (view !== "board") location.hash = "board";
    setTimeout(() => byId("search").focus());
  } else if (event.key === "?") byId("help").showModal();
  else if (number) location.hash = number;
  else if (view === "board" && (event.key === "j" || event.key === "k")) {
    step(event.key === "j" ? 1 : -1);
    byId("board").focus({ preventScroll: true });
  } else return;
  event.preventDefault();
}

function drawSigns() {
  const cell = (letter) => {
    const sample = el("span.ladder.sample", {}, el("i", { "data-cell": letter }));
    return sample;
  };
  byId("signs").replaceChildren(
    ...[["r", "reached"], ["c", "stands here, with the time"], ["e", "comes next"], ["f", "does not go on"], ["s", "not needed"]].map(([letter, words]) => el("div", {}, el("dt", {}, cell(letter)), el("dd", {}, words))),
    ...MOODS.map((mood) => el("div", {}, el("dt", { "data-mood": mood }, el("span.glyph", {}, GLYPHS[mood]), ` ${mood}`),
      el("dd", {}, { stuck: "its boot stopped", held: "gets nothing to boot until it is released", noted: "boots, and something is odd", booting: "on its way", booted: "called home, or runs from its disk", idle: "has not asked yet" }[mood]))));
}

// ---- start ----

setUpBoard(goTo);
setUpPanel(() => {
  if (location.hash.startsWith("#machine/")) history.replaceState(null, "", "#board");
  if (view === "board") byId("board").focus({ preventScroll: true });
});
drawSigns();
onChange((told) => {
  refreshBoard(told);
  refreshPanel(told);
  if (told.has("status")) drawHealth();
  else if (told.has("filter")) drawCauses(store.health?.causes ?? []);
  if (told.has("rows") && view === "networks") refreshNetworks();
  if (told.has("rows") && view === "images") refreshImages();
  if (told.has("status") && view === "problems") drawProblems();
  if (told.has("strays") && view === "strays") drawSoon();
  if (told.has("status") && (view === "generations" || view === "networks")) drawSoon();
});
addEventListener("hashchange", () => route());
document.addEventListener("keydown", typed);
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  if (view !== "board") location.hash = "board";
  byId("board").focus();
});
setInterval(() => {
  tick();
  tickPanel();
}, 1000);
setInterval(() => { if (view === "images" || view === "strays") drawSoon(); }, 30_000);
route({ first: true });
follow();
