/** The dashboard: everything it shows is an answer of the API; the stream says when to ask again. */

import { showCharts, recolour } from "./charts.js";
import { showControls, wireControls } from "./controls.js";
import { Feed } from "./feed.js";
import { clock } from "./format.js";
import { showTables } from "./panels.js";
import { areAllSilent, showFigures, showKeepers, showState, silentVenues } from "./summary.js";
import { setText } from "./tables.js";

// Ages and waiting times grow without any answer.
const TICK_MS = 1_000;

const feed = new Feed(soon);
let isDue = false;

function soon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(show);
}

function show() {
  isDue = false;
  const silent = silentVenues(feed);
  showState(feed, silent);
  showControls(feed);
  showFigures(feed);
  showKeepers(feed, silent);
  showTables(feed, silent);
  showCharts(feed);
  showDoubts(areAllSilent(feed, silent));
}

/** Mark each panel whose answer is not how things are now. */
function showDoubts(isSilent) {
  for (const panel of document.querySelectorAll("[data-of]")) {
    const isOld = isSilent && panel.dataset.keeper !== undefined;
    const doubt = feed.doubt(panel.dataset.of) ?? (isOld ? "the keeper is silent" : null);
    panel.classList.toggle("stale", doubt !== null);
    const note = panel.querySelector(".doubt");
    const when = Date.now() - feed.ageMs(panel.dataset.of);
    const since = Number.isFinite(when) ? `as of ${clock(when, Date.now())}` : "no figures yet";
    if (note) setText(note, doubt === null ? "" : `${since}: ${doubt}`);
  }
}

wireControls(
  () => {
    recolour();
    soon();
  },
  () => feed.restart(),
);
setInterval(soon, TICK_MS);
feed.start();
