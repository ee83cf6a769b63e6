/** The tables of the page: which columns each has, and where its rows come from. */

import { serverNow } from "./api.js";
import { clock, count, decimal, duration, health, money, percent, words } from "./format.js";
import { column, copyable, fillTable, putCopy, putLink, setText, signed } from "./tables.js";

const SIGNATURE = /^[1-9A-HJ-NP-Za-km-z]{64,88}$/;
// Beyond this distance a bar is full.
const BAR_BPS = 400;

const STATES = {
  in_flight: { sign: "\u25b6", tone: "info" },
  waiting: { sign: "\u25cb", tone: "plain" },
  quarantined: { sign: "\u25a0", tone: "warn" },
  set_aside: { sign: "\u2298", tone: "plain" },
};
const SEVERITIES = {
  critical: { sign: "\u2716", tone: "bad" },
  warning: { sign: "\u25b2", tone: "warn" },
  info: { sign: "\u25cf", tone: "info" },
};

/** Show what a feed knows in all tables. `silent` are the venues whose keepers say nothing. */
export function showTables(feed, silent) {
  const venueOf = new Set(Object.keys(feed.value("health")?.keepers ?? {}));
  document.body.classList.toggle("one-venue", venueOf.size <= 1);
  const fill = (name, items, key, columns, empty) => {
    const body = document.querySelector(`#${name} tbody`);
    if (items === undefined || items === null) return;
    fillTable(body, items, key, columns, empty);
    [...items].forEach((row, index) => {
      body.rows[index].classList.toggle("old", silent.has(row.venue));
    });
  };
  const cluster = feed.value("health")?.cluster;
  fill("positions", feed.value("positions")?.items, byPosition, POSITIONS, "No open positions.");
  fill("queue", queueOf(feed.value("queue")), byPosition, QUEUE, "Nothing is waiting.");
  fill("prices", feed.value("prices")?.items, byMarket, pricesOf(feed.ageMs("prices")), "No markets yet.");
  fill("liquidations", feed.value("liquidations")?.items, (row) => row.id, liquidationsOf(cluster), "No liquidations yet.");
  fill("alerts", alertsOf(feed), (row) => row.id, ALERTS, "No alerts so far.");
  fill("days", feed.value("stats") && daysOf(feed.value("stats")).reverse(), (row) => row.day, DAYS, "Nothing yet.");
}

/** Return the sums of each day over all markets, the oldest day first. */
export function daysOf(stats) {
  const days = new Map();
  for (const each of stats.days) {
    const sum = days.get(each.day) ?? { day: each.day, done: 0, rewards: 0n, fees: 0n, badDebt: 0n };
    sum.done += each.full + each.partial;
    sum.rewards += BigInt(each.rewards);
    sum.fees += BigInt(each.fees_lamports);
    sum.badDebt += BigInt(each.bad_debt);
    days.set(each.day, sum);
  }
  return [...days.values()].sort((a, b) => (a.day < b.day ? -1 : 1));
}

const byPosition = (row) => `${row.venue} ${row.position}`;
const byMarket = (row) => `${row.venue} ${row.market}`;
const symbolOf = (row) => `${row.symbol}`;

const POSITIONS = [
  copyable((row) => row.position, "address of the position"),
  column((row) => row.venue, "venue"),
  column((row) => `${row.symbol} ${row.side}`),
  signed((row) => {
    if (row.liquidatable === null) return { sign: "?", tone: "warn", word: words(row.reason) || "unknown" };
    return row.liquidatable
      ? { sign: "\u25bc", tone: "bad", word: "liquidatable" }
      : { sign: "\u2714", tone: "good", word: "safe" };
  }),
  column((row) => health(row.health), "number"),
  putDistance,
  column((row) => money(row.mark_price), "number minor"),
  column((row) => money(row.liquidation_price), "number small"),
  column((row) => money(row.equity), "number minor"),
  column((row) => money(row.maintenance_margin), "number minor"),
];

const QUEUE = [
  copyable((row) => row.position, "address of the position"),
  column((row) => row.venue, "venue"),
  column((row) => `${row.symbol} ${row.side}`.trim() || "\u2013"),
  column((row) => health(row.health), "number"),
  signed((row) => ({ ...(STATES[row.state] ?? STATES.waiting), word: words(row.state) })),
  column((row) => words(row.reason), "text small"),
  column((row) => count(row.tries), "number minor"),
  column((row) => duration(serverNow() - row.since_ms), "number"),
  column((row) => {
    const waitMs = Number(row.next_try_ms) - serverNow();
    return waitMs > 0 && row.state !== "in_flight" ? `in ${duration(waitMs)}` : "\u2013";
  }, "number minor"),
];

