/** The API over HTTP: every wait has an end, and every failure says which kind it is. */

const TIMEOUT_MS = 4_000;
const TOKEN_KEY = "liqctl.token";

/** `kind` is "offline" (no answer), "token" (401) or "refused" (any other answer without figures). */
export class ApiFailure extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

let kept = "";
let aheadMs = 0;

/** Return the token of this tab, or an empty text. */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? kept;
  } catch {
    return kept;
  }
}

/** Keep a token until the tab is closed; an empty text forgets it. */
export function setToken(text) {
  kept = text;
  try {
    if (text) sessionStorage.setItem(TOKEN_KEY, text);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // Storage is switched off: the token lives as long as the page.
  }
}

/** Return unix time by the server's clock, good to a second: this device's may be wrong. */
export const serverNow = () => Date.now() + aheadMs;

/** Return what a path answers. `/health` has figures with status 503 too.
 * Throws ApiFailure. */
export const get = (path) => ask("GET", path);

/** Do what a path does, and return its answer. Throws ApiFailure. */
export const post = (path) => ask("POST", path);

async function ask(method, path) {
  const headers = token() ? { authorization: `Bearer ${token()}` } : {};
  let answer;
  let body;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    answer = await fetch(path, { method, headers, signal, cache: "no-store" });
    body = await answer.json();
  } catch {
    throw new ApiFailure("offline", "the server does not answer");
  }
  const date = Date.parse(answer.headers.get("date"));
  // The header is cut to seconds; the middle of the second errs least.
  if (!Number.isNaN(date)) aheadMs = date + 500 - Date.now();
  if (answer.ok || (answer.status === 503 && typeof body.status === "string")) return body;
  const message = body.error?.message ?? `status ${answer.status}`;
  throw new ApiFailure(answer.status === 401 ? "token" : "refused", message);
}
