// The appliance's clock, as this browser knows it: times are compared with it, never with the browser's own.

let ahead = 0; // milliseconds that the appliance is ahead of us

/** Take the time that a message was sent at. */
export function tellTime(rfc3339) {
  const told = Date.parse(rfc3339);
  if (!Number.isNaN(told)) ahead = told - Date.now();
}

export const nowOfServer = () => Date.now() + ahead;

/** A moment of this browser's clock, by the appliance's. */
export const byServer = (at) => at + ahead;

/** Seconds since a moment (milliseconds of the appliance's clock), not below zero. */
export const since = (at) => Math.max(0, (nowOfServer() - at) / 1000);

/** How long, in words that fit a column: 42 s, 3:34, 2 h 05, 3 d. */
export function long(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))}`;
  return `${Math.floor(s / 86400)} d`;
}

/** How long, for a rung: at most five characters. */
export function brief(seconds) {
  const s = Math.floor(seconds);
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
  return s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

const two = (n) => String(n).padStart(2, "0");

// Every time is UTC, as in reasons, `events` and the log: two clocks in one picture are read as hours apart.

/** The time of day, UTC: 04:05:06Z. */
export const timeOfDay = (at) => (Number.isFinite(at) ? `${new Date(at).toISOString().slice(11, 19)}Z` : "");

/** Day and time, UTC: 2025-01-31 04:05Z. */
export const dayAndTime = (at) => (Number.isFinite(at) ? `${new Date(at).toISOString().slice(0, 16).replace("T", " ")}Z` : "");

/** How long ago: "just now", "3:34 ago". */
export function ago(rfc3339) {
  const at = Date.parse(rfc3339);
  if (Number.isNaN(at)) return "";
  const seconds = since(at);
  return seconds < 5 ? "just now" : `${long(seconds)} ago`;
}
