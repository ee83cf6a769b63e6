/** Tables that change without flicker: a row stays the same element as long as its key is there. */

import { short } from "./format.js";

/** Show rows in a table body. `columns` are functions that fill a cell with what a row says of it.
 * Only what differs is touched, so that focus, selection and scrolling survive. */
export function fillTable(body, rows, keyOf, columns, whenEmpty) {
  const old = body.rowsByKey ?? new Map();
  const now = new Map();
  for (const row of rows) {
    const key = keyOf(row);
    const line = old.get(key) ?? newLine(columns, body.rowsByKey !== undefined);
    columns.forEach((put, index) => put(line.cells[index], row));
    now.set(key, line);
  }
  for (const [key, line] of old) if (!now.has(key)) line.remove();
  const empty = body.querySelector(":scope > .empty") ?? emptyLine(columns.length);
  setText(empty.cells[0], whenEmpty);
  if (now.size) empty.remove();
  const lines = now.size ? [...now.values()] : [empty];
  const focused = document.activeElement;
  lines.forEach((line, index) => {
    if (body.rows[index] !== line) body.insertBefore(line, body.rows[index] ?? null);
  });
  // A row that moves loses the focus.
  if (body.contains(focused)) focused.focus({ preventScroll: true });
  body.rowsByKey = now;
}

/** Return a column that shows text; `look` is a class, or a function that chooses one by the row. */
export const column = (textOf, look = "") => (cell, row) => {
  const name = typeof look === "function" ? look(row) : look;
  if (cell.className !== name) cell.className = name;
  setText(cell, textOf(row));
};

/** Return a column that shows a word with a sign before it; `of` returns `{sign, word, tone}`. */
export const signed = (of, look = "") => (cell, row) => {
  cell.className = look;
  setSign(child(cell, "span"), of(row));
};

/** Return a column that shows the ends of an address on a button that copies all of it. */
export const copyable = (textOf, what, look = "") => (cell, row) => {
  cell.className = look;
  const text = textOf(row);
  if (text) putCopy(cell, text, what);
  else setText(cell, "\u2013");
};

/** Put a button that copies a text into an element. */
export function putCopy(parent, text, what) {
  const button = child(parent, "button");
  if (button.dataset.text === text) return;
  button.type = "button";
  button.className = "copy";
  button.dataset.text = text;
  button.title = text;
  button.ariaLabel = `${short(text)}, copy ${what}`;
  setText(button, short(text));
}

/** Put a link into an element. */
export function putLink(parent, href, text, label) {
  const link = child(parent, "a");
  if (link.href === href) return;
  Object.assign(link, { href, target: "_blank", rel: "noopener noreferrer", title: label });
  link.ariaLabel = `${text}, ${label}`;
  setText(link, text);
}

/** Show a word with its sign; state is told by word and shape, colour only repeats it. */
export function setSign(element, { sign, word, tone }) {
  element.classList.add("sign");
  if (element.dataset.tone !== tone) element.dataset.tone = tone;
  if (element.dataset.sign !== sign) element.dataset.sign = sign;
  setText(element, word);
}

/** Set a text where it differs. Nothing that comes from outside ever gets in as markup. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return the one child of an element, made new unless it is of that kind already. */
function child(parent, tag) {
  const found = parent.firstElementChild;
  if (found?.localName === tag) return found;
  const made = document.createElement(tag);
  parent.replaceChildren(made);
  return made;
}

function newLine(columns, isLate) {
  const line = document.createElement("tr");
  if (isLate) line.className = "fresh";
  columns.forEach((_, index) => {
    const cell = document.createElement(index === 0 ? "th" : "td");
    if (index === 0) cell.scope = "row";
    line.append(cell);
  });
  return line;
}

function emptyLine(columns) {
  const line = document.createElement("tr");
  const cell = document.createElement("td");
  line.className = "empty";
  cell.colSpan = columns;
  line.append(cell);
  return line;
}
