/** What stands above the tables: health with its reasons, the main figures, and each keeper. */

import { serverNow } from "./api.js";
import { clock, count, decimal, duration, micros, money, percent, sol, words } from "./format.js";
import { column, copyable, fillTable, setSign, setText, signed } from "./tables.js";

const GRADES = {
  healthy: { sign: "\u2714", tone: "good" },
  degraded: { sign: "\u25b2", tone: "warn" },
  unhealthy: { sign: "\u2716", tone: "bad" },
  unknown: { sign: "?", tone: "warn" },
};
const LINKS = {
  connecting: { sign: "\u25cb", tone: "plain", word: "connecting" },
  live: { sign: "\u25cf", tone: "good", word: "live" },
  polling: { sign: "\u25d0", tone: "info", word: "polling every 2 s" },
  offline: { sign: "\u2716", tone: "bad", word: "reconnecting" },
  token: { sign: "\u25a0", tone: "warn", word: "token needed" },
};
const SILENT_CODES = new Set(["keeper_silent", "keeper_unreadable"]);

const $ = (name) => document.getElementById(name);

/** Return the venues whose keepers have stopped writing: their figures are those of then. */
export function silentVenues(feed) {
  const reasons = feed.value("health")?.reasons ?? [];
  return new Set(reasons.filter(({ code }) => SILENT_CODES.has(code)).map(({ keeper }) => keeper));
}

/** Return whether no keeper says anything: all that they write is then of another time. */
export const areAllSilent = (feed, silent) =>
  silent.size > 0 && silent.size === Object.keys(feed.value("health")?.keepers ?? {}).length;

/** Show the state of the connection, the grade, every reason, and what is not how things are now. */
export function showState(feed, silent) {
  const known = feed.value("health");
  // What was said before the silence is no statement about now.
  const grade = feed.doubt("health") === null && known ? known.status : "unknown";
  setSign($("grade"), { ...(GRADES[grade] ?? GRADES.unknown), word: grade });
  setSign($("link"), LINKS[feed.link]);
  const sign = GRADES[grade]?.sign ?? "?";
  setText(document.querySelector("title"), `${sign} ${grade} \u00b7 liqctl`);
  setText($("cluster"), known?.keepers ? (known.cluster ?? "private cluster") : "");
  fillTable(document.querySelector("#reasons tbody"), reasonsOf(feed, known), (row) => row.key, REASONS, emptyReasons(feed, grade));
  const stale = staleText(feed, silent);
  setText($("stale"), stale);
  $("stale").hidden = stale === "";
  document.body.dataset.link = feed.link;
  document.body.dataset.grade = grade;
}

/** Show one row for each keeper. */
export function showKeepers(feed, silent) {
  const keepers = feed.value("health")?.keepers;
  if (keepers === undefined) return;
  const rows = Object.entries(keepers).map(([venue, status]) => ({ ...status, venue, isSilent: silent.has(venue) }));
  const body = document.querySelector("#keepers tbody");
  fillTable(body, rows, (row) => row.venue, KEEPERS, "No keeper is known.");
  rows.forEach((row, index) => body.rows[index].classList.toggle("old", row.isSilent));
}

/** Show the sums and counts. */
export function showFigures(feed) {
  const [known, stats, queue, history] = ["health", "stats", "queue", "history"].map(feed.value);
  // The latest of each fund: figure and chart must not differ by an answer.
  const funds = [...new Map((history?.items ?? []).map((each) => [each.address, each])).values()];
  const keepers = Object.values(known?.keepers ?? {});
  if (keepers.length > 0) {
    const [positions, evaluated] = ["positions", "evaluated"].map((name) => sum(keepers.map((each) => each.coverage?.[name])));
    figure("positions-count", count(positions), `${count(evaluated)} judged, ${count(positions - evaluated)} unknown`);
  }
  if (queue !== null) {
    const { waiting, in_flight: flying, quarantined, exclusions } = queue;
    const aside = exclusions.length ? `, ${count(exclusions.length)} set aside` : "";
    figure("queued", count(waiting + flying + quarantined), `${count(waiting)} waiting, ${count(flying)} in flight, ${count(quarantined)} quarantined${aside}`);
  }
  if (stats !== null) {
    const { totals, latency } = stats;
    figure("liquidated", count(totals.full + totals.partial), `${count(totals.full)} full, ${count(totals.partial)} partial`);
    figure("success", percent(stats.success_bps), `${count(totals.failed)} failed, ${count(totals.lost_races)} lost races`);
    figure("rewards", money(totals.rewards), `fees ${sol(totals.fees_lamports)}`);
    figure("bad-debt", money(totals.bad_debt), `uncovered ${money(sum(funds.map((each) => each.bad_debt_uncovered)))}`);
    figure("latency", micros(latency.p50_us), `p99 ${micros(latency.p99_us)}`);
  }
  if (funds.length > 0) {
    const balance = sum(funds.map((each) => each.balance));
    figure("fund-balance", money(balance), shareText(balance, keepers));
  }
}

