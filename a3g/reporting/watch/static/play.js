// Playing along: keys go out, pictures come back, with the ghost drawn in.

import { colour, lineChart } from "/static/charts.js";
import { $, figures, options, short } from "/static/format.js";

const BITS = { a: 1, b: 2, up: 16, down: 32, left: 64, right: 128 };
const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", KeyA: "left", KeyD: "right", KeyW: "up", KeyS: "down",
  KeyX: "a", Space: "a", KeyK: "a", KeyZ: "b", KeyY: "b", ShiftLeft: "b", ShiftRight: "b", KeyJ: "b",
};
const WORDS = { cleared: "Cleared!", died: "You died.", warped: "You left the stage by a warp zone.", timeout: "Out of time." };
const ALIVE_MS = 1000;
const MOST_TIMES = 60;

export class Play {
  constructor(description) {
    this.held = new Map();
    this.buttons = 0;
    this.input = 0;
    this.times = [];
    this.sentAt = new Map();
    if (!description.play) return;
    options($("play-stage"), (description.stages.length ? description.stages : ["1-1"]).map((name) => [name, name]));
    options($("play-ghost"), [["weights", "the best weights"], ["demo", "the best way found by exploring"], ["none", "nobody"]]);
    $("play-start").addEventListener("click", () => this.start());
    for (const id of ["play-stage", "play-ghost"]) $(id).addEventListener("change", () => { if (this.socket) this.start(); });
    window.addEventListener("keydown", (event) => this.key(event, true));
    window.addEventListener("keyup", (event) => this.key(event, false));
    window.addEventListener("blur", () => { this.held.clear(); this.press(); });
    for (const button of $("pad").children) {
      const name = button.dataset.button;
      const hold = (down) => (event) => {
        event.preventDefault();
        button.classList.toggle("down", down);
        this.hold(`pad-${name}`, name, down);
      };
      button.addEventListener("pointerdown", hold(true));
      for (const kind of ["pointerup", "pointercancel", "pointerleave"]) button.addEventListener(kind, hold(false));
      button.addEventListener("contextmenu", (event) => event.preventDefault());
    }
    this.say("Choose a stage, then Play.");
  }

  follow() { if ($("play").hidden) this.end(); }

  start() {
    this.end();
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/play?stage=${$("play-stage").value}&ghost=${$("play-ghost").value}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    Object.assign(this, { input: 0, seen: 0, times: [], mine: [[0, 0]], ghostRewards: [], over: false, drawn: 0 });
    this.sentAt.clear();
    socket.onmessage = (event) => this.take(socket, event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.socket = null;
      clearInterval(this.alive);
      if (!this.over) this.say(this.problem || "The game has ended. Play again?");
    };
    this.problem = "";
    this.alive = setInterval(() => this.send(), ALIVE_MS);
    this.say($("play-ghost").value === "none" ? "Starting." : "The agent plays its episode first; this takes some seconds.");
    $("play-canvas").focus({ preventScroll: true });
    $("play-start").textContent = "Again";
  }

  end() {
    clearInterval(this.alive);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  key(event, down) {
    if ($("play").hidden || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input")) return;
    if (down && event.code === "KeyR" && !event.repeat) { this.start(); return; }
    const name = KEYS[event.code];
    if (!name || !this.socket) return;
    event.preventDefault();
    if (!event.repeat) this.hold(event.code, name, down);
  }

  hold(key, name, down) {
    if (down) this.held.set(key, BITS[name]); else this.held.delete(key);
    this.press();
  }

  press() {
    const buttons = [...this.held.values()].reduce((all, bit) => all | bit, 0);
    if (buttons === this.buttons && this.input) return;
    this.buttons = buttons;
    if (!this.socket || this.socket.readyState !== WebSocket.OPEN || !this.ready || (!this.input && !buttons)) return;
    this.input += 1;
    this.sentAt.set(this.input, performance.now());
    this.send();
  }

  send() {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ buttons: this.buttons, input: this.input, seen: this.seen }));
  }

  async take(socket, data) {
    const length = new DataView(data).getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    if ("ready" in header) {
      this.ready = header.ready;
      this.problem = header.problem;
      let sum = 0;
      this.ghostRewards = (header.ghost_rewards ?? []).map((reward, i) => [i + 1, (sum += reward)]);
      this.say(header.problem || "Press a key to begin: the ghost starts with you.");
      return;
    }
    this.seen = header.number;
    if (header.number % 4 === 0) this.send();
    const picture = await createImageBitmap(new Blob([data.slice(4 + length)], { type: "image/jpeg" }));
    if (this.socket !== socket && this.socket) { picture.close(); return; }
    $("play-canvas").getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    this.drawn += 1;
    $("play-canvas").dataset.frame = header.frame;
    $("play-canvas").dataset.x = header.x;
    const sentAt = this.sentAt.get(header.input);
    if (sentAt !== undefined) {
      this.times = [...this.times, performance.now() - sentAt].slice(-MOST_TIMES);
      this.sentAt.delete(header.input);
    }
    this.show(header);
  }

  show(header) {
    if (header.steps > this.mine.at(-1)[0]) this.mine.push([header.steps, header.reward]);
    const sorted = [...this.times].sort((one, other) => one - other);
    const latency = sorted.length ? `${Math.round(sorted[Math.floor(sorted.length / 2)])} ms` : "–";
    const ghost = "ghost_reward" in header;
    if (this.drawn % 6 === 0 || header.outcome) {
      figures($("play-figures"), [
        ["your reward", short(header.reward)], ["the agent's", ghost ? short(header.ghost_reward) : "–"], ["last step", (header.last > 0 ? "+" : "") + short(header.last)],
        ghost ? ["you lead by", `${header.x - header.ghost_x} px`] : ["you are at", `${header.x} px`],
        ["clock", header.clock], ["key to picture", latency],
      ]);
      lineChart($("play-rewards"), [
        { points: this.ghostRewards, colour: colour("accent") },
        { points: this.mine, colour: colour("blue") },
      ]);
    }
    if (header.outcome) {
      this.over = true;
      const agent = header.ghost_outcome ? ` The agent ${header.ghost_outcome === "cleared" ? "cleared it" : "did not clear it"}.` : "";
      this.say(`${WORDS[header.outcome] ?? header.outcome} Reward ${short(header.reward)}.${agent} R plays again.`);
    } else if (header.frame) this.say("");
  }

  say(text) { $("play-note").textContent = text; }
}
