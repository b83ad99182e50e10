// Commands, the token that they need, and the questions before them.

import { Refused, command, token, tryToken } from "./api.js";
import { setText } from "./dom.js";

const find = (id) => document.getElementById(id);

/** Say how something went: to be seen for a while, and read out. */
export function tell(text, bad = false) {
  const toast = find("toast");
  toast.hidden = false;
  toast.className = bad ? "toast bad" : "toast";
  setText(toast, text);
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { toast.hidden = true; setText(toast, ""); }, bad ? 15_000 : 6_000);
}

/** Open a dialog; resolves to what `submitted` gives, or to `null` when it is closed. */
function opened(dialog, submitted) {
  const form = dialog.querySelector("form");
  return new Promise((resolve) => {
    let result = null;
    form.onsubmit = async (event) => {
      event.preventDefault();
      result = await submitted();
      if (result !== null) dialog.close();
    };
    dialog.querySelector("[data-close]").onclick = () => dialog.close();
    dialog.onclose = () => resolve(result);
    dialog.showModal();
  });
}

/** Ask for the token until it is right; resolves to whether there is one now. */
export async function askForToken(why = "") {
  const field = find("token");
  field.value = "";
  setText(find("token-wrong"), why);
  const accepted = await opened(find("token-dialog"), async () => {
    token.set(field.value.trim());
    try {
      await tryToken();
      return true;
    } catch (error) {
      token.forget();
      setText(find("token-wrong"), error.message);
      field.select();
      return null;
    }
  });
  showOperator();
  return accepted === true;
}

async function confirmed(title, text, yes) {
  setText(find("confirm-title"), title);
  setText(find("confirm-text"), text);
  setText(find("confirm-yes"), yes);
  return (await opened(find("confirm-dialog"), async () => true)) === true;
}

/** Give a command; asks for the token where that is what is missing. */
async function give(path, done, body) {
  if (!token.get() && !(await askForToken())) return;
  try {
    await command(path, body);
    tell(done);
  } catch (error) {
    if (error instanceof Refused && error.wantsToken) {
      token.forget();
      if (await askForToken(error.message)) await give(path, done, body);
      return;
    }
    tell(error.message, true);
  }
}

export async function drain(replica) {
  const text = "Nothing new is sent there, and it leaves when what it has is done. An engine that runs here is replaced; a remote one stays out for as long as the gateway runs.";
  if (await confirmed(`Drain ${replica}?`, text, "Drain it")) await give(`/replicas/${encodeURIComponent(replica)}/drain`, `${replica} drains.`);
}

/** Fix the number of replicas, or with `null` leave it to the gateway again. */
export async function scale(model, replicas) {
  const [title, text, yes] = replicas === null
    ? [`Leave the replicas of ${model} to the gateway?`, "There will be as many as its configuration and demand say.", "Leave them"]
    : [`Have ${replicas} replicas of ${model}?`, "The number holds, whatever demand there is, until the configuration is reloaded or it is left to the gateway again. A replica that is too many finishes what it has first; with 0 the model sleeps until a request comes.", "Scale it"];
  const done = replicas === null ? `The replicas of ${model} are left to the gateway.` : `${model} is to have ${replicas} replicas.`;
  if (await confirmed(title, text, yes)) await give(`/models/${model.split("/").map(encodeURIComponent).join("/")}/scale`, done, { replicas });
}

export async function reload() {
  const text = "The configuration is read anew, checked, and taken over as a whole or not at all.";
  if (await confirmed("Reload the configuration?", text, "Reload it")) await give("/reload", "The configuration was reloaded.");
}

/** Show whether this tab has a token. */
export function showOperator() {
  setText(find("operator"), token.get() ? "Forget token" : "Operator token");
}

export function listen() {
  find("reload").addEventListener("click", reload);
  find("operator").addEventListener("click", () => {
    if (!token.get()) return askForToken();
    token.forget();
    showOperator();
    tell("The token is forgotten.");
  });
  showOperator();
}
