// Curves, scorecard, films, and the run's health and settings.

import { colour, lineChart } from "/static/charts.js";
import { $, bytes, clock, count, element, fetchJson, figures, percent, short } from "/static/format.js";

const CURVES = [
  ["train/agent_steps_per_second", "Agent steps per second"],
  ["train/mean_return", "Return"],
  ["train/mean_length", "Episode length"],
  ["mean train_clear_rate", "Cleared in training"],
  ["mean test_clear_rate", "Cleared in tests"],
  ["mean train_progress", "Progress in training, pixels"],
  ["learn/entropy", "Entropy, nats"],
  ["learn/policy_loss", "Policy loss"],
  ["learn/value_loss", "Value loss"],
  ["learn/gradient_norm", "Gradient norm"],
];

function meanOverStages(curves, prefix) {
  // One point for each moment at which any stage has one.
  const sums = new Map();
  for (const [name, points] of Object.entries(curves)) {
    if (!name.startsWith(`${prefix}/`)) continue;
    for (const [steps, seconds, value] of points) {
      const sum = sums.get(seconds) ?? [steps, seconds, 0, 0];
      sum[2] += value;
      sum[3] += 1;
      sums.set(seconds, sum);
    }
  }
  return [...sums.values()].sort((one, other) => one[1] - other[1]).map(([steps, seconds, sum, number]) => [steps, seconds, sum / number]);
}

export class Curves {
  constructor() {
    this.curves = {};
    this.charts = new Map();
    $("axis").addEventListener("change", () => this.draw());
    window.addEventListener("resize", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  async update() {
    this.curves = await fetchJson("/api/curves");
    for (const prefix of ["train_clear_rate", "test_clear_rate", "train_progress"]) {
      const mean = meanOverStages(this.curves, prefix);
      if (mean.length) this.curves[`mean ${prefix}`] = mean;
    }
    this.draw();
  }

  draw() {
    if ($("curves").hidden) return;
    const axis = Number($("axis").value);
    const known = new Set(CURVES.map(([name]) => name));
    const others = Object.keys(this.curves).filter((name) => /^(learn|train)\//.test(name) && !known.has(name) && !/skipped|restored|updates|episodes/.test(name));
    let drawn = 0;
    for (const [name, title] of [...CURVES, ...others.map((name) => [name, name.split("/")[1].replaceAll("_", " ")])]) {
      const points = this.curves[name];
      if (!points?.length) continue;
      if (!this.charts.has(name)) {
        const canvas = element("canvas"), last = element("output");
        $("charts").append(element("figure", { className: "chart" }, element("figcaption", {}, title, last), canvas));
        this.charts.set(name, { canvas, last });
      }
      const { canvas, last } = this.charts.get(name);
      const share = name.includes("clear_rate");
      last.textContent = share ? percent(points.at(-1)[2]) : short(points.at(-1)[2]);
      canvas.dataset.points = points.length;
      lineChart(canvas, [{ points: points.map((point) => [point[axis], point[2]]), colour: colour("blue") }], axis ? clock : short);
      drawn += 1;
    }
    $("curves-note").textContent = drawn ? "" : "The first points come some seconds after the first agent steps.";
  }
}

export class Scorecard {
  constructor(description) { this.description = description; }

  async update() {
    const card = await fetchJson("/api/scorecard");
    const newest = card.confirmation ?? card.test ?? null, best = card.best ?? null;
    const stages = this.description.stages.length ? this.description.stages : Object.keys(newest?.stages ?? {});
    const shown = best ?? newest;
    const passed = new Set(shown?.stages_passed ?? []);
    $("score-note").textContent = shown
      ? `The best weights, after ${count(shown.agent_steps)} agent steps, cleared ${percent(shown.mean_clear_rate)} of their test (95% interval ${shown.mean_clear_rate_interval.map(percent).join(" to ")}).`
      : "No test has ended yet.";
    $("score-grid").replaceChildren(...stages.map((name) => {
      const score = shown?.stages?.[name], now = newest?.stages?.[name];
      const rate = score ? score.cleared / score.episodes : null;
      const meter = element("i");
      meter.style.width = `${(rate ?? 0) * 100}%`;
      return element("div", { className: `score${score ? "" : " none"}` },
        element("div", { className: "row" }, element("b", { textContent: name }), element("span", { className: `rate${passed.has(name) ? " full" : ""}`, textContent: percent(rate) })),
        element("div", { className: "meter" }, meter),
        element("p", { className: "quiet", textContent: score ? `${score.cleared} of ${score.episodes} cleared, ${count(score.mean_progress)} px` : "not played" }),
        now && best && newest.agent_steps !== best.agent_steps ? element("p", { className: "quiet", textContent: `newest test ${now.cleared} of ${now.episodes}` }) : null);
    }));
  }
}

export class Films {
  async update() {
    const films = await fetchJson("/api/films");
    $("films-note").textContent = films.length ? "" : "This run has no films. Training with --record writes some.";
    $("film-list").replaceChildren(...films.map((film) => {
      const button = element("button", { type: "button" }, element("span", { textContent: film.name }), element("span", { className: "quiet", textContent: bytes(film.bytes) }));
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        for (const other of $("film-list").querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
        $("film").hidden = false;
        $("film").src = `/films/${film.key}.mp4`;
        $("film").play().catch(() => {});
      });
      return element("li", {}, button);
    }));
  }
}

export function showHealth(status) {
  // A run that is over has no processes any more.
  for (const [id, has] of [["health", status.processes?.length], ["times", Object.keys(status.phases ?? {}).length], ["counts", status.updates !== undefined]]) $(id).hidden = !has;
  const rows = (status.processes ?? []).map((process) => {
    const silent = process.started ? process.silent : null;
    const late = silent !== null && silent > 10;
    const state = !process.started ? "starting" : late ? `silent for ${Math.round(silent)} s` : "alive";
    return element("tr", {}, element("td", { textContent: process.title }), element("td", { className: late ? "bad" : "good", textContent: state }),
      element("td", { textContent: process.rate ? short(process.rate) : "–" }), element("td", { className: process.restarts ? "bad" : "", textContent: process.restarts }));
  });
  const heading = element("tr", {}, ...["process", "state", "agent steps/s", "restarts"].map((text) => element("th", { textContent: text })));
  $("processes").replaceChildren(heading, ...rows);
  const saved = status.saved_at ? `${clock(Math.max(Date.now() / 1000 - status.saved_at, 0))} ago` : "–";
  const numbers = [["updates", count(status.updates)], ["left out, not finite", count(status.skipped)], ["weights restored", count(status.restored)], ["newest checkpoint", saved], ["viewers", count(status.viewers)],
    ...Object.entries(status.metrics ?? {}).map(([name, value]) => [name, short(value)])];
  figures($("numbers"), numbers.filter(([, value]) => value !== "–"));
  $("phases").replaceChildren(...Object.entries(status.phases ?? {}).map(([name, share]) => {
    const part = element("span", { textContent: share > 0.07 ? `${name} ${percent(share)}` : "", title: `${name} ${percent(share)}` });
    part.style.flexGrow = share;
    part.style.flexBasis = "0";
    return part;
  }));
}

export function showSettings(settings) {
  const text = (value) => (Array.isArray(value) ? value.join(" ") || "–" : value === "" || value === null ? "–" : String(value));
  $("settings").replaceChildren(...Object.entries(settings).map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name.replaceAll("_", " ") }), element("dd", { textContent: text(value) }))));
}
