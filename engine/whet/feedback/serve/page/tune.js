// The tune: start it, watch it, look at what it brought, and choose the version that searches.

import { get, post } from "./api.js";
import { comparison } from "./compare.js";
import { byId, el, plural } from "./dom.js";

const POLL_MS = 600;
const SLIGHT = 0.005; // a change so small is told, and not coloured
const STATES = { base: "as it came", candidate: "not decided", shipped: "shipped", discarded: "discarded" };

export class Tune {
  // `swapped` is called when another version searches, `say` tells what happened.
  constructor({ swapped, say }) {
    this.swapped = swapped;
    this.say = say;
    this.watching = false;
    byId("tune-start").addEventListener("click", () => this.act("/api/tune/start"));
    byId("tune-stop").addEventListener("click", () => this.act("/api/tune/stop"));
  }

  async open() {
    await this.guarded(async () => {
      await this.list();
      this.watch(await get("/api/tune"));
    });
  }

  async act(path) {
    await this.guarded(async () => {
      const state = await post(path);
      this.watch(state);
      if (path.endsWith("stop") && !state.running) this.say("The tune is stopped. Nothing of it is kept.");
    });
  }

  watch(state) {
    this.show(state);
    if (!state.running || this.watching) return;
    this.watching = true;
    const look = async () => {
      let now;
      try {
        now = await get("/api/tune");
      } catch {
        setTimeout(look, POLL_MS * 4); // the server is away; the tune may well go on
        return;
      }
      this.show(now);
      if (now.running) {
        setTimeout(look, POLL_MS);
        return;
      }
      this.watching = false;
      if (now.version !== null) {
        this.say("The tune is done.");
        await this.guarded(() => this.list(now.version));
      }
    };
    setTimeout(look, POLL_MS);
  }

  show(state) {
    byId("tune-start").hidden = state.running;
    byId("tune-stop").hidden = !state.running;
    byId("tune-progress").hidden = !state.running;
    if (byId("tune-phase").textContent !== state.phase) byId("tune-phase").textContent = state.phase;
    const bar = byId("tune-bar");
    const counted = state.total > 1; // of a single thing it is not known how far it is
    byId("tune-count").textContent = counted ? `${state.done} of ${state.total}` : "";
    if (counted) {
      bar.max = state.total;
      bar.value = state.done;
    } else bar.removeAttribute("value");
    if (state.error || state.running) this.fail(state.error);
  }

  fail(message) {
    byId("tune-error").textContent = message ?? "";
    byId("tune-error").hidden = !message;
  }

  async guarded(what) {
    try {
      this.fail(null);
      await what();
    } catch (refusal) {
      this.fail(refusal.message);
    }
  }

  async list(chosen = null) {
    const { current, versions } = await get("/api/versions");
    const rows = versions.toReversed().map((one) => this.row(one, current));
    byId("versions").replaceChildren(...rows);
    const candidates = versions.filter((one) => one.state === "candidate");
    const shown = versions.find((one) => one.version === chosen) ?? candidates.at(-1);
    this.base = versions[0].why;
    if (shown) await this.look(shown.version, current);
    else byId("result").hidden = true;
  }

  async look(version, current) {
    this.result(await post("/api/versions/look", { version }), current);
  }

  row(one, current) {
    const used = one.version === current;
    const when = one.version ? new Date(1000 * one.time).toLocaleString() : "";
    const facts = [STATES[one.state], one.version ? one.method : one.why, when,
      one.seconds ? `${one.seconds.toFixed(0)} s` : ""].filter(Boolean).join(" · ");
    const name = one.version ? `Version ${one.version}` : "Base model";
    return el("li", { class: used ? "used" : "" },
      el("div", {}, el("strong", {}, name), el("span", { class: "facts" }, facts)),
      one.held_out ? el("span", { class: "numbers" }, arrow(one.held_out)) : null,
      one.version ? el("button", { type: "button", onclick: () => this.guarded(() => this.look(one.version, current)) },
        "Look", el("span", { class: "unseen" }, ` at ${name}`)) : null,
      used ? el("span", { class: "now" }, "In use")
        : el("button", { type: "button", onclick: () => this.choose("use", one.version) },
          "Use this", el("span", { class: "unseen" }, `: ${name}`)));
  }

  result(one, current) {
    const panel = byId("result");
    const shown = el("div", { class: "shown" });
    const pick = (at) => shown.replaceChildren(comparison(one.lists[at], one.texts));
    const choice = el("select", { id: "pick", onchange: (event) => pick(Number(event.target.value)) },
      ...one.lists.map((list, at) => el("option", { value: at }, list.query)));
    panel.replaceChildren(
      el("h2", { id: "result-title", tabindex: "-1" }, `Version ${one.version}`),
      el("p", { class: "verdict" }, one.advice),
      el("div", { class: "tiles" },
        tile("Judged queries, each left out when it was scored", one.held_out,
          `Their loss, which decides: ${arrow(one.losses)}, lower is better`),
        tile("Other queries, to see what it forgets", one.guard)),
      el("p", { class: "method" }, one.why, ` Before is the model this folder began with, ${this.base}; after is version ${one.version}.`),
      this.decision(one, current),
      el("h3", {}, "Results before and after"),
      el("label", { class: "pick", for: "pick" }, "Query ", choice),
      shown);
    panel.hidden = false;
    pick(0);
    panel.firstChild.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "start" });
  }

  decision(one, current) {
    if (one.state !== "candidate") {
      return el("p", { class: "facts" }, one.version === current ? "This version is in use." : `This version was ${STATES[one.state]}.`);
    }
    return el("div", { class: "go" },
      el("button", { type: "button", class: "main", onclick: () => this.choose("ship", one.version) }, "Ship it"),
      el("button", { type: "button", onclick: () => this.choose("discard", one.version) }, "Discard"));
  }

  async choose(what, version) {
    await this.guarded(async () => {
      byId("tune").setAttribute("aria-busy", "true");
      try {
        await post(`/api/versions/${what}`, { version });
      } finally {
        byId("tune").removeAttribute("aria-busy");
      }
      byId("result").hidden = true;
      await this.list();
      byId("versions-title").scrollIntoView({ block: "nearest" });
      this.say(what === "discard" ? `Version ${version} is discarded.` : `Version ${version} searches now.`);
      if (what !== "discard") this.swapped();
    });
  }
}

const arrow = ({ before, after }) => `${before.toFixed(3)} → ${after.toFixed(3)}`;

function tile(title, numbers, more = null) {
  const by = numbers.after - numbers.before;
  const word = Math.abs(by) < 0.0005 ? "unchanged" : by > 0 ? "better" : "worse";
  const size = word === "unchanged" ? "" : ` by ${Math.abs(by).toFixed(3)}`;
  const plain = Math.abs(by) < SLIGHT;
  return el("div", { class: plain ? "tile" : `tile ${word}` },
    el("h3", {}, title),
    el("p", { class: "figure" }, arrow(numbers)),
    el("p", {}, `${word}${size} in ${numbers.measure}, on ${plural(numbers.queries, "query", "queries")}`),
    more ? el("p", {}, more) : null);
}
