// The page: one query, its results, and what a person says of them.

import { fetchFile, get, loadState, post } from "./api.js";
import { byId, el, plural } from "./dom.js";
import { makeDraggable } from "./drag.js";
import { fold, restored, withWaiting } from "./fold.js";
import { History } from "./history.js";
import { fillHelp, listen, showHelp } from "./keys.js";
import { newId, Outbox } from "./outbox.js";
import { showProgress } from "./progress.js";
import { Results } from "./results.js";
import { Tune } from "./tune.js";

const EXPLAINED = 5; // documents a request, so that the first sentences come soon
const FETCHED_MS = 60000; // a browser has begun to save a file by then
const LOOKED_AT = "whet.query"; // shown again after a reload
const DONE = { relevant: "relevant", irrelevant: "not relevant", unmark: "without a mark" };

const now = { query: null, typed: null, query_id: null, found: [], documents: new Map(), events: [] };
let asked = 0; // the number of the newest search
let grab = null; // {id, order}: a result that the keys carry
let who = "me";
let history, outbox, needs;

const results = new Results(byId("results"), { mark, grab: take });
const tune = new Tune({ swapped: () => now.query && show(now.query, now.query_id), say });

function say(text) {
  byId("live").textContent = text;
}

function status(text) {
  byId("status").textContent = text;
}

// ---- the list

const order = () => grab?.order ?? fold(now.found, now.events, who).order;

function paint() {
  const { marks } = fold(now.found, now.events, who);
  const names = order().filter((id) => now.documents.has(id));
  const added = new Set(names.filter((id) => !now.found.includes(id)));
  results.render(names.map((id) => now.documents.get(id)), marks, added);
  results.grabbed(grab?.id);
  byId("undo").disabled = !history.done.length;
  byId("redo").disabled = !history.undone.length;
}

async function show(query, query_id = null) {
  const mine = ++asked;
  status("Searching …");
  const before = outbox.of(query.trim()); // some may be stored while the server searches
  let answer;
  try {
    answer = await post("/api/search", { query, query_id, who });
  } catch (refusal) {
    if (mine === asked) status(refusal.message);
    return false;
  }
  if (mine !== asked) return false;
  grab = null;
  if (answer.query !== now.query) results.clear();
  const waiting = [...before, ...outbox.of(answer.query)];
  Object.assign(now, {
    query: answer.query,
    query_id,
    found: answer.found,
    documents: new Map(answer.results.map((one) => [one.doc_id, one])),
    events: withWaiting(answer.standing, waiting, (id) => history.recall(id)),
  });
  byId("query").value = answer.query;
  now.typed = byId("query").value; // the field takes line ends out
  sessionStorage.setItem(LOOKED_AT, JSON.stringify([answer.query, query_id]));
  byId("empty").hidden = true;
  byId("found").replaceChildren();
  for (const control of byId("find").elements) control.disabled = false;
  byId("skip").disabled = false;
  paint();
  const { embed, search } = answer.ms;
  status(`${plural(answer.results.length, "result")} in ${(embed + search).toFixed(0)} ms, found by ${
    answer.model ? `version ${answer.model}` : "the base model"}`);
  explain(mine);
  return true;
}

async function explain(mine) {
  let left = order();
  while (left.length && mine === asked) {
    let said;
    try {
      said = await post("/api/why", { query: now.query, doc_ids: left.slice(0, EXPLAINED) });
    } catch {
      return; // the list stands without
    }
    if (mine === asked) results.highlight(said);
    const open = left.filter((id) => !(id in said)); // more than were asked for, or took too long
    if (open.length === left.length) return;
    left = open;
  }
}

// ---- what a person says

function made(action, said = {}) {
  return {
    id: newId(), query: now.query, query_id: now.query_id, action, who,
    doc_id: null, place: null, target: null, ...said,
  };
}

function send(event) {
  const shown = event.query === now.query
    ? fold(now.found, now.events, who).order.map((id) => [id, now.found.includes(id) ? now.documents.get(id)?.score ?? null : null])
    : [];
  outbox.put({ ...event, shown });
}

function act(action, said) {
  if (now.query === null) return;
  const event = made(action, said);
  send(event);
  now.events = [...now.events, event];
  history.did(event);
  paint();
}

function mark(id, action) {
  const { marks, order } = fold(now.found, now.events, who);
  const held = { relevant: 1, irrelevant: -1 }[action] === marks.get(id);
  act(held ? "unmark" : action, { doc_id: id });
  say(`Result ${order.indexOf(id) + 1} is ${DONE[held ? "unmark" : action]}.`);
}

