// What the appliance has told: rows, status, health. Filters and order are worked out here, once a frame.

export const MOODS = ["stuck", "held", "noted", "booting", "booted", "idle"];
export const GLYPHS = { stuck: "✕", held: "■", noted: "!", booting: "◐", booted: "✓", idle: "○" };
export const WORDS = { stuck: "Stuck", held: "Held", noted: "Odd", booting: "Booting", booted: "Booted", idle: "Idle" };

export const store = {
  rows: new Map(),
  rungs: [],
  status: null,
  health: null,
  edition: "",
  ready: false, // whether all rows were told once
  filter: { mood: "", network: "", profile: "", text: "", cause: "" },
  view: [], // rows in the board's order, as filtered
  counts: {},
  left: new Set(), // names that were here, and are no longer
  strays: 0, // changes of the ledger that were heard of
};

let unsorted = true;
const listeners = new Set();
let asked = false;

/** Have something done, once a frame, after anything has changed. It gets what changed, in words. */
export const onChange = (listener) => listeners.add(listener);

const changes = new Set();
/** Say that something has changed. */
export function changed(what) {
  changes.add(what);
  if (asked) return;
  asked = true;
  // A page in the background gets no frames; its title and its voice follow all the same.
  const soon = document.hidden ? (f) => setTimeout(f, 200) : requestAnimationFrame;
  soon(() => {
    asked = false;
    const told = new Set(changes);
    changes.clear();
    if (told.has("rows") || told.has("filter")) arrange();
    for (const listener of listeners) listener(told);
  });
}

/** Take rows that are new or other than before, and names that are gone. */
export function takeRows({ rows, gone }) {
  for (const row of rows) {
    row.at = row.rung_at ? Date.parse(row.rung_at) : 0;
    const before = store.rows.get(row.name);
    if (before?.key !== row.key) unsorted = true;
    store.rows.set(row.name, row);
  }
  for (const name of gone) leave(name);
  changed("rows");
}

function leave(name) {
  if (!store.rows.delete(name)) return;
  store.left.add(name);
  unsorted = true;
}

/** Forget all machines but these: what is told anew after a lost connection. */
export function keepOnly(names) {
  for (const name of store.rows.keys()) if (!names.has(name)) leave(name);
  unsorted = true;
  changed("rows");
}

export function setFilter(part) {
  Object.assign(store.filter, part);
  changed("filter");
}

let sorted = [];
function arrange() {
  if (unsorted) {
    sorted = [...store.rows.values()].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    unsorted = false;
  } else {
    sorted = sorted.map((row) => store.rows.get(row.name));
  }
  const counts = Object.fromEntries(MOODS.map((mood) => [mood, 0]));
  const { mood, network, profile, cause } = store.filter;
  const words = store.filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  store.view = sorted.filter((row) => {
    if (network && row.network !== network) return false;
    if (profile && row.profile !== profile) return false;
    if (words.length && !words.every((word) => haystack(row).includes(word))) return false;
    if (cause && !(row.mood === "stuck" && row.verdict?.id === cause)) return false;
    counts[row.mood] += 1;
    return !mood || row.mood === mood;
  });
  store.counts = counts;
}

function haystack(row) {
  row.hay ??= [row.name, row.ip, ...(row.macs ?? []), row.network, row.profile, row.image, row.rung, row.mood, row.life,
    row.place, row.verdict?.id, row.says].filter(Boolean).join("\n").toLowerCase();
  return row.hay;
}
