// How far the judging has come, and what a tune needs of it.

import { byId, el, plural } from "./dom.js";

// needs: {fewest, encoder}, how many answered queries a tune takes, and one of the encoder
export function showProgress(counts, needs) {
  const rows = [
    ["Queries judged", counts.judged],
    ["Relevant", counts.relevant],
    ["Not relevant", counts.irrelevant],
    ["Moves", counts.moves],
    ["Skipped", counts.skipped],
  ];
  byId("counts").replaceChildren(...rows.map(([name, count]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, count.toLocaleString("en")))));
  byId("hint").textContent = byId("tune-hint").textContent = hint(counts, needs);
}

function hint({ judged, answered }, { fewest, encoder }) {
  if (!judged) return "Say of some results whether they are relevant, or drag them to where they belong. The model learns from that.";
  if (answered < fewest) {
    return `A tune needs ${fewest} queries with a relevant result, to tell whether it helped: ${plural(fewest - answered, "more query", "more queries")}.`;
  }
  if (answered < encoder) return `Enough for a small tune. From ${encoder} queries with a relevant result on it also tries to train the encoder of queries.`;
  return "Enough to tune, and to tell whether it helped. More is better.";
}