const ALERTS = [
  signed((row) => {
    if (row.state !== "firing") return { sign: "\u2714", tone: "plain", word: "resolved" };
    return { ...(SEVERITIES[row.severity] ?? SEVERITIES.info), word: `firing, ${row.severity}` };
  }),
  (cell, row) => {
    cell.className = "text";
    if (cell.childElementCount === 0) cell.append(document.createElement("b"), document.createElement("span"));
    setText(cell.firstElementChild, row.title);
    setText(cell.lastElementChild, row.body);
  },
  column((row) => clock(row.raised_ms, serverNow()), "number small"),
  column((row) => duration((row.resolved_ms ?? serverNow()) - row.raised_ms), "number minor"),
];

const DAYS = [
  column((row) => row.day),
  column((row) => count(row.done), "number"),
  column((row) => money(row.rewards), "number"),
  column((row) => decimal(row.fees, 9), "number"),
  column((row) => money(row.badDebt), "number"),
];

/** Return the columns of the prices, whose ages grow on after the answer. */
const pricesOf = (elapsedMs) => [
  column(symbolOf),
  column((row) => row.venue, "venue"),
  column((row) => money(row.price), "number strong"),
  column((row) => confidence(row), "number minor"),
  column((row) => {
    if (row.age_s === null) return "\u2013";
    return `${row.age_s + Math.floor(elapsedMs / 1_000)} of ${row.max_age_s} s`;
  }, "number"),
  signed((row) =>
    row.refusal === null
      ? { sign: "\u2714", tone: "good", word: "in use" }
      : { sign: "\u2716", tone: "bad", word: words(row.refusal) },
  ),
];

const liquidationsOf = (cluster) => [
  column((row) => clock(row.created_at, serverNow()), "number"),
  column((row) => row.venue, "venue"),
  column(symbolOf),
  column((row) => (row.is_full_liquidation ? "full" : "partial"), "small"),
  copyable((row) => row.position_pubkey, "address of the position", "small"),
  column((row) => health(row.health_factor_before), "number minor"),
  column((row) => money(row.liquidation_price), "number small"),
  column((row) => money(row.liquidator_reward), "number"),
  column((row) => money(row.bad_debt), (row) => (BigInt(row.bad_debt) > 0n ? "number bad" : "number")),
  column((row) => money(row.fund_delta), "number minor"),
  column((row) => decimal(row.fee_lamports, 9), "number minor"),
  column((row) => decimal(row.decision_latency_us, 3, 1), "number minor"),
  (cell, row) => putTransaction(cell, row.signature, cluster),
];

function putTransaction(cell, signature, cluster) {
  // An explorer knows public clusters only; a private one has no page to link to.
  if (!cluster || !SIGNATURE.test(signature)) return putCopy(cell, signature, "signature");
  const query = cluster === "mainnet-beta" ? "" : `?cluster=${encodeURIComponent(cluster)}`;
  const href = `https://explorer.solana.com/tx/${signature}${query}`;
  return putLink(cell, href, `${signature.slice(0, 4)}\u2026${signature.slice(-4)} \u2197`, "transaction in the explorer");
}

function putDistance(cell, row) {
  cell.className = "number distance";
  setText(cell, percent(row.distance_bps));
  const near = row.distance_bps === null ? 0 : Math.max(0, 1 - Math.max(Number(row.distance_bps), 0) / BAR_BPS);
  cell.style.setProperty("--near", near.toFixed(3));
}

/** Return a confidence as a share of the price, which is what it is judged by. */
function confidence({ price, confidence: around }) {
  if (around === null) return "\u2013";
  if (price === null || BigInt(price) === 0n) return `\u00b1${money(around)}`;
  return `\u00b1${percent((BigInt(around) * 10_000n) / BigInt(price))}`;
}

/** Return the candidates, then what people have set aside. */
function queueOf(queue) {
  const aside = (each) => ({
    ...each, state: "set_aside", venue: "", symbol: "", side: "", health: null, tries: null, next_try_ms: each.until_ms ?? 0,
  });
  return queue && [...queue.items, ...queue.exclusions.map(aside)];
}

/** Return all alerts known, those that hold first. */
function alertsOf(feed) {
  const [firing, latest] = [feed.value("firing"), feed.value("alerts")];
  if (firing === null || latest === null) return null;
  const shown = new Set(firing.items.map((each) => each.id));
  return [...firing.items, ...latest.items.filter((each) => !shown.has(each.id) && each.state !== "firing")];
}