function move(id, place) {
  const from = order().indexOf(id);
  const at = Math.max(0, Math.min(place, order().length - 1));
  if (from === at) return;
  act("move", { doc_id: id, place: at });
  results.focus(id);
  say(`Moved from place ${from + 1} to ${at + 1}.`);
}

async function turn(event, action) {
  if (!event) return;
  if (event.query !== now.query) {
    byId("view-judge").click();
    if (!(await show(event.query, event.query_id))) {
      history[action === "undo" ? "redo" : "undo"](); // it stays to be taken back
      paint();
      return;
    }
  }
  send(made(action, { target: event.id }));
  now.events = action === "undo"
    ? now.events.filter((one) => one.id !== event.id) : restored(now.events, event);
  paint();
  if (event.doc_id) results.focus(event.doc_id);
  say(action === "undo" ? "Undone." : "Done again.");
}

const undo = () => turn(history.undo(), "undo");
const redo = () => turn(history.redo(), "redo");

// ---- carrying a result with the keys

function take(id) {
  grab = { id, order: [...order()] };
  paint();
  results.focus(id);
  say(`Taken from place ${grab.order.indexOf(id) + 1}. Arrows move it, Enter puts it down, Escape puts it back.`);
}

function carry(by) {
  const at = grab.order.indexOf(grab.id);
  const to = Math.max(0, Math.min(at + by, grab.order.length - 1));
  grab.order.splice(at, 1);
  grab.order.splice(to, 0, grab.id);
  paint();
  results.focus(grab.id);
  say(`Place ${to + 1} of ${grab.order.length}.`);
}

function putDown(kept) {
  const { id, order: wanted } = grab;
  grab = null;
  if (kept && wanted.indexOf(id) !== order().indexOf(id)) {
    move(id, wanted.indexOf(id));
    return;
  }
  paint();
  results.focus(id);
  say(kept ? "Put down where it was." : "Put back.");
}

function whileCarrying(key) {
  if (!grab) return null;
  return {
    ArrowUp: () => carry(-1), ArrowDown: () => carry(1),
    k: () => carry(-1), j: () => carry(1),
    Enter: () => putDown(true), m: () => putDown(true), " ": () => putDown(true),
    Escape: () => putDown(false), Tab: () => {},
  }[key];
}

// ---- the next query

async function next() {
  let answer;
  try {
    answer = await post("/api/next", { after: now.query_id });
  } catch (refusal) {
    status(refusal.message);
    return;
  }
  const { query, query_id, margin, left } = answer;
  if (query === null) {
    byId("why-next").textContent = "Every query of your data is judged or skipped.";
    return;
  }
  const unsure = margin === null ? "" : `The two best results score ${margin.toFixed(3)} apart. `;
  byId("why-next").textContent = `${unsure}${plural(left, "query", "queries")} left.`;
  if (await show(query, query_id)) results.focus(results.order()[0]);
}

async function skip() {
  if (now.query === null) return;
  act("skip");
  await outbox.flush();
  await next();
}

// ---- a document that the list lacks

async function find() {
  const text = byId("find-text").value;
  let found;
  try {
    found = await post("/api/find", { text });
  } catch (refusal) {
    say(refusal.message);
    return;
  }
  byId("found").replaceChildren(...found.map((one) =>
    el("li", {},
      el("p", {}, one.text.slice(0, 180)),
      el("button", { type: "button", onclick: () => pullIn(one) },
        "Belongs here", el("span", { class: "unseen" }, `: ${one.doc_id}`)))));
  say(`${plural(found.length, "document")} found.`);
}

function pullIn(one) {
  if (!now.documents.has(one.doc_id)) now.documents.set(one.doc_id, { ...one, score: null });
  if (fold(now.found, now.events, who).marks.get(one.doc_id) !== 1) act("relevant", { doc_id: one.doc_id });
  byId("found").replaceChildren();
  byId("find-text").value = "";
  results.focus(one.doc_id);
  say("Added to the list as relevant.");
}

// ---- the page around it

function view(name) {
  for (const one of ["judge", "tune"]) {
    byId(one).hidden = one !== name;
    if (one === name) byId(`view-${one}`).setAttribute("aria-current", "page");
    else byId(`view-${one}`).removeAttribute("aria-current");
  }
  if (name === "tune") tune.open();
}

