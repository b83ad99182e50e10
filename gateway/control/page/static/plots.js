// The last hour as small plots, drawn by uPlot. Each has a legend in words, which follows the pointer.

import { make, setAttribute, setText } from "./dom.js";
import { number, seconds, shortClock } from "./format.js";

const HEIGHT = 96;

/** What is plotted: a title, how its numbers are written, and the columns of the history with their names. */
export const PLOTS = [
  { title: "Requests per second", format: number, series: [["requests", "all", "--line-1"], ["errors", "5xx", "--line-bad"], ["refused", "no slot", "--line-3"]] },
  { title: "Requests in the gateway", format: number, series: [["running", "running", "--line-1"], ["waiting", "waiting", "--line-3"]] },
  { title: "Time to first token", format: seconds, series: [["ttft_p50", "p50", "--line-1"], ["ttft_p95", "p95", "--line-2"]] },
  { title: "End-to-end latency", format: seconds, series: [["e2e_p50", "p50", "--line-1"], ["e2e_p95", "p95", "--line-2"]] },
  { title: "Tokens per second", format: number, series: [["output_tokens", "out", "--line-1"], ["input_tokens", "in", "--line-2"]] },
  { title: "Ready replicas", format: number, series: [["ready", "ready", "--line-1"]], steps: true },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Plot {
  constructor(spec) {
    this.spec = spec;
    this.values = spec.series.map(() => make("b"));
    const legend = spec.series.map(([, name, line], at) => {
      const item = make("span", { class: "key" }, make("i", { class: `swatch ${line.slice(2)}` }), `${name} `, this.values[at]);
      return item;
    });
    this.canvas = make("div", { class: "canvas", role: "img" });
    this.node = make("figure", { class: "plot" }, make("figcaption", {}, make("span", { class: "plot-title" }, spec.title), make("span", { class: "legend" }, ...legend)), this.canvas);
    this.data = null;
    this.drawn = null;
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.canvas);
  }

  /** Draw an hour; `null` says that there is none. `now` overrides the last numbers of the legend. */
  update(history, now) {
    const data = history ? [history.times, ...this.spec.series.map(([column]) => history[column])] : null;
    this.now = now;
    this.data = data;
    setAttribute(this.canvas, "data-empty", data ? null : "No request in the last hour");
    if (!data) this.destroy();
    else if (this.drawn) this.drawn.setData(data);
    else this.draw();
    this.describe(null);
    setAttribute(this.canvas, "aria-label", this.words());
  }

  /** Draw anew, in the colours that hold now. */
  redraw() {
    this.destroy();
    if (this.data) this.draw();
  }

  close() {
    this.resized.disconnect();
    this.destroy();
  }

  destroy() {
    this.drawn?.destroy();
    this.drawn = null;
  }

  fit() {
    const width = this.canvas.clientWidth;
    if (!width || !this.data) return;
    if (this.drawn) this.drawn.setSize({ width, height: HEIGHT });
    else this.draw();
  }

  draw() {
    const width = this.canvas.clientWidth;
    if (!width) return;
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: colour("--muted"), font, ticks: { show: false }, grid: { stroke: colour("--grid"), width: 1 } };
    const options = {
      width,
      height: HEIGHT,
      padding: [6, 8, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "hour" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, __, highest) => [0, highest > 0 ? highest * 1.1 : 1] } },
      axes: [
        { ...axis, size: 22, space: 70, grid: { show: false }, values: (_, times) => times.map(shortClock) },
        { ...axis, size: 52, space: 26, values: (_, values) => values.map((value) => this.spec.format(value)) },
      ],
      series: [
        {},
        ...this.spec.series.map(([, , line], at) => ({
          stroke: colour(line),
          width: 1.6,
          fill: at === 0 && this.spec.series.length < 3 ? colour("--fill-1") : undefined,
          points: { show: this.lonely(at + 1), size: 4, fill: colour(line) },
          paths: this.spec.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
        })),
      ],
      hooks: { setCursor: [(plot) => this.describe(plot.cursor.idx)] },
    };
    this.drawn = new uPlot(options, this.data, this.canvas);
  }

  /** Whether numbers stand alone between gaps, so that there is no line to see. */
  lonely(at) {
    return (_, __, first, last) => this.data[at].slice(first, last + 1).filter((value) => value !== null).length < 30;
  }

  /** Write into the legend the numbers at the pointer, or the latest. */
  describe(at) {
    this.spec.series.forEach(([column], series) => {
      const value = at === null || at === undefined ? this.now?.[column] : this.data?.[series + 1][at];
      setText(this.values[series], this.spec.format(value));
    });
  }

  words() {
    const parts = this.spec.series.map(([column, name], series) => {
      const known = (this.data?.[series + 1] ?? []).filter((value) => value !== null);
      return `${name} ${this.spec.format(this.now?.[column])}${known.length ? `, highest ${this.spec.format(Math.max(...known))}` : ""}`;
    });
    return `${this.spec.title} in the last hour: now ${parts.join("; ")}`;
  }
}

/** All plots of one view. */
export function plots() {
  const all = PLOTS.map((spec) => new Plot(spec));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => all.forEach((plot) => plot.redraw());
  dark.addEventListener("change", redraw);
  return {
    node: make("div", { class: "plots" }, ...all.map((plot) => plot.node)),
    update: (history, now) => all.forEach((plot) => plot.update(history, now)),
    close: () => {
      dark.removeEventListener("change", redraw);
      all.forEach((plot) => plot.close());
    },
  };
}
