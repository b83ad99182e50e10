// The frame around the views: which one is shown, and a look at the gateway every two seconds.

import * as api from "./api.js";
import { make, setAttribute, setText } from "./dom.js";
import { clock, counted } from "./format.js";
import { model } from "./model.js";
import { askForToken, listen } from "./operator.js";
import { overview } from "./overview.js";
import { playground } from "./playground.js";

const LOOK_MS = 2000;
const LONGEST_PAUSE_MS = 15_000;

const find = (id) => document.getElementById(id);
let view = null;
let pause = LOOK_MS;
let timer = 0;
let looks = 0;
let missing = null;

function viewOf(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const named = path.match(/^\/models\/(.+)$/);
  if (named) return model(decodeURIComponent(named[1]));
  if (path === "/playground") return playground(new URLSearchParams(query).get("model"));
  return overview();
}

function show() {
  view?.close?.();
  view = viewOf(location.hash);
  find("main").replaceChildren(view.node);
  document.title = `${view.title} - Headgate`;
  const here = location.hash.startsWith("#/playground") ? "playground" : location.hash.startsWith("#/models/") ? null : "overview";
  for (const link of document.querySelectorAll("nav [data-view]")) setAttribute(link, "aria-current", link.dataset.view === here ? "page" : null);
  look();
}

/** Ask the gateway and show what it says; then again, later the longer it is silent. A hidden page asks nothing. */
async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  const number = ++looks;
  const shown = view;
  let state = null;
  let error = null;
  try {
    state = await (shown.needs === "overview" ? api.overview() : api.model(shown.needs));
  } catch (reason) {
    error = reason;
  }
  // Another view may be shown by now, which looks by itself.
  if (number !== looks) return;
  if (error) await failed(error, shown);
  else pause = LOOK_MS;
  timer = setTimeout(look, pause);
  if (state) showAll(state, shown);
}

function showAll(state, shown) {
  find("offline").hidden = true;
  setText(find("updated"), `as of ${clock(state.at)}`);
  showGateway(state.gateway);
  shown.update(state);
}

async function failed(error, shown) {
  if (error instanceof api.Refused && error.status === 404) {
    shown.node.replaceChildren(make("p", { class: "empty" }, `${error.message}. `, make("a", { href: "#/" }, "See all models")));
    return;
  }
  const offline = find("offline");
  const refused = error instanceof api.Refused;
  setText(offline, refused ? error.message : "The gateway does not answer. What is shown is from before; trying again.");
  offline.hidden = false;
  pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS);
  if (refused && error.wantsToken && !document.querySelector("dialog[open]")) {
    api.token.forget();
    if (await askForToken(error.message)) pause = 0;
  }
}

/** Show in the bar how the gateway is; read out only when a replica fails or comes back. */
function showGateway(state) {
  const node = find("gateway-state");
  const lacking = state.models - state.models_ready;
  const [text, kind] = state.draining
    ? ["shutting down", "bad"]
    : state.troubles.length
      ? [state.troubles.join("; "), "bad"]
      : lacking
        ? [`${counted(lacking, "model")} not ready`, "bad"]
        : ["serving", "good"];
  setText(node, state.processes.length ? `${text} by ${state.processes.length} processes` : text);
  setAttribute(node, "class", `gateway-state state ${kind}`);
  const bad = new Set(state.in_trouble);
  if (missing) {
    const come = [...bad].filter((each) => !missing.has(each));
    const back = [...missing].filter((each) => !bad.has(each));
    if (come.length) setText(find("announcements"), `Not ready any more: ${come.slice(0, 5).join(", ")}`);
    else if (back.length) setText(find("announcements"), `No longer in trouble: ${back.slice(0, 5).join(", ")}`);
  }
  missing = bad;
}

api.takeTokenFromAddress();
listen();
addEventListener("hashchange", () => {
  api.takeTokenFromAddress();
  show();
  scrollTo(0, 0);
  find("main").focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", () => document.hidden || look());
show();
