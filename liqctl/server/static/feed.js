/** What the page knows: the latest answer of each route, how old it is, and when to ask again. */

import { ApiFailure, get } from "./api.js";
import { Live } from "./live.js";

// With the stream up too: some rows are written after the event that tells of them.
const POLL_MS = 2_000;
const TICK_MS = 250;
// Older than any answer that is asked for in time, its waiting included.
const OLD_MS = 10_000;

/** Each route with the least time between two asks, and the frames after which it has changed. */
const ROUTES = {
  health: { path: "/health", gapMs: 500, frames: ["alert"] },
  prices: { path: "/prices", gapMs: 500, frames: ["price_update"] },
  positions: { path: "/positions?limit=12", gapMs: 500, frames: ["price_update", "queue", "liquidation"] },
  queue: { path: "/liquidations/pending?limit=50", gapMs: 500, frames: ["queue", "liquidation"] },
  liquidations: { path: "/liquidations/recent?limit=20", gapMs: 500, frames: ["liquidation"] },
  stats: { path: "/stats?days=30", gapMs: 1_000, frames: ["liquidation"] },
  history: { path: "/insurance/history?limit=500", gapMs: 500, frames: ["insurance_fund"] },
  firing: { path: "/alerts?state=firing", gapMs: 500, frames: ["alert"] },
  alerts: { path: "/alerts?limit=20", gapMs: 500, frames: ["alert"] },
};

/** Asks for everything again and again; `onChange` is told whenever there is something to show.
 *
 * `link` is "connecting", "live", "polling" (no stream, but answers), "offline" or "token".
 * `lastMs` is when the last answer came, by this device's clock; null before the first one. */
export class Feed {
  link = "connecting";
  lastMs = null;
  #onChange;
  #streaming = false;
  #known = Object.fromEntries(
    Object.keys(ROUTES).map((name) => [
      name,
      { value: null, error: null, atMs: -Infinity, askedMs: -Infinity, dirty: true, busy: false },
    ]),
  );
  #live = new Live(
    (frame) => this.#frame(frame),
    (streaming) => this.#stream(streaming),
  );

  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Begin; it never ends. */
  start() {
    this.#live.connect();
    setInterval(() => this.#pump(), TICK_MS);
    document.addEventListener("visibilitychange", () => this.#pump());
    this.#pump();
  }

  /** Ask for everything anew, with another token for instance. */
  restart() {
    this.link = "connecting";
    this.#all();
    this.#live.connect();
    this.#pump();
  }

  /** Return the latest answer of a route, or null. */
  value = (name) => this.#known[name].value;

  /** Return the time since that answer in milliseconds. */
  ageMs = (name) => performance.now() - this.#known[name].atMs;

  /** Return why that answer is not how things are now; null if it is. */
  doubt(name) {
    const known = this.#known[name];
    if (this.link === "offline") return "the server does not answer";
    if (known.error !== null) return known.error;
    return known.value !== null && this.ageMs(name) > OLD_MS ? "no newer answer" : null;
  }

  #pump() {
    if (document.hidden) return;
    const now = performance.now();
    for (const [name, { path, gapMs }] of Object.entries(ROUTES)) {
      // While nothing answers, one question at a time is enough.
      if ((this.link === "offline" || this.link === "token") && name !== "health") continue;
      const known = this.#known[name];
      const dueMs = known.dirty ? gapMs : POLL_MS;
      if (!known.busy && now - known.askedMs >= dueMs) this.#ask(name, path, known);
    }
  }

  async #ask(name, path, known) {
    Object.assign(known, { busy: true, dirty: false, askedMs: performance.now() });
    try {
      known.value = await get(path);
      known.error = null;
      known.atMs = performance.now();
      this.#answered(name);
    } catch (error) {
      if (!(error instanceof ApiFailure)) throw error;
      known.error = error.message;
      if (error.kind === "offline") this.link = "offline";
      else if (error.kind === "token") this.link = "token";
    } finally {
      known.busy = false;
    }
    this.#onChange();
  }

  #answered(name) {
    this.lastMs = Date.now();
    // A stranger is told the state of health, and nothing else.
    const back = name === "health" && this.link === "offline";
    if (back) this.#all();
    if (this.link !== "token") this.link = this.#streaming ? "live" : "polling";
  }

  #frame(frame) {
    if (frame.type === "gap") return this.#all();
    for (const [name, { frames }] of Object.entries(ROUTES)) {
      if (frames.includes(frame.type)) this.#known[name].dirty = true;
    }
    this.#pump();
  }

  #stream(streaming) {
    if (streaming === this.#streaming) return;
    this.#streaming = streaming;
    if (streaming) this.#all();
    if (this.link === "live" || this.link === "polling") this.link = streaming ? "live" : "polling";
    this.#onChange();
    this.#pump();
  }

  #all() {
    for (const known of Object.values(this.#known)) known.dirty = true;
  }
}
