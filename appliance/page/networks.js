// The networks, and a map of each one's addresses: all of a /24, blocks of 256 of anything larger.

import { el, byId, facts, listing, say } from "./dom.js";
import { store } from "./store.js";
import { dayAndTime, long } from "./clock.js";

const WHOLE = 1024; // addresses that are shown at once
const WORDS = { ours: "this appliance", router: "the relay's router", stuck: "stuck", booting: "booting", leased: "leased", reserved: "reserved, idle", free: "free", stray: "a stray asked for it" };
const zoomed = new Map(); // by subnet: the block of 256 that is looked into
let networks = [];
let strays = new Map();
let openMachine = () => {};

/** Fetch and draw; `open` is called with a machine's name. */
export async function drawNetworks(open) {
  openMachine = open;
  const [found, asked] = await Promise.all([listing("networks"), listing("strays").catch(() => [])]);
  networks = found ?? [];
  strays = new Map((asked ?? []).filter((row) => row.ip).map((row) => [row.ip, row]));
  draw();
}

/** Machines have gone on: their addresses follow. */
export function refreshNetworks() {
  if (networks.length) draw();
}

function draw() {
  const body = byId("networks-body");
  const at = body.contains(document.activeElement) ? document.activeElement.dataset.ip : null;
  const moods = new Map();
  for (const row of store.rows.values()) moods.set(row.ip, row);
  body.replaceChildren(...(networks.length ? networks.map((network) => card(network, moods)) : [el("p.empty", {}, "No network is served yet.")]));
  if (at) body.querySelector(`[data-ip="${CSS.escape(at)}"]`)?.focus({ preventScroll: true });
}

function card(network, moods) {
  return el("article.card", {},
    el("div.head", {}, el("h3", {}, network.name),
      network.up ? el("span.mark.good", {}, "✓ up") : el("span.mark.bad", {}, "✕ waits for its interface"),
      el("span.sub", {}, `${network.interface}${network.vlan ? `, VLAN ${network.vlan}` : ""} · ${network.mode === "proxy" ? "another server gives addresses" : `leases of ${lent(network.lease)}`}`)),
    facts([["Our address", el("span.mono", {}, network.address)], ["Boots from", el("span.mono", {}, network.boot_url)]]),
    network.subnets.map((subnet) => subnetMap(subnet, moods)));
}

function subnetMap(subnet, moods) {
  const [base, prefix] = subnet.subnet.split("/");
  const first = toNumber(base);
  const size = 2 ** (32 - Number(prefix));
  const used = new Map();
  for (const address of subnet.addresses) used.set(toNumber(address.ip), live(address, moods.get(address.ip)));
  for (const [ip, row] of strays) {
    const number = toNumber(ip);
    if (number > first && number < first + size - 1 && !used.has(number)) used.set(number, { ip, kind: "stray", machine: null, mac: row.mac });
  }
  const counts = {};
  for (const address of used.values()) counts[address.kind] = (counts[address.kind] ?? 0) + 1;
  counts.free = subnet.size - used.size;
  const caption = el("p.caption", { role: "status" }, tally(counts));
  const block = zoomed.get(subnet.subnet);
  const inside = size <= WHOLE ? [first, size] : block === undefined ? null : [block, 256];
  const map = inside ? cells(subnet, used, ...inside, first, size, caption) : blocks(subnet, used, first, size, caption);
  caption.dataset.tally = tally(counts);
  return el("div", {},
    el("p.crumb", {}, el("span.mono", {}, subnet.subnet), subnet.router ? ` behind the relay ${subnet.router}` : "",
      size > WHOLE && inside ? [" › ", el("span.mono", {}, `${toText(block)}/24`), " ", el("button.plain", { type: "button", click: () => { zoomed.delete(subnet.subnet); draw(); } }, "all blocks")] : ""),
    map, caption, inside ? legend(counts) : blockLegend());
}

/** An address as the board has it now. */
function live(address, row) {
  if (!row || address.kind === "ours" || address.kind === "router") return address;
  const kind = row.mood === "stuck" || row.mood === "booting" ? row.mood : row.lease ? "leased" : "reserved";
  return { ...address, kind, until: row.lease, says: row.says };
}

function cells(subnet, used, start, count, first, size, caption) {
  const made = [];
  for (let number = start; number < start + count; number += 1) {
    if (number === first || number === first + size - 1) {
      made.push(el("i", { "data-kind": "edge", "aria-hidden": "true" }));
      continue;
    }
    const address = used.get(number);
    if (!address) {
      made.push(el("i", { "data-kind": "free", "aria-hidden": "true", title: `${toText(number)} free` }));
      continue;
    }
    made.push(el("button", { type: "button", tabindex: -1, "data-kind": address.kind, "data-ip": address.ip, "aria-label": words(address), title: words(address),
      click: () => address.machine && openMachine(address.machine), focus: () => say(caption, words(address)), mouseenter: () => say(caption, words(address)) }));
  }
  return grid(made, subnet, caption);
}

