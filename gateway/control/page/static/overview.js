// All models at a glance: what needs attention, the last hour, a line for each model, decisions and errors.

import { Keyed, make, row, section, setAttribute, setText, table } from "./dom.js";
import { counted, number, seconds } from "./format.js";
import { attention, decisions, errors, fillModelLink, fillState } from "./parts.js";
import { plots } from "./plots.js";

const MOST_ROWS = 200;

const COLUMNS = [
  { text: "Model", by: (each) => each.model },
  { text: "Tasks", by: (each) => each.tasks.join(" ") },
  { text: "Replicas", by: (each) => each.ready },
  { text: "Running", by: (each) => each.running, number: true },
  { text: "Waiting", by: (each) => each.waiting, number: true },
  { text: "Oldest", by: (each) => each.oldest_wait, number: true },
  { text: "Req/s", by: (each) => each.requests, number: true },
  { text: "5xx/s", by: (each) => each.errors, number: true },
  { text: "TTFT p50", by: (each) => each.ttft_p50, number: true },
  { text: "TTFT p95", by: (each) => each.ttft_p95, number: true },
  { text: "E2E p95", by: (each) => each.e2e_p95, number: true },
  { text: "Tokens/s", by: (each) => each.output_tokens, number: true },
];

function modelRow() {
  return row([
    { heading: true, fill: (cell, each) => fillModelLink(cell, each.model) },
    { class: "muted tasks", get: tasksInShort },
    { fill: fillReplicas },
    { class: "number", get: (each) => (each.limit ? `${each.running} / ${each.limit}` : number(each.running)) },
    { fill: (cell, each) => { setText(cell, number(each.waiting)); setAttribute(cell, "class", each.waiting ? "number warm" : "number"); } },
    { class: "number", get: (each) => (each.waiting ? seconds(each.oldest_wait) : "–") },
    { class: "number", get: (each) => number(each.requests) },
    { fill: (cell, each) => { setText(cell, number(each.errors)); setAttribute(cell, "class", each.errors ? "number bad" : "number"); } },
    { class: "number", get: (each) => seconds(each.ttft_p50) },
    { class: "number", get: (each) => seconds(each.ttft_p95) },
    { class: "number", get: (each) => seconds(each.e2e_p95) },
    { class: "number", get: (each) => number(each.output_tokens) },
  ]);
}

/** The first tasks, what a model is for before what it does besides. */
function tasksInShort(each) {
  const tasks = each.tasks.toSorted((a, b) => (b === "generate") - (a === "generate"));
  return tasks.length > 2 ? `${tasks[0]} and ${tasks.length - 1} more` : tasks.join(", ");
}

/** "2 ready, 1 failing", each with its sign. */
function fillReplicas(cell, each) {
  const states = Object.entries(each.states);
  while (cell.children.length > Math.max(1, states.length)) cell.lastElementChild.remove();
  while (cell.children.length < Math.max(1, states.length)) cell.append(make("span"));
  if (!states.length) {
    setAttribute(cell.firstElementChild, "class", "muted");
    setText(cell.firstElementChild, each.desired === null ? "none" : each.desired ? `none of ${each.desired}` : "scaled to zero");
    return;
  }
  states.forEach(([state, amount], at) => {
    fillState(cell.children[at], state);
    setText(cell.children[at], `${amount} ${state}`);
  });
}

export function overview() {
  const needs = attention();
  const hour = plots();
  const decided = decisions();
  const failed = errors();
  const tiles = tilesOf();
  let sorting = { column: null, down: true };
  let latest = null;

  const filter = make("input", { type: "search", id: "filter", placeholder: "Filter by name or task", autocomplete: "off", on: { input: () => show() } });
  const headings = COLUMNS.map((column) => {
    const button = make("button", { type: "button", class: "sort", on: { click: () => sortBy(column) } }, column.text);
    column.node = make("th", { scope: "col", class: column.number ? "number" : null }, button);
    return column;
  });
  const { node: models, body } = table("Models", headings);
  const rows = new Keyed(body, (each) => each.model, modelRow);
  const more = make("p", { class: "empty" });

  function sortBy(column) {
    sorting = { column, down: sorting.column === column ? !sorting.down : Boolean(column.number) };
    for (const each of COLUMNS) setAttribute(each.node, "aria-sort", each !== column ? null : sorting.down ? "descending" : "ascending");
    show();
  }

  function show() {
    if (!latest) return;
    const words = filter.value.trim().toLowerCase();
    let some = latest.models.filter((each) => !words || `${each.model} ${each.tasks.join(" ")}`.toLowerCase().includes(words));
    if (sorting.column) {
      const { by } = sorting.column;
      const sign = sorting.down ? -1 : 1;
      some = some.toSorted((a, b) => sign * compare(by(a), by(b)));
    }
    rows.update(some.slice(0, MOST_ROWS));
    const hidden = some.length - MOST_ROWS;
    setText(more, hidden > 0 ? `and ${counted(hidden, "model")} more; filter to see them` : some.length ? "" : "No model has such a name.");
  }

  return {
    title: "Overview",
    node: make(
      "div",
      { class: "view" },
      make("h1", { class: "unseen" }, "Overview"),
      needs.node,
      tiles.node,
      section("Last hour", hour.node),
      section("Models", make("p", { class: "filter" }, make("label", { for: "filter", class: "unseen" }, "Filter models"), filter), models, more),
      make("div", { class: "two" }, decided.node, failed.node),
    ),
    needs: "overview",
    update(state) {
      latest = state;
      needs.update(state);
      tiles.update(state);
      hour.update(state.history, state.now);
      decided.update(state.decisions);
      failed.update(state.recent_errors);
      show();
    },
    close: () => hour.close(),
  };
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  return a < b ? -1 : 1;
}

const TILES = [
  ["Models ready", (state) => `${state.gateway.models_ready} / ${state.gateway.models}`, (state) => state.gateway.models_ready < state.gateway.models],
  ["Replicas ready", (state) => `${state.now.replicas_ready} / ${state.now.replicas}`, (state) => state.now.replicas_ready < state.now.replicas],
  ["Running", (state) => number(state.now.running)],
  ["Waiting", (state) => (state.now.waiting ? `${number(state.now.waiting)}, oldest ${seconds(state.now.oldest_wait)}` : "0"), (state) => state.now.waiting > 0],
  ["Requests/s", (state) => number(state.now.requests)],
  ["5xx/s", (state) => number(state.now.errors), (state) => state.now.errors > 0],
  ["TTFT p50 / p95", (state) => `${seconds(state.now.ttft_p50)} / ${seconds(state.now.ttft_p95)}`],
  ["Tokens/s", (state) => number(state.now.output_tokens)],
];

function tilesOf() {
  const values = TILES.map(() => make("dd"));
  const node = make("section", { "aria-label": "Now" }, make("dl", { class: "tiles" }, ...TILES.map(([name], at) => make("div", {}, make("dt", {}, name), values[at]))));
  return {
    node,
    update(state) {
      TILES.forEach(([, get, warn], at) => {
        setText(values[at], get(state));
        setAttribute(values[at], "class", warn?.(state) ? "warm" : null);
      });
    },
  };
}
