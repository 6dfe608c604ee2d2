// The list of results: a row a document, kept while it stays in the list, so that focus and
// unfolded text survive a change of order.

import { post } from "./api.js";
import { el } from "./dom.js";

const CLOSED = 280; // characters shown before a text is unfolded
const LEAD = 90; // of them before the best sentence

export class Results {
  // `on` has mark(doc_id, action) and grab(doc_id).
  constructor(list, on) {
    this.list = list;
    this.on = on;
    this.rows = new Map();
    this.current = null;
    list.addEventListener("focusin", (event) => {
      const row = event.target.closest(".result");
      if (row) this.choose(row.dataset.id);
    });
  }

  // documents: [{doc_id, score, text, more}], first first
  render(documents, marks, added) {
    const held = this.list.contains(document.activeElement) ? document.activeElement : null;
    const names = new Set(documents.map((one) => one.doc_id));
    for (const [id, row] of this.rows) {
      if (!names.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    }
    documents.forEach((one, at) => {
      const row = this.rows.get(one.doc_id) ?? this.make(one);
      if (this.list.children[at] !== row.node) {
        this.list.insertBefore(row.node, this.list.children[at] ?? null);
      }
      this.update(row, { at, mark: marks.get(one.doc_id) ?? 0, added: added.has(one.doc_id) });
    });
    if (!names.has(this.current)) this.current = documents[0]?.doc_id ?? null;
    this.choose(this.current);
    if (held?.isConnected && held !== document.activeElement) held.focus();
  }

  clear() {
    this.list.replaceChildren();
    this.rows.clear();
    this.current = null;
  }

  order() {
    return Array.from(this.list.children, (node) => node.dataset.id);
  }

  choose(id) {
    this.current = id;
    for (const [name, row] of this.rows) row.node.tabIndex = name === id ? 0 : -1;
  }

  focus(id) {
    const row = this.rows.get(id);
    if (!row) return;
    this.choose(id);
    row.node.focus();
    row.node.scrollIntoView({ block: "nearest" });
  }

  step(by) {
    const order = this.order();
    const inside = this.list.contains(document.activeElement);
    const at = inside ? order.indexOf(this.current) + by : order.indexOf(this.current);
    this.focus(order[Math.max(0, Math.min(at, order.length - 1))]);
  }

  grabbed(id) {
    for (const [name, row] of this.rows) row.node.classList.toggle("grabbed", name === id);
  }

  highlight(sentences) {
    for (const [id, sentence] of Object.entries(sentences)) {
      const row = this.rows.get(id);
      if (!row || !sentence) continue;
      row.sentence = sentence;
      this.paint(row);
    }
  }

  make(one) {
    const row = { id: one.doc_id, full: one.text, cut: one.more, open: false, sentence: "" };
    const mark = (action, sign, word) =>
      el("button", { type: "button", class: action, onclick: () => this.on.mark(row.id, action) },
        el("span", { "aria-hidden": "true" }, sign), ` ${word}`);
    row.rank = el("span", { class: "rank" });
    row.handle = el("button", { type: "button", class: "handle", onclick: (event) => {
      if (event.detail === 0) this.on.grab(row.id); // by keyboard; a pointer drags
    } }, el("span", { "aria-hidden": "true" }, "⠿"));
    row.text = el("p", { class: "text" });
    row.more = el("button", { type: "button", class: "more", "aria-expanded": "false",
      onclick: () => this.unfold(row) }, "Whole text");
    row.right = mark("relevant", "✓", "Relevant");
    row.wrong = mark("irrelevant", "✕", "Not relevant");
    row.added = el("span", { class: "added", hidden: true }, "added by hand");
    const score = one.score === null ? "" : one.score.toFixed(3);
    row.node = el("li", { class: "result", "data-id": row.id },
      el("div", { class: "gutter" }, row.handle, row.rank),
      el("div", { class: "body" },
        el("p", { class: "meta" }, el("span", { class: "id" }, row.id),
          el("span", { class: "score" }, score), row.added),
        row.text, row.more),
      el("div", { class: "marks", role: "group" }, row.right, row.wrong));
    this.rows.set(row.id, row);
    this.paint(row);
    return row;
  }

  update(row, { at, mark, added }) {
    row.rank.textContent = at + 1;
    row.handle.setAttribute("aria-label", `Move result ${at + 1}`);
    row.right.parentNode.setAttribute("aria-label", `Result ${at + 1} is`);
    row.right.setAttribute("aria-pressed", mark > 0);
    row.wrong.setAttribute("aria-pressed", mark < 0);
    row.node.classList.toggle("is-relevant", mark > 0);
    row.node.classList.toggle("is-irrelevant", mark < 0);
    row.added.hidden = !added;
  }

  paint(row) {
    const [before, best, after] = parts(row);
    row.text.replaceChildren(before, ...(best ? [el("mark", {}, best)] : []), after);
    row.text.classList.toggle("open", row.open);
    row.more.hidden = row.full.length <= CLOSED;
    row.more.textContent = row.open ? "Less" : "Whole text";
    row.more.setAttribute("aria-expanded", row.open);
  }

  async unfold(row) {
    if (!row.open && row.cut) {
      row.full = (await post("/api/document", { doc_id: row.id })).text;
      row.cut = false;
    }
    row.open = !row.open;
    this.paint(row);
  }
}

// The text before the best sentence, it, and the text after; folded, what is around it.
function parts(row) {
  const text = row.full;
  const at = row.sentence ? text.indexOf(row.sentence) : -1;
  const best = at < 0 ? "" : row.sentence;
  if (row.open) {
    return best ? [text.slice(0, at), best, text.slice(at + best.length)] : [text, "", ""];
  }
  const start = at > LEAD && text.length > CLOSED ? wordAfter(text, at - LEAD) : 0;
  const lead = (start ? "… " : "") + text.slice(start, Math.max(at, 0));
  const from = at < 0 ? 0 : at + best.length;
  const to = from + Math.max(0, CLOSED - best.length);
  return [lead, best, to < text.length ? `${text.slice(from, wordAfter(text, to))} …` : text.slice(from)];
}

function wordAfter(text, at) {
  const space = text.slice(at, at + LEAD).search(/\s/);
  return space < 0 ? at : at + space + 1;
}
