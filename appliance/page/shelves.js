// What lies still: images with their releases, generations with what each changed, problems.

import { el, byId, command, listing, advice } from "./dom.js";
import { ago, dayAndTime } from "./clock.js";
import { store } from "./store.js";

let images = [];
let counted = "";

/** The image store, by image. */
export async function drawImages() {
  images = (await listing("images")) ?? [];
  paintImages(usedImages());
}

/** Machines have gone on: how many booted which release may be another number. */
export function refreshImages() {
  const used = usedImages();
  if (images.length && JSON.stringify([...used]) !== counted) paintImages(used);
}

function usedImages() {
  const used = new Map();
  for (const row of store.rows.values()) if (row.image) used.set(row.image, (used.get(row.image) ?? 0) + 1);
  return used;
}

function paintImages(used) {
  counted = JSON.stringify([...used]);
  const rows = images;
  const body = byId("images-body");
  if (!rows.length) {
    body.replaceChildren(el("p.empty", {}, "The image store is empty."), command("pxe-appliance images fetch flatcar/stable"));
    return;
  }
  const streams = new Map();
  for (const row of rows) {
    const key = `${row.image} ${row.arch}`;
    streams.set(key, [...(streams.get(key) ?? []), row]);
  }
  body.replaceChildren(el("div.cards", {}, [...streams.values()].map((releases) => el("article.card", {},
    el("div.head", {}, el("h3", {}, releases[0].image), el("span.sub", {}, releases[0].arch)),
    el("table.releases", {}, el("thead", {}, el("tr", {}, ["Release", "State", "Size", "Fetched", "Signed by", "Booted by"].map((name, n) =>
      el(n > 2 ? "th.wide-only" : "th", { scope: "col" }, name)))),
    el("tbody", {}, [...releases].reverse().map((row) => el("tr", {},
      el("td", {}, el("strong", {}, row.version), row.current ? [" ", el("span.mark.good", {}, "● current")] : "", row.machines?.length ? [" ", el("span.mark", {}, `canary: ${row.machines.join(", ")}`)] : ""),
      el("td", {}, state(row)), el("td", {}, size(row.size)),
      el("td.wide-only", {}, row.fetched_at ? ago(row.fetched_at) : "–"), el("td.wide-only", {}, el("span.mono", {}, signer(row.signer))),
      el("td.wide-only", {}, machines(used.get(`${row.image}@${row.version}`))),
    ))))))));
}

function state(row) {
  if (row.state === "ok") return el("span.mark.good", {}, "✓ verified");
  const words = { damaged: "✕ damaged", unpinned: "! not pinned", absent: "○ pinned, not here" }[row.state] ?? row.state;
  return [el(row.state === "damaged" ? "span.mark.bad" : "span.mark.odd", {}, words), (row.damage ?? []).map((line) => el("p.sub", {}, line))];
}

const machines = (count) => (count ? `${count} machine${count === 1 ? "" : "s"}` : "–");
const signer = (text) => (text ? (text.length > 18 ? `…${text.slice(-16)}` : text) : "–");
function size(bytes) {
  if (!bytes) return "–";
  return bytes > 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}

const opened = new Set();

/** The generations, newest first; each opens to what it changed. */
export async function drawGenerations() {
  const rows = (await listing("generations")) ?? [];
  const body = byId("generations-body");
  if (!rows.length) {
    body.replaceChildren(el("p.empty", {}, "No generations yet."));
    return;
  }
  body.replaceChildren(el("div.cards", {}, rows.reverse().map((row, n) => generation(row, n === 0))));
}

function generation(row, newest) {
  const diff = el("div.diff", { hidden: true, id: `diff-${row.id}` });
  const toggle = el("button.plain", { type: "button", "aria-expanded": "false", "aria-controls": diff.id, click: () => show(diff.hidden) }, "What changed");
  async function show(open) {
    toggle.setAttribute("aria-expanded", String(open));
    diff.hidden = !open;
    if (!open) {
      opened.delete(row.id);
      return;
    }
    opened.add(row.id);
    if (diff.childElementCount) return;
    diff.replaceChildren(el("p.sub", {}, "reading…"));
    try {
      diff.replaceChildren(...changes(await listing(`generations/${row.id}`)));
    } catch (error) {
      diff.replaceChildren(el("p", {}, `This cannot be told: ${error.message}`));
    }
  }
  if (opened.has(row.id) || (newest && !opened.size)) show(true);
  return el("article.card", {},
    el("div.head", {}, el("h3", {}, `Generation ${row.id}`), row.current ? el("span.mark.good", {}, "● current") : null,
      row.rejected ? el("span.mark.bad", {}, "✕ taken back") : row.proven ? el("span.mark", {}, "✓ proven") : el("span.mark.odd", {}, row.pending ? "! waits for its confirmation" : "! not proven"),
      row.pinned ? el("span.mark.odd", {}, "pinned by a rollback") : null,
      el("span.sub", { title: dayAndTime(Date.parse(row.at)) }, `${ago(row.at)} by ${row.who}`)),
    el("p", {}, row.why), row.rejected ? el("p", {}, row.rejected) : null, el("p.sub", {}, row.summary), toggle, diff);
}

const SIGNS = { add: "+", change: "~", remove: "−" };
const DID = { add: "added", change: "changed", remove: "removed" };
function changes(told) {
  if (!told) return [el("p.sub", {}, "It is no longer kept.")];
  const against = told.base === null ? "This was the first." : `Against generation ${told.base}:`;
  return [el("p.sub", {}, told.changes.length ? against : `${against} nothing differs.`),
    ...told.changes.map((change) => el("div", {},
      el("p.line", { "data-action": change.action }, el("span", { "aria-hidden": "true" }, `${SIGNS[change.action]} `), el("span.unseen", {}, `${DID[change.action]} `), change.line.replace(/^[+~-] /, "")),
      change.details.map((line) => el("p.line.below", {}, line)))),
    told.more ? el("p.sub", {}, `… and ${told.more} more`) : null].filter(Boolean);
}

/** What is wrong, worst first. */
export function drawProblems() {
  const problems = store.status?.problems ?? [];
  const order = { error: 0, warning: 1 };
  const body = byId("problems-body");
  const key = JSON.stringify(problems);
  if (body.dataset.key === key) return;
  body.dataset.key = key;
  if (!problems.length) {
    body.replaceChildren(el("p.empty", {}, "No problems."));
    return;
  }
  const sorted = [...problems].sort((a, b) => (order[a.severity] ?? 2) - (order[b.severity] ?? 2));
  body.replaceChildren(el("div.cards", {}, sorted.map((problem) => el("article.card", {},
    el("div.head", {}, el(problem.severity === "error" ? "span.mark.bad" : "span.mark.odd", {}, problem.severity === "error" ? "✕ error" : "! warning"), el("h3", {}, problem.message)),
    problem.fix ? advice(problem.fix) : null,
    /^[a-z0-9-]+$/.test(problem.id) ? el("p.sub", {}, "More about it: ", el("code", {}, `pxe-appliance explain ${problem.id}`)) : null))));
}
