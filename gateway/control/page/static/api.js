// Everything that the page asks of the control port.

const TOKEN = "headgate-control-token";

export class Refused extends Error {
  constructor(status, body) {
    super(body?.reason ?? body?.problems?.join("\n") ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = body?.code;
  }

  /** Whether a token, or another one, would help. */
  get wantsToken() {
    return this.status === 401 || this.code === "unknown_host";
  }
}

/** The operator's token: for this tab, and gone with it. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** Take a token out of the address, as the gateway prints it, so that it is neither seen nor kept there. */
export function takeTokenFromAddress() {
  const found = location.hash.match(/^#token=(.+)$/);
  if (!found) return;
  token.set(decodeURIComponent(found[1]));
  history.replaceState(null, "", `${location.pathname}#/`);
}

export function headers(extra = {}) {
  const known = token.get();
  return known ? { ...extra, authorization: `Bearer ${known}` } : extra;
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store", signal: AbortSignal.timeout(15_000) });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export const overview = () => ask("/page/api/state");
export const model = (name) => ask(`/page/api/model?name=${encodeURIComponent(name)}`);
export const command = (path, body) => ask(path, { method: "POST", body: body && JSON.stringify(body) });
export const tryToken = () => command("/page/token");
