// Elements and text. Whatever comes from the wire becomes a text node, with what is invisible spelled out;
// no markup is ever made from a string.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
const LONGEST = 400;

/** Text that can be shown: control and bidirectional characters as escapes, at most so many characters. */
export function shown(value, longest = LONGEST) {
  const text = String(value ?? "").slice(0, longest * 2).replace(HIDDEN, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

/** An element: `el("p.note#id", {attribute: value}, "text", child, …)`. Functions become listeners. */
export function el(what, attributes = {}, ...children) {
  const [tag, ...marks] = what.split(/(?=[.#])/);
  const made = document.createElement(tag);
  for (const mark of marks) {
    if (mark[0] === "#") made.id = mark.slice(1);
    else made.classList.add(mark.slice(1));
  }
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : shown(value, 2000));
  }
  made.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== "").map(node));
  return made;
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(shown(child, 2000));
}

/** Set the text of an element when it is another one: an unchanged page is not laid out again. */
export function say(element, text) {
  const safe = shown(text, 2000);
  if (element.textContent !== safe) element.textContent = safe;
}

const TAIL = 9; // characters at a name's end that stay: what tells rack17-node-0001 from its neighbours

/** Set a name that is cut in its middle where it does not fit (style.css: .cut); its text and title are whole. */
export function sayName(element, name) {
  const safe = shown(name);
  if (element.title === safe && element.textContent === safe) return;
  const at = safe.length > TAIL + 6 ? safe.length - TAIL : safe.length;
  element.title = safe;
  element.classList.add("cut");
  element.replaceChildren(el("span", {}, safe.slice(0, at)), ...(at < safe.length ? [el("span", {}, safe.slice(at))] : []));
}

/** A command to be typed on the appliance, with a button that copies it. */
export function command(text) {
  const code = el("code", {}, text);
  const button = el("button", { type: "button", "aria-label": `Copy: ${text}`, click: () => copy(code, button) }, "Copy");
  return el("div.say", {}, code, button);
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without TLS there is no clipboard but on localhost: then it is marked, and the old command copies it.
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    if (!document.execCommand("copy")) return;
  }
  button.textContent = "Copied";
  speak("Copied");
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

/** Advice: a command when it begins like one, else a sentence. */
export function advice(text) {
  if (!text) return null;
  const typed = /^(pxe-appliance|systemctl|ip|ss|curl|df|apt|nft|ufw|firewall-cmd|sysctl|chmod|chown) [^,;]*$/.test(text);
  return typed ? command(text) : el("p", {}, text);
}

let last = "";
/** Have a screen reader say something, once. */
export function speak(text) {
  if (text === last) return;
  last = text;
  say(document.getElementById("spoken"), text);
}

/** Terms and what they are; empty ones are left out. */
export function facts(pairs) {
  return el("dl.facts-list", {}, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export const byId = (id) => document.getElementById(id);

/** A JSON listing of the daemon; null when there is none of that name. Throws when it cannot be had. */
export async function listing(path) {
  const answer = await fetch(`../v1/${path}`, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (answer.status === 404) return null;
  const kind = answer.headers.get("Content-Type") ?? "";
  if (!kind.startsWith("application/json")) throw new Error(`HTTP ${answer.status}`);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message ?? value.error ?? `HTTP ${answer.status}`);
  return value;
}
