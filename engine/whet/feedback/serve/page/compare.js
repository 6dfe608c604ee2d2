// Two lists of one query side by side, before and after, with what moved drawn between them.

import { el, svg } from "./dom.js";

const SHOWN = 10;

// list: {query, relevant, before, after}; texts: the first words of each document
export function comparison(list, texts) {
  const before = list.before.slice(0, SHOWN);
  const after = list.after.slice(0, SHOWN);
  const relevant = new Set(list.relevant);
  const left = column("Before", before, { relevant, texts, badge: (id) => (after.includes(id) ? null : out()) });
  const right = column("After", after, { relevant, texts, badge: (id, at) => moved(before.indexOf(id), at) });
  const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
  const pair = el("div", { class: "pair" }, left, lines, right);
  const draw = () => drawLines(lines, pair, relevant);
  new ResizeObserver(draw).observe(pair);
  return pair;
}

function column(title, ids, { relevant, texts, badge }) {
  const rows = ids.map((id, at) =>
    el("li", { class: relevant.has(id) ? "is-relevant" : "", "data-id": id },
      el("span", { class: "rank" }, at + 1),
      el("span", { class: "glimpse" },
        relevant.has(id) ? el("span", { class: "tick" }, el("span", { "aria-hidden": "true" }, "✓"), el("span", { class: "unseen" }, "relevant: ")) : null,
        texts[id] ?? id),
      badge(id, at)));
  return el("div", {}, el("h4", {}, title), el("ol", { role: "list" }, ...rows));
}

function moved(was, is) {
  if (was < 0) return el("span", { class: "badge new" }, "new");
  if (was === is) return null;
  const up = was > is;
  const by = Math.abs(was - is);
  return el("span", { class: `badge ${up ? "up" : "down"}` },
    el("span", { "aria-hidden": "true" }, up ? "▲" : "▼"), String(by),
    el("span", { class: "unseen" }, up ? " up" : " down"));
}

const out = () => el("span", { class: "badge" }, `below ${SHOWN}`);

function drawLines(lines, pair, relevant) {
  const box = lines.getBoundingClientRect();
  const [left, right] = pair.querySelectorAll("ol");
  const ends = new Map(Array.from(right.children, (row) => [row.dataset.id, row]));
  const middle = (row) => {
    const own = row.getBoundingClientRect();
    return own.top + own.height / 2 - box.top;
  };
  const paths = Array.from(left.children)
    .filter((row) => ends.has(row.dataset.id))
    .map((row) => {
      const [from, to] = [middle(row), middle(ends.get(row.dataset.id))];
      const third = box.width / 3;
      return svg("path", {
        class: relevant.has(row.dataset.id) ? "right" : "",
        d: `M0 ${from} C${third} ${from} ${2 * third} ${to} ${box.width} ${to}`,
      });
    });
  lines.replaceChildren(...paths);
}
