// One machine, beside the board: why it stands where it stands, its last boot rung by rung, its facts.

import { el, byId, command, facts, listing, advice, shown } from "./dom.js";
import { brief, timeOfDay, dayAndTime, long, since, nowOfServer } from "./clock.js";
import { store, GLYPHS, WORDS } from "./store.js";

const panel = byId("panel");
let name = null;
let seen = null; // the row that the details were fetched for
let details = null;
let why = null;
let events = [];
let pending = 0;
let back = () => {};

/** Set up; `closed` is called when the panel was closed, and takes the focus. */
export function setUpPanel(closed) {
  back = closed;
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });
}

export const panelMachine = () => name;

/** Show a machine. */
export function openPanel(machine, { focus = true } = {}) {
  if (name !== machine) [details, why, events, seen] = [null, null, [], null];
  name = machine;
  panel.hidden = false;
  document.querySelector(".layout").classList.add("open");
  panel.setAttribute("aria-label", `Machine ${shown(machine)}`);
  draw();
  if (focus) panel.querySelector("h2")?.focus({ preventScroll: true });
  fetchDetails();
}

export function closePanel() {
  if (!name) return;
  name = null;
  panel.hidden = true;
  document.querySelector(".layout").classList.remove("open");
  back();
}

/** After a row has changed. */
export function refreshPanel(told) {
  if (!name || !told.has("rows")) return;
  const row = store.rows.get(name);
  if (row && row === seen) return;
  draw();
  clearTimeout(pending);
  pending = setTimeout(fetchDetails, 400); // a boot climbs several rungs in a second
}

export function tickPanel() {
  const clock = panel.querySelector("[data-since]");
  if (clock) clock.textContent = long(since(Number(clock.dataset.since)));
}

async function fetchDetails() {
  const asked = name;
  seen = store.rows.get(asked);
  if (!asked || !seen) return; // unknown, or not told yet
  const path = `machines/${encodeURIComponent(asked)}`;
  const [one, reason, past] = await Promise.all([
    listing(path).catch(() => null),
    listing(`${path}/why`).catch(() => null),
    pastOf(asked).catch(() => []),
  ]);
  if (name !== asked) return;
  [details, why, events] = [one, reason, reason?.evidence?.length ? reason.evidence : past];
  draw();
}