const REASONS = [
  signed((row) => ({ ...(GRADES[row.grade] ?? GRADES.unknown), word: row.grade })),
  column((row) => row.keeper, "venue"),
  column((row) => row.message, "text"),
  column((row) => (row.since_ms === null ? "" : `since ${clock(row.since_ms, serverNow())}`), "number minor"),
];

const KEEPERS = [
  column((row) => row.venue),
  signed((row) => {
    if (row.isSilent) return { sign: "\u2716", tone: "bad", word: "silent" };
    if (row.held) return { sign: "\u25a0", tone: "warn", word: `stopped: ${words(row.held)}` };
    if (row.dry_run || row.watch_only) return { sign: "\u25cb", tone: "info", word: "watches only" };
    return { sign: "\u25b6", tone: "good", word: "may sign" };
  }),
  column((row) => count(row.slot), "number small"),
  column((row) => duration(row.check_age_ms), "number minor"),
  column((row) => `${count(row.coverage?.evaluated)} of ${count(row.coverage?.positions)}`, "number"),
  column((row) => `${micros(row.latency?.p50_us)} / ${micros(row.latency?.p99_us)}`, "number small"),
  column((row) => decimal(row.wallet?.balance_lamports, 9), "number"),
  column((row) => `${decimal(row.spent?.hour_lamports, 9)} of ${decimal(row.spent?.hour_lamports_max, 9)}`, "number minor"),
  column((row) => count(row.rpc_errors_minute), "number minor"),
  copyable((row) => row.wallet?.address, "address of the wallet", "minor"),
];

/** Show a main figure with its fraction set smaller: the eye looks for the whole part first. */
function figure(name, value, note) {
  const element = $(name);
  if (element.textContent !== value) {
    const [, whole, rest] = /^([^.]*)(.*)$/s.exec(value);
    const fraction = document.createElement("small");
    fraction.textContent = rest;
    element.replaceChildren(whole, fraction);
  }
  setText($(`${name}-note`), note);
}

function reasonsOf(feed, known) {
  if (feed.link === "offline") return [];
  return (known?.reasons ?? []).map((each) => ({ ...each, key: `${each.keeper} ${each.code} ${each.subject}` }));
}

function emptyReasons(feed, grade) {
  if (feed.link === "token") return "The reasons are told to those who have a token.";
  return grade === "healthy" ? "Everything is watched and can be liquidated." : "Nothing is known at the moment.";
}

function staleText(feed, silent) {
  if (feed.link === "offline" && feed.lastMs === null) return "The server does not answer. Trying again.";
  if (feed.link === "offline") {
    return `Stale since ${clock(feed.lastMs, Date.now())}: the server does not answer. Trying again; all figures are from then.`;
  }
  const since = (feed.value("health")?.reasons ?? []).find(({ code }) => code === "keeper_silent")?.since_ms;
  if (silent.size === 0) return "";
  const when = since ? ` since ${clock(since, serverNow())}` : "";
  return `Stale${when}: no word from the keeper of ${[...silent].join(", ")}. Its figures are from then.`;
}

function shareText(balance, keepers) {
  const collateral = sum(keepers.map((each) => each.collateral_total));
  const share = collateral > 0n ? (balance * 10_000n) / collateral : null;
  return `${percent(share)} of collateral`;
}

const sum = (values) => values.reduce((total, each) => total + BigInt(each ?? 0), 0n);
