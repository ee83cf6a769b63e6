/** The stream of events: tells what has changed, and comes back by itself when it breaks. */

import { token } from "./api.js";

const RETRY_MS = 500;
const RETRY_MS_MAX = 15_000;
// Longer than the server is ever silent on a stream that works.
const SILENT_MS_MAX = 30_000;

/** Keeps one WebSocket open. `onFrame` gets every frame, `onState` true and false. */
export class Live {
  #onFrame;
  #onState;
  #socket = null;
  #since = null;
  #tries = 0;
  #timer = 0;

  constructor(onFrame, onState) {
    this.#onFrame = onFrame;
    this.#onState = onState;
  }

  /** Connect now, whatever was before; goes on where the last frame was. */
  connect() {
    clearTimeout(this.#timer);
    this.#drop();
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#since !== null) url.searchParams.set("since", this.#since);
    const socket = new WebSocket(url, protocols());
    this.#socket = socket;
    socket.onmessage = (message) => this.#take(message.data);
    socket.onclose = () => this.#retry();
    this.#watch(socket);
  }

  #take(text) {
    this.#watch(this.#socket);
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.#retry();
    }
    if (this.#tries !== null) this.#onState(true);
    this.#tries = null;
    if (Number.isSafeInteger(frame.seq)) this.#since = frame.seq;
    this.#onFrame(frame);
  }

  /** Give up a stream that has been silent for too long. */
  #watch(socket) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => socket === this.#socket && this.#retry(), SILENT_MS_MAX);
  }

  #retry() {
    this.#drop();
    this.#onState(false);
    const tries = this.#tries ?? 0;
    this.#tries = tries + 1;
    const waitMs = Math.min(RETRY_MS * 2 ** tries, RETRY_MS_MAX);
    clearTimeout(this.#timer);
    // Many pages must not come back in the same moment after a restart.
    this.#timer = setTimeout(() => this.connect(), waitMs * (0.75 + Math.random() / 2));
  }

  #drop() {
    if (this.#socket === null) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }
}

/** Return the subprotocols: a browser cannot send a header here, so the token goes as one of them. */
function protocols() {
  if (!token()) return ["liqctl"];
  const bytes = String.fromCharCode(...new TextEncoder().encode(token()));
  const text = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["liqctl", `liqctl.bearer.${text}`];
}
