// Starts the page, switches between its parts, and shows where the run stands.

import { $, clock, count, fetchJson, figures, short } from "/static/format.js";
import { Live } from "/static/live.js";
import { Curves, Films, Scorecard, showHealth, showSettings } from "/static/panels.js";
import { Play } from "/static/play.js";

const REFRESH_MS = 5000;

function showStatus(status) {
  const pill = $("pill");
  if (!status) {
    pill.textContent = "not connected";
    pill.className = "pill lost";
    return;
  }
  pill.textContent = !status.over ? "live" : status.ended ? `over: ${status.ended}` : "over";
  pill.className = status.over ? "pill" : "pill on";
  const cleared = status.stages.filter((stage) => stage.best_clears).length;
  figures($("figures"), [
    ["agent steps", count(status.agent_steps)],
    ["agent steps/s", status.rate ? short(status.rate) : status.over || status.wanted ? "–" : "…"],
    ["stages cleared", status.goal ? `${cleared} of ${status.goal}` : cleared],
    ["episodes", status.wanted ? `${status.episodes} of ${status.wanted}` : count(status.episodes)],
    ["tests", count(status.tests)],
    ["time", clock(status.seconds)],
  ].filter(([, value]) => value !== "–"));
  if (status.ended) $("pill").title = status.ended;
  const trouble = status.not_saving || status.trouble;
  $("trouble").hidden = !trouble;
  $("trouble").textContent = trouble ?? "";
  if (!$("run").hidden) showHealth(status);
}

async function start() {
  const description = await fetchJson("/api/run");
  document.title = `${description.name}: A3G`;
  $("title").textContent = description.name;
  $("subtitle").textContent = description.subtitle;
  showSettings(description.settings);
  const withGoal = (status) => showStatus(status && { ...status, goal: description.stages.length });
  const refresh = async () => {
    try { withGoal(await fetchJson("/api/status")); } catch { showStatus(null); }
  };
  const parts = { curves: new Curves(), scorecard: new Scorecard(description), films: new Films() };
  const hasLive = description.kind !== "over";
  const buttons = [...$("tabs").children];
  const choose = (name) => {
    for (const button of buttons) {
      const chosen = button.dataset.tab === name;
      button.setAttribute("aria-selected", String(chosen));
      $(button.dataset.tab).hidden = !chosen;
    }
    history.replaceState(null, "", `#${name}`);
    live?.follow();
    play.follow();
    if (name !== "live") refresh();
    parts[name]?.update().catch(() => showStatus(null));
  };
  const play = new Play(description);
  let live = null;
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.tab));
  const hide = (name) => { buttons.find((button) => button.dataset.tab === name).hidden = true; };
  if (!hasLive) hide("live");
  if (!description.play) hide("play");
  if (description.kind === "evaluation") ["curves", "scorecard", "films"].forEach(hide);
  const asked = buttons.find((button) => !button.hidden && `#${button.dataset.tab}` === location.hash);
  choose((asked ?? buttons.find((button) => !button.hidden)).dataset.tab);
  if (hasLive) live = new Live(description, withGoal);
  refresh();
  setInterval(() => {
    const name = buttons.find((button) => button.getAttribute("aria-selected") === "true").dataset.tab;
    if (document.hidden || name === "live") return;
    refresh();
    if (name !== "films") parts[name]?.update().catch(() => showStatus(null));
  }, REFRESH_MS);
}

start().catch((error) => {
  $("pill").textContent = "not connected";
  $("pill").className = "pill lost";
  $("trouble").hidden = false;
  $("trouble").textContent = `The page could not be started: ${error.message}. Reload it.`;
});
