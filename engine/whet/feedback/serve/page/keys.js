// What the keys do; the help dialog is made of the same list.

import { byId, el } from "./dom.js";

const HELP = [
  ["j  k", "next, previous result (arrows too)"],
  ["r", "relevant"],
  ["x", "not relevant"],
  ["Alt ↑ ↓", "move the result one place"],
  ["m", "take the result: arrows move it, Enter puts it down, Esc puts it back"],
  ["u", "undo (Ctrl Z too)"],
  ["U", "redo (Ctrl Y too)"],
  ["n", "next query"],
  ["s", "skip this query"],
  ["/", "to the search box"],
  ["?", "these keys"],
];
const TYPING = "input, textarea, select, [contenteditable]";

// `acts`: the functions, by what is pressed; `grab` is asked first while a result is taken.
export function listen(acts, grab) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.(TYPING)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const act = grab(event.key) ?? acts[spelled(event)];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function spelled(event) {
  if (event.ctrlKey || event.metaKey) {
    const key = event.key.toLowerCase();
    return `Ctrl ${event.shiftKey ? "Shift " : ""}${key}`;
  }
  return event.altKey ? `Alt ${event.key}` : event.key;
}

export function showHelp() {
  byId("keys").showModal();
}

export function fillHelp() {
  byId("key-list").replaceChildren(...HELP.map(([key, what]) =>
    el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, what))));
  byId("keys-close").addEventListener("click", () => byId("keys").close());
}
