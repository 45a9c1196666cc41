// The connection: one stream of server-sent events, and what happens when it is lost.

import { byId, say, speak } from "./dom.js";
import { tellTime, byServer, timeOfDay, long } from "./clock.js";
import { store, takeRows, keepOnly, changed } from "./store.js";

const SILENT = 13_000; // milliseconds without a word, where one comes every five seconds
const PATIENCE = [500, 1000, 2000, 4000];

let source = null;
let heard = 0; // when, by this browser's clock
let lostAt = 0;
let tries = 0;
let retry = 0;
let told = null; // the names of a snapshot that is still coming

/** Follow the appliance, for ever. */
export function follow() {
  connect();
  setInterval(watch, 1000);
  addEventListener("online", again);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) watch(); });
}

function connect() {
  clearTimeout(retry);
  retry = 0;
  source?.close();
  source = new EventSource("stream");
  heard = Date.now();
  const on = (event, take) => source.addEventListener(event, (message) => {
    heard = Date.now();
    take(JSON.parse(message.data));
  });
  on("hello", (hello) => {
    tellTime(hello.now);
    store.rungs = hello.rungs;
    if (store.edition && store.edition !== hello.edition) offerReload();
    store.edition = hello.edition;
    told = new Set();
    changed("hello");
  });
  on("rows", (message) => {
    if (told) for (const row of message.rows) told.add(row.name);
    takeRows(message);
  });
  on("ready", (ready) => {
    tellTime(ready.now);
    store.ready = true;
    keepOnly(told ?? new Set());
    told = null;
    found();
  });
  on("status", ({ status, health }) => {
    store.status = status;
    store.health = health;
    changed("status");
  });
  on("changed", () => {
    store.strays += 1;
    changed("strays");
  });
  on("beat", (beat) => tellTime(beat.now));
  source.onerror = lose;
}

/** The connection is gone: say so, and try again with growing patience. */
function lose() {
  if (retry) return;
  source?.close();
  told = null;
  if (!lostAt) lostAt = heard;
  retry = setTimeout(connect, PATIENCE[Math.min(tries, PATIENCE.length - 1)]);
  tries += 1;
  showLink();
}

function again() {
  if (lostAt) connect();
}

function found() {
  const away = lostAt;
  lostAt = tries = 0;
  if (away) speak("Connected again");
  showLink();
}

function watch() {
  if (!retry && Date.now() - heard > SILENT) lose();
  showLink();
}

function showLink() {
  const lost = byId("lost");
  const state = lostAt ? "lost" : store.status ? "live" : "waits";
  byId("link").dataset.state = state;
  say(byId("link-word"), { lost: "not connected", live: "live", waits: "connecting" }[state]);
  const stale = Boolean(lostAt) && Date.now() - lostAt > 2000;
  document.body.classList.toggle("stale", stale);
  lost.hidden = !stale;
  // A tab in the background must not promise what nobody sees any more.
  if (stale) document.title = "… not connected · PXE board";
  else if (store.headline) document.title = store.headline;
  if (!stale) return;
  const words = store.status
    ? `Not connected for ${long((Date.now() - lostAt) / 1000)}: what you see is of ${timeOfDay(byServer(lostAt))}. Trying again.`
    : "The appliance does not answer. Trying again.";
  // Told to a screen reader once; the seconds are for the eye.
  if (lost.textContent === "") speak("Connection lost. What is shown is no longer current.");
  lost.setAttribute("aria-live", "off");
  say(lost, words);
}

function offerReload() {
  const note = document.createElement("p");
  note.append("The appliance serves a newer page. ");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = "Load it";
  button.addEventListener("click", () => location.reload());
  note.append(button);
  byId("facts").after(note);
}
