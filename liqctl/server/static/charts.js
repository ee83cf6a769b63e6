/** The two charts: the insurance fund over time, reward and fees by day. */

import { clock, drawn, money, sol } from "./format.js";
import { daysOf } from "./panels.js";
import { setText } from "./tables.js";

const HEIGHT = 160;
const DAYS_SHOWN_MIN = 7;
const DAY_S = 86_400;
const { bars, stepped } = uPlot.paths;

/** Draws into an element, follows its width, and is made anew when the colours change. */
class Chart {
  #element;
  #optionsOf;
  #plot = null;
  #data = null;
  #shape = "";

  constructor(element, optionsOf) {
    this.#element = element;
    this.#optionsOf = optionsOf;
    new ResizeObserver(() => {
      this.#plot?.setSize({ width: this.#element.clientWidth, height: HEIGHT });
    }).observe(element);
  }

  /** Draw data; `shape` says which lines there are. */
  show(data, shape) {
    const text = JSON.stringify(data);
    if (this.#shape === shape && this.#data === text) return;
    this.#data = text;
    if (this.#plot !== null && this.#shape === shape) return this.#plot.setData(data);
    this.#plot?.destroy();
    this.#shape = shape;
    const options = { width: this.#element.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { drag: { x: false } }, ...this.#optionsOf() };
    this.#plot = new uPlot(options, data, this.#element);
  }

  /** Draw the next data from scratch. */
  forget() {
    this.#shape = "";
  }
}

const axis = (more = {}) => ({
  stroke: colour("--muted"),
  grid: { stroke: colour("--line"), width: 1 },
  ticks: { stroke: colour("--line"), width: 1, size: 4 },
  font: "12px system-ui, sans-serif",
  ...more,
});

const fundChart = new Chart(document.getElementById("fund-chart"), () => ({
  scales: { y: { range: roomy } },
  axes: [axis({ values: times, space: 90, size: 30 }), axis({ size: 76, values: (_, ticks) => ticks.map(plain) })],
  series: [
    {},
    { stroke: colour("--accent"), fill: colour("--wash"), width: 2, paths: stepped({ align: 1 }), points: { show: false } },
  ],
  hooks: { setCursor: [(plot) => readFund(plot)] },
}));

const dayChart = new Chart(document.getElementById("day-chart"), () => ({
  tzDate: (unixS) => uPlot.tzDate(new Date(unixS * 1_000), "Etc/UTC"),
  scales: {
    x: { range: (_, low, high) => [low - 0.6 * DAY_S, high + 0.6 * DAY_S] },
    y: { range: (_, __, high) => [0, high * 1.1 || 1] },
    sol: { range: (_, __, high) => [0, high * 1.1 || 1] },
  },
  axes: [
    axis({ size: 30, incrs: [DAY_S, 2 * DAY_S, 7 * DAY_S], values: "{MM}-{DD}", grid: { show: false } }),
    axis({ size: 60, values: (_, ticks) => ticks.map(plain) }),
    axis({ side: 1, scale: "sol", size: 60, grid: { show: false }, values: (_, ticks) => ticks.map(plain) }),
  ],
  series: [
    {},
    { stroke: colour("--accent"), fill: colour("--accent"), paths: bars({ size: [0.3, 28], align: -1 }), points: { show: false } },
    { scale: "sol", stroke: colour("--second"), fill: colour("--second"), paths: bars({ size: [0.3, 28], align: 1 }), points: { show: false } },
  ],
  hooks: { setCursor: [(plot) => readDay(plot)] },
}));

let samples = [];
let days = [];

/** Draw what a feed knows. */
export function showCharts(feed) {
  const [history, stats] = [feed.value("history"), feed.value("stats")];
  if (history !== null && history.items.length > 0) showFund(history.items);
  if (stats !== null) showDays(daysOf(stats));
}

/** Take up the colours of another theme with the next data. */
export function recolour() {
  fundChart.forget();
  dayChart.forget();
}

function showFund(items) {
  samples = totals(items);
  fundChart.show([samples.map((each) => each.at_ms / 1_000), samples.map((each) => drawn(each.balance, 6))], "fund");
  const [first, last] = [samples[0], samples.at(-1)];
  document.getElementById("fund-chart").ariaLabel =
    `Insurance fund over time: ${money(first.balance)} at ${clock(first.at_ms, Date.now())}, ${money(last.balance)} at ${clock(last.at_ms, Date.now())}`;
  readFund();
}

/** Return the sum of all funds at each time, from when all of them are known. */
function totals(items) {
  const funds = new Set(items.map((each) => each.address)).size;
  const latest = new Map();
  const sums = items.map(({ address, balance, at_ms }) => {
    latest.set(address, BigInt(balance));
    return { at_ms, known: latest.size, balance: [...latest.values()].reduce((sum, each) => sum + each, 0n) };
  });
  return sums.filter((each) => each.known === funds);
}

function readFund(plot) {
  const sample = samples[plot?.cursor.idx ?? samples.length - 1];
  if (sample) setText(document.getElementById("fund-read"), `${clock(sample.at_ms, Date.now())}, ${money(sample.balance)}`);
}

function showDays(known) {
  const sums = new Map(known.map((each) => [Date.parse(each.day) / 1_000, each]));
  const last = known.length ? Math.max(...sums.keys()) : Math.floor(Date.now() / 1_000 / DAY_S) * DAY_S;
  const first = Math.min(last - (DAYS_SHOWN_MIN - 1) * DAY_S, ...sums.keys());
  const times = [];
  for (let time = first; time <= last; time += DAY_S) times.push(time);
  days = times.map((time) => sums.get(time) ?? { day: new Date(time * 1_000).toISOString().slice(0, 10), rewards: 0n, fees: 0n });
  dayChart.show([times, times.map((time) => bar(sums.get(time)?.rewards, 6)), times.map((time) => bar(sums.get(time)?.fees, 9))], "days");
  readDay();
}

function readDay(plot) {
  const day = days[plot?.cursor.idx ?? days.length - 1];
  if (day) setText(document.getElementById("day-read"), `${day.day}, reward ${money(day.rewards)}, fees ${sol(day.fees)}`);
}

/** Leave room above and below: a flat line belongs in the middle. */
function roomy(_, low, high) {
  if (low === null) return [0, 1];
  const room = (high - low) * 0.15 || Math.abs(high) * 0.01 || 1;
  return [low - room, high + room];
}

/** Return the times of an axis: with seconds, or with the day where it spans more than one. */
function times(_, ticks) {
  const isLong = ticks.at(-1) - ticks[0] > DAY_S;
  return ticks.map((unixS) => {
    const text = clock(unixS * 1_000, isLong ? 0 : unixS * 1_000);
    return isLong ? text.slice(5, 16) : text;
  });
}

const bar = (value, places) => (value ? drawn(value, places) : null);
const plain = (value) => value.toLocaleString("en", { maximumFractionDigits: 6 });

/** Return what a colour of the style sheet is in the theme of now; a canvas knows no variables. */
function colour(name) {
  const probe = document.getElementById("probe");
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
