// Requests to the server. An error is a `Refusal` with the server's sentence; status 0: no answer.

export class Refusal extends Error {
  constructor(status, sentence, retryAfter = null) {
    super(sentence);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

export const collection = () => ask("/api/collection");
export const search = (request, signal) => ask("/api/search", { json: request, signal });
export const files = (asked, signal) => ask(`/api/files?${asked}`, { signal });
export const file = (id, { offset = 0, limit = 200, signal } = {}) => ask(`/api/files/${id}?offset=${offset}&limit=${limit}`, { signal });
export const openFolder = (id) => answer(`/api/files/${id}/open`, { method: "POST" });
export const texts = (id, signal) => ask(`/api/files/${id}/texts`, { signal });
export const status = () => ask("/api/status");
export const timeline = (request, signal) => ask("/api/timeline", { json: request, signal });

/** Send a file to search by. Returns {upload, kind, seconds}. */
export function upload(file, name, signal) {
  const form = new FormData();
  form.append("file", file, name);
  return ask("/api/uploads", { form, signal });
}

/** Send the token once; the server sets a cookie that scripts cannot read. */
export async function signIn(token) {
  await answer(`/?token=${encodeURIComponent(token)}`, {});
}

async function ask(path, { json, form, signal } = {}) {
  const sent = { signal };
  if (json) {
    Object.assign(sent, {
      method: "POST", body: JSON.stringify(json), headers: { "Content-Type": "application/json" },
    });
  } else if (form) {
    Object.assign(sent, { method: "POST", body: form });
  }
  const response = await answer(path, sent);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server's answer broke off.");
  }
}

async function answer(path, sent) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...sent });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer.");
  }
  if (response.ok) return response;
  const wait = Number(response.headers.get("Retry-After"));
  throw new Refusal(response.status, await sentence(response), wait > 0 ? wait : null);
}

async function sentence(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string") return error;
  } catch {
    // Something between the page and the server answered; its text is not for users.
  }
  return `The server refused (${response.status}).`;
}
