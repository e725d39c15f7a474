// Requests to the service. Errors carry its own words.

let key = sessionStorage.getItem("adaptkit-key") || "";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(given) {
  key = given;
  sessionStorage.setItem("adaptkit-key", given);
}

async function send(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const asked = body === undefined ? { headers, signal } : { method: "POST", headers, body: JSON.stringify(body), signal };
  let reply;
  try {
    reply = await fetch(path, asked);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Refused(0, "The service cannot be reached. Is it still running?");
  }
  if (reply.ok) return reply;
  const found = await reply.json().catch(() => null);
  throw new Refused(reply.status, found?.error?.message ?? `The service answered with status ${reply.status}.`);
}

export const get = async (path) => (await send(path)).json();
export const post = async (path, body, signal) => (await send(path, body, signal)).json();

// Texts of a streamed answer, as they come.
export async function* stream(path, body, signal) {
  const reply = await send(path, { ...body, stream: true }, signal);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const found = JSON.parse(data);
      if (found.error) throw new Refused(found.error.code, found.error.message);
      yield found.choices[0]?.delta?.content ?? found.choices[0]?.text ?? "";
    }
  }
}
