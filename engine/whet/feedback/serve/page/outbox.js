// Events on their way to the server. Each lies in localStorage until the server has said that it is
// stored, so neither a lost connection nor a closed tab loses one; sent twice it is stored once. One
// that the server will not take is set aside, where it holds up no other and can be saved.

import { post } from "./api.js";

const AT_ONCE = 100;
const SLOWEST_MS = 8000;
const STALE = [401, 403]; // another start of the server: its key is not ours
const REFUSED = [400, 413, 422]; // for what was sent: it will never be stored
const BROKEN = 500;
const TRIES = 5; // of an event that the server breaks on

let last = 0;

// 32 hexadecimal digits that sort by time, as UUIDs of version 7 do.
export function newId() {
  last = Math.max(Date.now(), last + 1);
  const random = crypto.getRandomValues(new Uint8Array(10));
  const tail = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return last.toString(16).padStart(12, "0") + tail;
}

export class Outbox {
  // `tell` gets null when all is well, else what to show; `sent` is called after events went out,
  // `refused` with the reason after one was set aside.
  constructor(home, { tell, sent, refused }) {
    this.prefix = `whet.${home}.event.`;
    this.aside = `whet.${home}.aside.`;
    this.tell = tell;
    this.sent = sent;
    this.refused = refused;
    this.wait = 500;
    this.sending = false;
    this.tries = new Map();
    for (const event of this.setAside()) this.shift(event, this.aside, this.prefix); // once more
    addEventListener("online", () => this.flush());
  }

  put(event) {
    try {
      localStorage.setItem(this.prefix + event.id, JSON.stringify(event));
    } catch (full) {
      this.tell("This browser has no room for another mark, so it was not made.");
      throw full;
    }
    this.flush();
  }

  waiting() {
    return kept(this.prefix);
  }

  setAside() {
    return kept(this.aside);
  }

  forgetAside() {
    for (const event of this.setAside()) localStorage.removeItem(this.aside + event.id);
  }

  of(query) {
    return this.waiting().filter((event) => event.query === query);
  }

  async flush() {
    if (this.sending) return;
    this.sending = true;
    clearTimeout(this.timer);
    try {
      for (let events = this.waiting(); events.length; events = this.waiting()) {
        await this.send(events.slice(0, AT_ONCE));
        this.wait = 500;
        this.sent();
      }
      this.tell(null);
    } catch (refusal) {
      this.tell(message(refusal, this.waiting().length));
      if (!STALE.includes(refusal.status)) {
        this.timer = setTimeout(() => this.flush(), this.wait);
        this.wait = Math.min(2 * this.wait, SLOWEST_MS);
      }
    } finally {
      this.sending = false;
    }
  }

  async send(events) {
    try {
      await post("/api/events", { events });
    } catch (refusal) {
      const forGood = REFUSED.includes(refusal.status);
      if (!forGood && refusal.status !== BROKEN) throw refusal;
      if (events.length > 1) {
        for (const event of events) await this.send([event]);
        return;
      }
      if (!forGood && this.tried(events[0]) < TRIES) throw refusal;
      this.shift(events[0], this.prefix, this.aside);
      this.refused(refusal.message);
      return;
    }
    for (const event of events) localStorage.removeItem(this.prefix + event.id);
  }

  tried(event) {
    this.tries.set(event.id, (this.tries.get(event.id) ?? 0) + 1);
    return this.tries.get(event.id);
  }

  shift(event, from, to) {
    localStorage.removeItem(from + event.id); // first: there may be no room for both
    localStorage.setItem(to + event.id, JSON.stringify(event));
  }
}

function kept(prefix) {
  return Object.keys(localStorage)
    .filter((key) => key.startsWith(prefix))
    .sort()
    .map((key) => JSON.parse(localStorage.getItem(key)))
    .filter((event) => event !== null); // another tab was faster
}

function message(refusal, count) {
  const kept = `${count} of your marks wait here and will be sent`;
  if (STALE.includes(refusal.status)) {
    return `Whet was started anew. Open the address it printed; ${kept} then.`;
  }
  const what = refusal.status === 0 ? "The server cannot be reached" : refusal.message;
  return `${what}. Go on: ${kept} when it answers.`;
}
