// What both views show: states, decisions, errors.

import { Keyed, make, row, section, setAttribute, setText, table } from "./dom.js";
import { ago, clock } from "./format.js";

const GOOD = new Set(["ready"]);
const BAD = new Set(["failing", "failed", "restarting"]);
const RESTING = new Set(["asleep"]);

/** A state as a word with a sign, so that it does not depend on colour. */
export function fillState(node, state) {
  const kind = GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : RESTING.has(state) ? "resting" : "busy";
  setAttribute(node, "class", `state ${kind}`);
  setText(node, state);
}

/** A link to the view of a model. */
export function fillModelLink(node, name) {
  if (!node.firstElementChild) node.append(make("a"));
  setText(node.firstElementChild, name);
  setAttribute(node.firstElementChild, "href", `#/models/${encodeURIComponent(name)}`);
}

const KINDS = { state: "replica", scaling: "scaling", retry: "retry", fallback: "fallback", recovery: "recovery", refusal: "queue", reload: "reload", command: "operator" };

export function decisions() {
  const { node, body } = table("Recent decisions", ["Time", "Kind", "About", "What and why"]);
  const empty = make("p", { class: "empty" }, "Nothing was decided yet.");
  const rows = new Keyed(body, (each) => `${each.at} ${each.kind} ${each.what} ${each.model} ${each.replica} ${each.reason}`, () =>
    row([
      { class: "time", get: (each) => clock(each.at) },
      { fill: (cell, each) => { setText(cell, KINDS[each.kind] ?? each.kind); setAttribute(cell, "class", each.bad ? "kind bad" : "kind"); } },
      { class: "about", get: (each) => each.replica || each.model || "gateway" },
      { class: "reason", fill: (cell, each) => fillTwo(cell, each.number > 1 ? `${each.what} (${each.number} times)` : each.what, each.reason, "muted") },
    ]),
  );
  return {
    node: section("Recent decisions", empty, node),
    update(all) {
      empty.hidden = all.length > 0;
      node.hidden = !all.length;
      rows.update(all);
    },
  };
}

/** What matters, and below it what explains it. */
function fillTwo(cell, text, below, style) {
  if (!cell.firstElementChild) cell.append(make("span"), make("span", { class: `below ${style}` }));
  setText(cell.firstElementChild, text);
  setText(cell.lastElementChild, below);
}

export function errors() {
  const { node, body } = table("Recent errors", ["Time", "Status", "About", "Message, code and request"]);
  const empty = make("p", { class: "empty" }, "No request has failed.");
  const rows = new Keyed(body, (each) => `${each.request_id} ${each.at}`, () =>
    row([
      { class: "time", get: (each) => clock(each.at) },
      { fill: (cell, each) => { setText(cell, each.status); setAttribute(cell, "class", each.status >= 500 ? "kind bad" : "kind"); } },
      { class: "about", get: (each) => each.replica || each.model },
      { class: "reason", fill: (cell, each) => fillTwo(cell, each.message, [each.code, each.request_id].filter(Boolean).join(" · "), "id muted") },
    ]),
  );
  return {
    node: section("Recent errors", empty, node),
    update(all) {
      empty.hidden = all.length > 0;
      node.hidden = !all.length;
      rows.update(all);
    },
  };
}

/** Replicas that are not ready, each with its reason: what somebody has to look at. */
export function attention() {
  const list = make("ul");
  const more = make("p", { class: "empty" });
  const rows = new Keyed(list, (each) => each.replica, (each) => {
    const state = make("span");
    const link = make("span");
    const rest = make("span", { class: "muted" });
    const reason = make("p", { class: "reason" });
    const node = make("li", {}, make("p", {}, state, " ", make("strong", {}, each.replica), " of ", link, rest), reason);
    node.update = (replica) => {
      fillState(state, replica.state);
      fillModelLink(link, replica.model);
      setText(rest, replica.now && replica.since ? ` for ${ago(replica.since, replica.now)}` : "");
      setText(reason, replica.reason);
      reason.hidden = !replica.reason;
    };
    return node;
  });
  const node = section("Needs attention", list, more);
  node.classList.add("attention");
  return {
    node,
    update(state) {
      node.hidden = !state.not_ready.length;
      rows.update(state.not_ready.map((replica) => ({ ...replica, now: state.at })));
      const hidden = state.not_ready_total - state.not_ready.length;
      more.hidden = hidden <= 0;
      setText(more, hidden > 0 ? `and ${hidden} more` : "");
    },
  };
}
