// The ledger of strays: who asked and was not served, whose it may be, and what can be done, ready to copy.

import { el, byId, command, listing, advice } from "./dom.js";
import { ago, timeOfDay } from "./clock.js";

const SHOWN = 200;
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;

/** Fetch and draw. */
export async function drawStrays() {
  const rows = await listing("strays");
  const body = byId("strays-body");
  if (!rows?.length) {
    body.replaceChildren(el("p.empty", {}, "Nobody asked that is not in the inventory."));
    return;
  }
  const asking = rows.filter((row) => row.ignored === null || row.ignored === undefined).sort(newest);
  const ignored = rows.filter((row) => !asking.includes(row)).sort(newest);
  body.replaceChildren(
    el("p.note", {}, "These asked for an address and were given none."),
    el("div.cards", {}, asking.slice(0, SHOWN).map(card)),
    asking.length > SHOWN ? el("p.note", {}, `… and ${asking.length - SHOWN} more: pxe-appliance strays lists them all.`) : "",
    ignored.length ? el("details", {}, el("summary", {}, `${ignored.length} ignored`), el("div.cards", {}, ignored.slice(0, SHOWN).map(card))) : "",
  );
}

const newest = (a, b) => String(b.last).localeCompare(String(a.last));

function card(row) {
  // What a client says of itself never gets into a command: a MAC has one form, the name is for its owner to choose.
  const mac = MAC.test(row.mac) ? row.mac : null;
  return el("article.card", {},
    el("div.head", {}, el("h3.mono", {}, row.mac), el("span", {}, row.vendor || "vendor unknown"),
      el("span.sub", {}, `${row.count} times, last ${ago(row.last)}`)),
    el("p", {}, row.reason),
    row.owner ? el("p", {}, el("span.mark.good", {}, "owner"), " ", row.owner) : null,
    typeof row.ignored === "string" ? el("p.sub", {}, `ignored: ${row.ignored || "no note"}`) : null,
    el("p.sub", {}, [row.network ? `network ${row.network}` : "", row.arch, row.vendor_class, row.client_name ? `calls itself ${row.client_name}` : "",
      row.uuid ? `UUID ${row.uuid}` : ""].filter(Boolean).join(" · ")),
    row.remedy && !row.remedy.startsWith("pxe-appliance strays ") ? advice(row.remedy) : null,
    mac ? el("div.says", {}, typeof row.ignored === "string" ? command(`pxe-appliance strays unignore ${mac}`)
      : [command(`pxe-appliance strays adopt ${mac} --name NAME`), command(`pxe-appliance strays ignore ${mac}`)]) : null,
  );
}

const HOW = { probe: "our own question", broadcast: "its answer to a machine", request: "a machine that chose it" };

/** The banner about other DHCP servers; hidden when there is none. */
export function drawRogues(servers) {
  const banner = byId("rogue");
  const key = JSON.stringify(servers);
  if (banner.dataset.key === key) return;
  banner.dataset.key = key;
  banner.hidden = !servers.length;
  banner.replaceChildren(...servers.slice(0, 5).map((server) => {
    const one = typeof server === "string" ? { ip: server } : server;
    const facts = [one.first ? `since ${timeOfDay(Date.parse(one.first))}, last ${timeOfDay(Date.parse(one.last))}` : "",
      one.how ? `known by ${HOW[one.how] ?? one.how}` : "", one.offered ? `it offered ${one.offered}` : ""].filter(Boolean);
    return el("p", {},
      el("strong", {}, `Another DHCP server answers${one.network ? ` on ${one.network}` : ""}: ${one.ip ?? "address unknown"}${one.mac ? `, ${one.mac}` : ""}.`),
      `${facts.length ? ` Here ${facts.join("; ")}.` : ""} Machines may get its addresses and never boot: find the switch port of that MAC and shut it.`);
  }));
}
