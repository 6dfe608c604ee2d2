// What a query's events make of its list: the same rules as whet.feedback.judgments and known.

const MARKS = { relevant: 1, irrelevant: -1, unmark: 0 };

export function fold(found, events, who) {
  return { order: orderAfter(found, events), marks: marksFor(events, who) };
}

function orderAfter(found, events) {
  const order = [...found];
  for (const { action, doc_id: id, place } of events) {
    const at = order.indexOf(id);
    if (action === "relevant" && at < 0) order.unshift(id);
    else if (action === "move" && at >= 0) {
      order.splice(at, 1);
      order.splice(place, 0, id);
    }
  }
  return order;
}

// A person's own last mark, else what most others say.
function marksFor(events, who) {
  const own = new Map();
  const others = new Map();
  for (const event of events) {
    if (!(event.action in MARKS)) continue;
    if (event.who === who) own.set(event.doc_id, MARKS[event.action]);
    else others.set(JSON.stringify([event.who, event.doc_id]), [event.doc_id, MARKS[event.action]]);
  }
  const votes = new Map();
  for (const [id, mark] of others.values()) votes.set(id, (votes.get(id) ?? 0) + mark);
  for (const [id, vote] of votes) votes.set(id, Math.sign(vote));
  return new Map([...votes, ...own]);
}

// Events that wait in the browser, taken into what the server knew.
export function withWaiting(standing, waiting, recall) {
  let events = [...standing];
  for (const event of waiting) {
    if (event.action === "undo") events = events.filter((one) => one.id !== event.target);
    else if (event.action === "redo") events = restored(events, recall(event.target));
    else if (!events.some((one) => one.id === event.id)) events.push(event);
  }
  return events;
}

// Put an event back where it stood: ids begin with the time.
export function restored(events, event) {
  if (!event || events.some((one) => one.id === event.id)) return events;
  const at = events.findIndex((one) => one.id > event.id);
  return at < 0 ? [...events, event] : events.toSpliced(at, 0, event);
}
