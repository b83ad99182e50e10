// One model: its replicas with what can be done to them, its queue, its hour, its decisions and errors.

import { Keyed, make, row, section, setAttribute, setText, table } from "./dom.js";
import { ago, counted, number, seconds } from "./format.js";
import { drain } from "./operator.js";
import { decisions, errors, fillState } from "./parts.js";
import { plots } from "./plots.js";
import { scaling } from "./scaling.js";

function replicaRow(replica) {
  const button = make("button", { type: "button", on: { click: () => drain(replica.replica) } }, "Drain");
  setAttribute(button, "aria-label", `Drain ${replica.replica}`);
  return row([
    { heading: true, get: (each) => each.replica },
    { fill: (cell, each) => { if (!cell.firstElementChild) cell.append(make("span")); fillState(cell.firstElementChild, each.state); } },
    { class: "number", get: (each) => (each.since ? ago(each.since, each.now) : "–") },
    { class: "number", get: (each) => number(each.in_flight) },
    { class: "number", get: (each) => number(each.attempts.ok ?? 0) },
    { fill: (cell, each) => { const failed = failures(each.attempts); setText(cell, failed || "0"); setAttribute(cell, "class", failed ? "number bad" : "number"); } },
    { class: "id", get: (each) => each.address },
    { class: "reason", get: (each) => each.reason },
    { fill: (cell, each) => { if (!cell.firstElementChild) cell.append(button); button.disabled = each.state === "draining" || each.state === "stopped"; } },
  ]);
}

/** "3 failed, 1 timeout": what attempts came to besides answers. */
function failures(attempts) {
  return ["failed", "timeout", "full"].filter((outcome) => attempts[outcome]).map((outcome) => `${attempts[outcome]} ${outcome}`).join(", ");
}

const FACTS = [
  ["Tasks", (model) => model.tasks.join(", ")],
  ["Also called", (model) => model.aliases.join(", ")],
  ["At its engines", (model) => (model.upstream_name === model.model ? "" : model.upstream_name)],
  ["Context length", (model) => (model.max_model_len ? `${model.max_model_len} tokens` : "")],
  ["Policy", (model) => model.policy],
  ["Falls back to", (model) => model.fallback.join(", ")],
  ["Shares its pool with", (model) => model.shares_pool_with.join(", ")],
  ["Required for readiness", (model) => (model.required ? "yes" : "no")],
];

const QUEUE = [
  ["Running", (model) => (model.limit ? `${model.running} of ${model.limit}` : number(model.running))],
  ["Waiting", (model) => `${model.waiting} of ${model.queue.max_queue}`],
  ["Oldest", (model) => (model.waiting ? seconds(model.oldest_wait) : "–")],
  ["By class", (model) => classes(model.queue.classes)],
  ["Gate", (model) => (model.queue.open ? "open" : "closed: requests are held for a replica")],
  ["Admitted at once", (model) => total(model, "admissions", "admitted")],
  ["Queued", (model) => total(model, "admissions", "queued")],
  ["Refused, timed out", (model) => `${total(model, "admissions", "refused")}, ${total(model, "admissions", "timeout")}`],
];

const TOTALS = [
  ["Tokens in, of them cached", (model) => `${total(model, "tokens", "input")}, ${total(model, "tokens", "cached")}`],
  ["Tokens out", (model) => total(model, "tokens", "output")],
  ["Retried, held, over budget", (model) => ["retried", "held", "over_budget"].map((name) => total(model, "retries", name)).join(", ")],
  ["Streams recovered, lost", (model) => `${total(model, "recoveries", "recovered")}, ${number(lost(model))}`],
  ["Clients left", (model) => total(model, "aborts", "client_left")],
  ["Hedged", (model) => total(model, "aborts", "hedged")],
];

const total = (model, table, name) => number(model.totals?.[table][name] ?? 0);
const lost = (model) => ["failed", "ineligible", "no_replica", "over_budget"].reduce((sum, name) => sum + (model.totals?.recoveries[name] ?? 0), 0);

function classes(counts) {
  if (counts === null) return "each process knows its own";
  const all = Object.entries(counts).sort(([a], [b]) => a - b);
  return all.length ? all.map(([priority, amount]) => `priority ${priority}: ${amount}`).join(", ") : "–";
}

function facts(title, rows) {
  const values = rows.map(() => make("dd"));
  const lines = rows.map(([name], at) => make("div", {}, make("dt", {}, name), values[at]));
  return {
    node: section(title, make("dl", { class: "facts" }, ...lines)),
    update(model) {
      rows.forEach(([, get], at) => {
        const text = get(model);
        setText(values[at], text);
        lines[at].hidden = text === "";
      });
    },
  };
}

export function model(name) {
  const summary = make("p", { class: "summary" });
  const hour = plots();
  const { node, body } = table("Replicas", ["Replica", "State", { text: "For", number: true }, { text: "In flight", number: true }, { text: "Answered", number: true }, { text: "Failed", number: true }, "Address", "Reason", "Command"]);
  const none = make("p", { class: "empty" }, "It has no replica.");
  const replicas = new Keyed(body, (each) => each.replica, replicaRow);
  const [about, queue, totals] = [facts("Model", FACTS), facts("Queue", QUEUE), facts("Since the start", TOTALS)];
  const scaled = scaling(name);
  const decided = decisions();
  const failed = errors();
  const attempt = make("a", { class: "button", href: `#/playground?model=${encodeURIComponent(name)}` }, "Try it in the playground");
  return {
    title: name,
    node: make(
      "div",
      { class: "view" },
      make("p", { class: "crumbs" }, make("a", { href: "#/" }, "Overview"), " / "),
      make("div", { class: "heading" }, make("h1", {}, name), summary, attempt),
      section("Replicas", none, node),
      scaled.node,
      section("Last hour", hour.node),
      make("div", { class: "three" }, queue.node, totals.node, about.node),
      make("div", { class: "two" }, decided.node, failed.node),
    ),
    needs: name,
    update(state) {
      setText(summary, `${counted(state.ready, "replica")} ready of ${state.replicas.length}, ${counted(state.running, "request")} running, ${state.waiting} waiting`);
      none.hidden = state.replicas.length > 0;
      node.hidden = !state.replicas.length;
      replicas.update(state.replicas.map((each) => ({ ...each, now: state.at })));
      for (const each of [scaled, about, queue, totals]) each.update(state);
      hour.update(state.history, state);
      decided.update(state.decisions);
      failed.update(state.recent_errors);
    },
    close: () => hour.close(),
  };
}