function blocks(subnet, used, first, size, caption) {
  const sums = Array.from({ length: size / 256 }, () => ({ all: 0, stuck: 0, booting: 0 }));
  for (const [number, address] of used) {
    const sum = sums[Math.floor((number - first) / 256)];
    sum.all += 1;
    if (address.kind in sum) sum[address.kind] += 1;
  }
  const made = sums.map((sum, n) => {
    const start = first + n * 256;
    const label = `${toText(start)}/24: ${sum.all} of 256 in use${sum.stuck ? `, ${sum.stuck} stuck` : ""}${sum.booting ? `, ${sum.booting} booting` : ""}`;
    const fill = el("span.fill");
    fill.style.height = sum.all ? `${Math.max(8, (sum.all / 256) * 100)}%` : "0";
    return el("button.block", { type: "button", tabindex: -1, "data-ip": toText(start), "data-bad": sum.stuck > 0, "data-booting": sum.booting > 0, "aria-label": label, title: label,
      click: () => { zoomed.set(subnet.subnet, start); draw(); }, focus: () => say(caption, label), mouseenter: () => say(caption, label) }, fill);
  });
  return grid(made, subnet, caption);
}

/** One tab stop; arrows move. Up and down go by the columns that the map has at this moment. */
function grid(made, subnet, caption) {
  const map = el("div.map", { role: "group", "aria-label": `Addresses of ${subnet.subnet}; arrow keys move`, mouseleave: () => say(caption, caption.dataset.tally) }, made);
  const stops = made.filter((cell) => cell.tagName === "BUTTON");
  stops[0]?.setAttribute("tabindex", 0);
  map.addEventListener("keydown", (event) => {
    const here = stops.indexOf(document.activeElement);
    const by = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    let there = by === undefined ? -1 : Math.max(0, Math.min(stops.length - 1, here + by));
    if (event.key === "ArrowDown" || event.key === "ArrowUp") there = vertical(stops, here, event.key === "ArrowDown" ? 1 : -1);
    if (here < 0 || there < 0) return;
    event.preventDefault();
    stops[here].setAttribute("tabindex", -1);
    stops[there].setAttribute("tabindex", 0);
    stops[there].focus();
  });
  return map;
}

function vertical(stops, here, way) {
  const from = stops[here].getBoundingClientRect();
  let best = here;
  let nearest = Infinity;
  stops.forEach((cell, n) => {
    const place = cell.getBoundingClientRect();
    const down = (place.top - from.top) * way;
    if (down < 4) return;
    const distance = down * 3 + Math.abs(place.left - from.left);
    if (distance < nearest) [best, nearest] = [n, distance];
  });
  return best;
}

function words(address) {
  const who = address.machine ?? address.mac ?? "";
  const until = address.until && address.kind === "leased" ? ` until ${dayAndTime(Date.parse(address.until))}` : "";
  const said = address.kind === "stuck" ? `: ${address.says ?? ""}` : "";
  return `${address.ip} ${who ? `${who}, ` : ""}${WORDS[address.kind]}${until}${said}`;
}

const KINDS = ["stuck", "booting", "leased", "reserved", "stray", "free"];
const tally = (counts) => KINDS.filter((kind) => counts[kind]).map((kind) => `${counts[kind]} ${WORDS[kind]}`).join(", ");

function legend(counts) {
  return el("ul.legend", { "aria-hidden": "true" }, ["ours", "router", ...KINDS].filter((kind) => counts[kind]).map((kind) =>
    el("li", {}, el("span.map", {}, el("i", { "data-kind": kind })), WORDS[kind])));
}

/** Blocks are another picture than addresses: filled by their share, marked for the worst in them. */
function blockLegend() {
  const sample = (words, marks, height) => {
    const fill = el("span.fill");
    fill.style.height = height;
    return el("li", {}, el("span.map", {}, el("i.block", marks, fill)), words);
  };
  return el("ul.legend", { "aria-hidden": "true" }, [
    sample("256 addresses, none in use", {}, "0"), sample("filled by the share in use", {}, "50%"),
    sample("somebody boots there", { "data-booting": "true" }, "50%"), sample("somebody is stuck there", { "data-bad": "true" }, "50%")]);
}

const lent = (s) => (s % 3600 === 0 ? `${s / 3600} h` : s % 60 === 0 ? `${s / 60} min` : long(s));
const toNumber = (ip) => ip.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
const toText = (number) => [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