async function pastOf(machine) {
  const answer = await fetch(`../v1/events?limit=12&machine=${encodeURIComponent(machine)}`, { cache: "no-store" });
  if (!answer.ok) return [];
  return (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

function draw() {
  const row = store.rows.get(name);
  const focused = panel.contains(document.activeElement) ? document.activeElement.dataset.keep : null;
  const top = panel.scrollTop;
  const close = el("button.quiet", { type: "button", "aria-label": "Close", title: "Close (Esc)", "data-keep": "close", click: closePanel }, "✕");
  const heading = el("h2", { tabindex: -1, "data-keep": "heading" }, name);
  if (!row) {
    panel.replaceChildren(el("header", {}, heading, close), ...unknown());
  } else {
    panel.replaceChildren(el("header", {}, heading, close), whyBox(row), ...ladder(row), ...about(row), ...evidence(), ...commands(row));
  }
  panel.scrollTop = top;
  if (focused) panel.querySelector(`[data-keep="${focused}"]`)?.focus({ preventScroll: true });
}

/** No machine of that name: it left while we looked on, or it never was, and somebody mistyped an address. */
function unknown() {
  if (!store.ready) return [el("p.note", {}, "…")];
  if (store.left.has(name)) return [el("p.note", {}, "This machine is no longer in the inventory.")];
  const typed = name.toLowerCase();
  const near = [...store.rows.keys()].filter((one) => one.includes(typed) || typed.includes(one)).sort((a, b) => b.length - a.length).slice(0, 5);
  return [el("p.note", {}, `No machine of the inventory is called ${shown(name, 80)}.`),
    near.length ? el("p.note", {}, "Like it: ", near.map((one, n) => [n ? ", " : "", el("a", { href: `#machine/${encodeURIComponent(one)}` }, one)])) : null].filter(Boolean);
}

function whyBox(row) {
  const verdict = why?.verdict ?? row.verdict;
  const until = row.deadline ? Date.parse(row.deadline) : 0;
  const left = until ? (until - nowOfServer()) / 1000 : 0;
  return el("div.why", { "data-mood": row.mood },
    el("p", { "data-mood": row.mood }, el("span.glyph", { "aria-hidden": "true" }, GLYPHS[row.mood]), " ",
      el("strong", {}, WORDS[row.mood].toLowerCase()), row.rung ? ` on ${row.rung} for ` : "",
      row.rung ? el("span", { "data-since": row.at }, long(since(row.at))) : null),
    el("p", {}, verdict?.message ?? row.says),
    row.mood === "booting" && row.expected && left > 0 ? el("p", {}, `${row.expected} is due by ${timeOfDay(until)}`) : null,
    verdict?.remedy ? advice(verdict.remedy) : null);
}

const SIGNS = { r: "✓", c: "●", f: "✕", e: "┄", s: "–", "-": "·" };
function ladder(row) {
  const times = details?.rungs ?? {};
  let before = null;
  const steps = store.rungs.map((rung, height) => {
    const letter = row.cells[height];
    const at = times[rung] ? Date.parse(times[rung]) : null;
    const step = at !== null && before !== null ? `+${gap((at - before) / 1000)}` : "";
    if (at !== null) before = at;
    return el("li", { "data-cell": letter }, el("span.sig", { "aria-hidden": "true" }, SIGNS[letter]), el("span.rung", {}, rung),
      el("span.at", {}, at !== null ? timeOfDay(at) : { e: row.mood === "booting" ? "comes next" : "did not come", s: "not needed" }[letter] ?? ""), el("span.at", {}, step));
  });
  return [el("h3", {}, "Last boot (UTC)"), el("ol.steps", {}, steps)];
}

const gap = (seconds) => (seconds < 10 ? `${seconds.toFixed(1)} s` : brief(seconds));

function about(row) {
  const one = details ?? {};
  const inventory = one.inventory ?? {};
  const labels = Object.entries(inventory.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(", ");
  const nics = Object.entries(inventory.nics ?? {}).map(([nic, value]) => [nic, typeof value === "string" ? value : value.mac]);
  const place = row.place ?? [one.seen?.switch ?? one.switch, one.seen?.port ?? one.port].filter(Boolean).join(" ");
  return [
    el("h3", {}, "Machine"),
    facts([
      ["Address", el("span.mono", {}, row.ip)],
      ["MAC", (row.macs ?? []).map((mac) => el("div.mono", {}, mac))],
      ["Network", row.network],
      ["Profile", [row.profile, row.policy].filter(Boolean).join(", boot ")],
      ["Image", row.image],
      ["Life", [row.life, one.life?.reason].filter(Boolean).join(": ")],
      ["Lease", row.lease ? `until ${dayAndTime(Date.parse(row.lease))}` : "none known"],
      ["Switch port", place],
      ["UUID", one.seen?.uuid ? el("span.mono", {}, one.seen.uuid) : inventory.uuid],
      ["Labels", labels],
      ["Written in", one.origin ? el("span.mono", {}, one.origin) : ""],
    ]),
    ...(nics.length ? [el("h3", {}, "Other NICs: known, and silent on this VLAN"), facts(nics.map(([nic, mac]) => [nic, el("span.mono", {}, mac)]))] : []),
  ];
}

function evidence() {
  if (!events.length) return [];
  const lines = events.slice(-12).reverse().map((event) => el("li", {},
    el("span.at", {}, timeOfDay(Date.parse(event.at))), el("span", {}, event.event),
    el("span.detail", {}, Object.entries(event.detail ?? {}).map(([key, value]) => `${key} ${shown(value, 120)}`).join(" · "))));
  return [el("h3", {}, why?.evidence?.length ? "Evidence (UTC)" : "What happened last (UTC)"), el("ul.evidence", {}, lines)];
}

function commands(row) {
  const id = (why?.verdict ?? row.verdict)?.id;
  return [el("h3", {}, "On the appliance"), command(`pxe-appliance why ${row.name}`), command(`pxe-appliance events --machine ${row.name}`),
    id && /^[a-z0-9-]+$/.test(id) ? command(`pxe-appliance explain ${id}`) : null,
    row.mood === "held" ? command(`pxe-appliance machine release ${row.name}`) : null].filter(Boolean);
}