let counting;
function countSoon() {
  clearTimeout(counting);
  counting = setTimeout(async () => {
    try {
      showProgress(await get("/api/counts"), needs);
    } catch {
      // the banner says it
    }
  }, 150);
}

function banner(text) {
  byId("banner").hidden = text === null;
  byId("banner").textContent = text ?? "";
}

function showAside(reason) {
  const events = outbox.setAside();
  byId("aside").hidden = !events.length;
  if (!events.length) return;
  byId("aside-text").textContent =
    `${plural(events.length, "mark")} could not be stored, and stay in this browser alone. ${reason}`;
}

// ---- files

async function exportFile(name) {
  try {
    give(await fetchFile(`/api/${name}`), name);
  } catch (refusal) {
    status(refusal.message);
  }
}

function saveAside() {
  const lines = outbox.setAside().map((event) => `${JSON.stringify(event)}\n`);
  give(new Blob(lines, { type: "application/x-ndjson" }), "not_stored.jsonl");
}

function give(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), FETCHED_MS);
}

function wire() {
  const on = (id, event, act) => byId(id).addEventListener(event, act);
  const submitted = (act) => (event) => {
    event.preventDefault();
    act();
  };
  on("search", "submit", submitted(async () => {
    byId("why-next").textContent = "";
    const typed = byId("query").value;
    const same = now.query !== null && typed === now.typed;
    if (typed.trim() && (await show(...(same ? [now.query, now.query_id] : [typed])))) results.focus(results.order()[0]);
  }));
  on("find", "submit", submitted(find));
  on("next", "click", next);
  on("skip", "click", skip);
  on("undo", "click", undo);
  on("redo", "click", redo);
  on("help", "click", showHelp);
  on("aside-save", "click", saveAside);
  on("aside-forget", "click", () => {
    outbox.forgetAside();
    showAside();
  });
  for (const name of ["qrels.tsv", "pairs.jsonl", "events.jsonl"]) {
    on(`export-${name.split(".")[0]}`, "click", () => exportFile(name));
  }
  on("view-judge", "click", () => view("judge"));
  on("view-tune", "click", () => view("tune"));
  on("who", "change", () => {
    who = byId("who").value.trim() || "me";
    byId("who").value = who;
    localStorage.setItem("whet.who", who);
    if (now.query !== null) paint();
  });
  makeDraggable(byId("results"), move);
  const onJudge = (act) => () => byId("judge").hidden || act();
  const here = (act) => onJudge(() => results.current !== null && act(results.current));
  const by = (step) => here((id) => move(id, order().indexOf(id) + step));
  listen({
    j: here(() => results.step(1)), k: here(() => results.step(-1)),
    ArrowDown: here(() => results.step(1)), ArrowUp: here(() => results.step(-1)),
    r: here((id) => mark(id, "relevant")), x: here((id) => mark(id, "irrelevant")),
    "Alt ArrowUp": by(-1), "Alt ArrowDown": by(1), m: here(take),
    u: undo, "Ctrl z": undo, U: redo, "Ctrl y": redo, "Ctrl Shift z": redo,
    n: onJudge(next), s: onJudge(skip),
    "/": () => {
      view("judge");
      byId("query").select();
    },
    "?": showHelp,
  }, whileCarrying);
  fillHelp();
}

async function start() {
  who = localStorage.getItem("whet.who") ?? "me";
  byId("who").value = who;
  let state;
  try {
    state = await loadState();
  } catch (refusal) {
    banner(refusal.status === 401 ? refusal.message
      : `${refusal.message} The page is loaded again when you press F5.`);
    return;
  }
  history = new History(state.home);
  outbox = new Outbox(state.home, {
    tell: banner,
    sent: countSoon,
    refused: showAside,
  });
  byId("data-name").textContent = state.data;
  byId("folder").textContent = state.folder;
  document.title = `Whet · ${state.data}`;
  needs = state.needs;
  showProgress(state.counts, needs);
  wire();
  byId("undo").disabled = !history.done.length;
  byId("redo").disabled = !history.undone.length;
  status(`${plural(state.documents, "document")}, ${plural(state.queries, "query", "queries")}`);
  byId("next").hidden = byId("skip").hidden = !state.queries;
  outbox.flush();
  const [query, query_id] = JSON.parse(sessionStorage.getItem(LOOKED_AT) ?? "[]");
  if (query) show(query, query_id);
  if (state.tuning) view("tune");
}

start();
