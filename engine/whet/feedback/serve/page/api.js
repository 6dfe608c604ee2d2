// Requests to the server. A failure is a Refusal; status 0 means that it could not be reached.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const AGAIN_MS = 100;
const KEY = "whet.key"; // of this tab: it outlives a reload, and no other port is ever sent it

export async function loadState() {
  await enter();
  return get("/api/state");
}

// The address holds a token that is good once; the key that it is exchanged for is in no address.
async function enter() {
  const token = new URLSearchParams(location.search).get("token");
  if (token === null) return;
  history.replaceState(null, "", "/");
  const { key } = await post("/api/enter", { token });
  sessionStorage.setItem(KEY, key);
}

export const get = (path) => ask(path, {});

export const post = (path, said = {}) =>
  ask(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(said),
  });

export const fetchFile = async (path) => (await answered(path, {})).blob();

const ask = async (path, options) => (await answered(path, options)).json();

async function answered(path, options) {
  const headers = { ...options.headers, "x-whet-key": sessionStorage.getItem(KEY) ?? "" };
  const answer = await reach(path, { ...options, headers, cache: "no-store" });
  if (answer.ok) return answer;
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
