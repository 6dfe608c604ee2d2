// Requests to the server. A failure is a Refusal; status 0 means that it could not be reached.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const AGAIN_MS = 100;

let form = "";

export async function loadState() {
  const state = await get("/api/state");
  form = state.form;
  return state;
}

export const get = (path) => ask(path, {});

export const post = (path, said = {}) =>
  ask(path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-whet-form": form },
    body: JSON.stringify(said),
  });

async function ask(path, options) {
  const answer = await reach(path, { ...options, cache: "no-store" });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  throw new Refusal(answer.status, told(text) || `The server answered ${answer.status}.`);
}

// Twice: a connection that lay idle may be closed in the moment it is used again. Asked twice,
// everything here is done once.
async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    await new Promise((wake) => setTimeout(wake, AGAIN_MS));
  }
  try {
    return await fetch(path, options);
  } catch {
    throw new Refusal(0, "The server cannot be reached.");
  }
}

function told(text) {
  try {
    return JSON.parse(text).error;
  } catch {
    return text.trim();
  }
}
