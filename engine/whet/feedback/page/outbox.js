// Events on their way to the server. Each lies in localStorage until the server has said that it is
// stored, so neither a lost connection nor a closed tab loses one; sent twice it is stored once.

import { post } from "./api.js";

const AT_ONCE = 100;
const SLOWEST_MS = 8000;
const STALE = [401, 403]; // another start of the server: its key is not ours

let last = 0;

// 32 hexadecimal digits that sort by time, as UUIDs of version 7 do.
export function newId() {
  last = Math.max(Date.now(), last + 1);
  const random = crypto.getRandomValues(new Uint8Array(10));
  const tail = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return last.toString(16).padStart(12, "0") + tail;
}

export class Outbox {
  // `tell` gets null when all is well, else what to show; `sent` is called after events went out.
  constructor(home, { tell, sent, refused }) {
    this.prefix = `whet.${home}.event.`;
    this.tell = tell;
    this.sent = sent;
    this.refused = refused;
    this.wait = 500;
    this.sending = false;
    addEventListener("online", () => this.flush());
  }

  put(event) {
    localStorage.setItem(this.prefix + event.id, JSON.stringify(event));
    this.flush();
  }

  waiting() {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(this.prefix))
      .sort()
      .map((key) => JSON.parse(localStorage.getItem(key)));
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
      if (refusal.status !== 400) throw refusal;
      if (events.length > 1) {
        for (const event of events) await this.send([event]);
        return;
      }
      this.refused(refusal.message); // it will never be stored; the others must not wait for it
    }
    for (const event of events) localStorage.removeItem(this.prefix + event.id);
  }
}

function message(refusal, count) {
  const kept = `${count} of your marks wait here and will be sent`;
  if (STALE.includes(refusal.status)) {
    return `Whet was started anew. Open the address it printed; ${kept} then.`;
  }
  const what = refusal.status === 0 ? "The server cannot be reached" : refusal.message;
  return `${what}. Go on: ${kept} when it answers.`;
}
