/** Figures as text, exact from integers: the API sends those beyond 2^53 as strings. */

const MINUS = "\u2212";
const NONE = "\u2013";

/** Return an integer, or a string of one, with its decimal point put in and thousands parted.
 * All digits are kept, but for zeros at the end beyond `least` places; null becomes a dash. */
export function decimal(value, places, least = 2) {
  if (value === null || value === undefined) return NONE;
  const whole = BigInt(value);
  const digits = String(whole < 0n ? -whole : whole).padStart(places + 1, "0");
  const cut = digits.length - places;
  let fraction = digits.slice(cut);
  while (fraction.length > least && fraction.endsWith("0")) fraction = fraction.slice(0, -1);
  const sign = whole < 0n ? MINUS : "";
  return sign + grouped(digits.slice(0, cut)) + (fraction && `.${fraction}`);
}

/** Return money or a price in 1e-6 quote with two to six places. */
export const money = (value) => decimal(value, 6);

/** Return lamports as SOL. */
export const sol = (lamports) =>
  lamports === null || lamports === undefined ? NONE : `${decimal(lamports, 9)} SOL`;

/** Return hundredths of a per cent as per cent. */
export const percent = (bps) =>
  bps === null || bps === undefined ? NONE : `${decimal(bps, 2)} %`;

/** Return a count. */
export const count = (value) => decimal(value, 0, 0);

/** Return microseconds as milliseconds. */
export const micros = (us) =>
  us === null || us === undefined ? NONE : `${decimal(us, 3, 1)} ms`;

/** Return a health with four places, cut and not rounded: below the line must not look like it. */
export function health(value) {
  if (value === null || value === undefined) return NONE;
  const cut = Math.floor(value * 1e4) / 1e4;
  return (cut < 0 ? MINUS : "") + Math.abs(cut).toFixed(4);
}

/** Return a duration in its largest unit. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NONE;
  const s = Math.max(ms, 0) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7_200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3_600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** Return the local time of day, with the date in front unless it is today's. */
export function clock(unixMs, nowMs) {
  const at = new Date(unixMs);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  if (at.toDateString() === new Date(nowMs).toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** Return the ends of an address or signature. */
export const short = (text) => (text.length > 12 ? `${text.slice(0, 4)}\u2026${text.slice(-4)}` : text);

/** Return a word of the API for people: `in_flight` becomes "in flight". */
export const words = (text) => String(text ?? "").replaceAll("_", " ");

/** Return an integer of the API as a float, for drawing only. */
export const drawn = (value, places) => Number(BigInt(value)) / 10 ** places;

const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");
const two = (number) => String(number).padStart(2, "0");
