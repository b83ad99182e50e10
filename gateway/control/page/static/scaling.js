// How many replicas a model has and is to have, why, and what they wait for; and the command to have another number.

import { make, section, setText } from "./dom.js";
import { clock, number, seconds } from "./format.js";
import { scale } from "./operator.js";

const FACTS = [
  ["Replicas", (scaling) => `${scaling.ready} ready, ${scaling.starting} starting, ${scaling.draining} draining, ${scaling.asleep} asleep; ${scaling.desired} desired`],
  ["Why so many", (scaling) => `${scaling.reason}: ${scaling.explanation}`],
  ["Waits for", (scaling) => scaling.waits_for],
  ["Between", (scaling) => (scaling.fixed ? `fixed at ${scaling.min} until the next reload` : `${scaling.min} and ${scaling.max}, ${number(scaling.target)} requests each`)],
  ["Demand", (scaling) => `${scaling.demand} now, ${number(scaling.recent_demand)} to be run, ${number(scaling.peak_demand)} at most in ${seconds(scaling.keep_seconds)}`],
  ["Arrivals", (scaling) => `${number(scaling.arrival_rate)} a second`],
  ["Tokens", (scaling) => `${number(scaling.tokens_demanded)} a second demanded, ${number(scaling.tokens_served)} served`],
  ["Held for a start", (scaling) => (scaling.held ? `${scaling.held}, the oldest for ${seconds(scaling.oldest_wait)}` : "none")],
  ["Last start", (scaling) => (scaling.start_seconds === null ? "" : `took ${seconds(scaling.start_seconds)}`)],
  ["Last changes", (scaling) => scaling.decisions.slice(0, 5).map((each) => `${clock(each.at)} ${each.from} → ${each.to} (${each.reason})`).join(", ")],
];

/** What is shown of the scaling of a model whose engines run here. */
export function scaling(name) {
  const values = FACTS.map(() => make("dd"));
  const lines = FACTS.map(([title], at) => make("div", {}, make("dt", {}, title), values[at]));
  const facts = make("dl", { class: "facts" }, ...lines);
  const plain = make("p", { class: "empty" }, "It has as many replicas as its configuration says, whatever demand there is.");
  const wanted = make("input", { type: "number", id: "replicas", min: "0", max: "64", step: "1", required: true });
  const automatic = make("button", { type: "button", on: { click: () => scale(name, null) } }, "Leave it to the gateway");
  const submit = (event) => {
    event.preventDefault();
    scale(name, wanted.valueAsNumber);
  };
  const form = make("form", { class: "scale", on: { submit } }, make("label", { for: "replicas" }, "Replicas"), wanted, make("button", { type: "submit" }, "Scale"), automatic);
  const node = section("Scaling", plain, facts, form);
  return {
    node,
    update(model) {
      const { scaling: shown } = model;
      node.hidden = !model.runs_here;
      plain.hidden = shown !== null;
      facts.hidden = shown === null;
      automatic.hidden = !shown?.fixed;
      if (wanted.value === "" && document.activeElement !== wanted) wanted.value = shown?.desired ?? model.replicas.length;
      if (shown === null) return;
      FACTS.forEach(([, get], at) => {
        const text = get(shown);
        setText(values[at], text);
        lines[at].hidden = text === "";
      });
    },
  };
}
