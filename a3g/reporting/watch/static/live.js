// The mosaic and the chosen game. One request, one answer: a slow browser gets fewer pictures, never a queue of them.

import { valueChart } from "/static/charts.js";
import { $, element, short } from "/static/format.js";

const TILE = [120, 112], COLUMNS = 8, TILES = 32, MOST_STEPS = 150;
const WORDS = { cleared: "cleared", died: "died", warped: "warped", timeout: "out of time", truncated: "cut off" };

export class Live {
  constructor(description, onStatus) {
    this.description = description;
    this.onStatus = onStatus;
    this.tile = 0;
    this.known = 0;
    this.history = [];
    this.source = "auto";
    this.shownSource = "";
    this.tiles = [];
    this.pictures = 0;
    this.makeTiles();
    this.makeActions();
    this.makeSources();
    document.addEventListener("visibilitychange", () => this.follow());
    this.follow();
  }

  get wanted() { return !document.hidden && !$("live").hidden; }

  follow() {
    // Nothing is asked for by a page that nobody sees.
    if (this.wanted && !this.socket) this.connect();
    if (!this.wanted && this.socket) { const socket = this.socket; this.socket = null; socket.close(); }
  }

  connect() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.known = 0; this.ask(); };
    socket.onmessage = (event) => this.take(socket, event.data);
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.say(event.code === 1013 ? "Too many people look on at the moment." : "Connection lost, trying again.");
      this.onStatus(null);
      setTimeout(() => this.follow(), 1500);
    };
    this.socket = socket;
  }

  ask() {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ source: this.source, tile: this.tile, known: this.known }));
  }

  async take(socket, data) {
    const view = new DataView(data);
    const length = view.getUint32(0);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const parts = {};
    let offset = 4 + length;
    for (const [name, size] of header.parts) { parts[name] = data.slice(offset, offset + size); offset += size; }
    if (header.status) this.onStatus(header.status);
    try { await this.show(header, parts); } finally { if (this.socket === socket) this.ask(); }
  }

  async show(header, parts) {
    const changed = header.source !== this.shownSource;
    if (changed) { this.shownSource = header.source; this.history = []; this.known = 0; }
    this.describe(header);
    if (header.tiles) this.showTiles(header.tiles, changed);
    if (parts.mosaic) await this.drawMosaic(parts.mosaic, header.tiles);
    if (header.tile !== this.tile) return;  // chosen since
    if (parts.large) await this.draw($("large"), parts.large);
    if (parts.seen?.byteLength) await this.draw($("seen"), parts.seen, true);
    if (parts.history) this.showHistory(new Float32Array(parts.history), header);
  }

  async draw(canvas, data, resize = false) {
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    if (resize && (canvas.width !== picture.width || canvas.height !== picture.height)) [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
  }

  async drawMosaic(data, tiles) {
    const picture = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    this.elements.forEach(({ context }, i) => {
      if (!tiles?.[i]?.[1]) return;
      const left = (i % COLUMNS) * TILE[0], top = Math.floor(i / COLUMNS) * TILE[1];
      if (top < picture.height) context.drawImage(picture, left, top, ...TILE, 0, 0, ...TILE);
    });
    picture.close();
    this.pictures += 1;
    $("mosaic").dataset.pictures = this.pictures;
  }

  makeTiles() {
    this.elements = Array.from({ length: TILES }, (_, i) => {
      const canvas = element("canvas", { width: TILE[0], height: TILE[1] });
      const name = element("span"), state = element("span", { className: "state" }), flash = element("span", { className: "flash" });
      const button = element("button", { className: "tile", type: "button", hidden: true }, canvas, flash, element("span", { className: "label" }, name, state));
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => this.choose(i));
      return { button, name, state, flash, context: canvas.getContext("2d"), episodes: null };
    });
    $("mosaic").replaceChildren(...this.elements.map(({ button }) => button));
    this.choose(0);
  }

  choose(tile) {
    this.tile = tile;
    this.known = 0;
    this.history = [];
    this.elements.forEach(({ button }, i) => button.setAttribute("aria-pressed", String(i === tile)));
    this.nameFocus();
  }

  showTiles(tiles, changed) {
    this.tiles = tiles;
    const used = tiles.filter(([, state]) => state).length;
    $("mosaic").classList.toggle("few", used <= 12);
    tiles.forEach(([name, state, outcome, episodes], i) => {
      const each = this.elements[i];
      each.button.hidden = !state;
      if (!state) return;
      if (each.name.textContent !== (name || "game")) each.name.textContent = name || "game";
      const over = state === 2;
      const classes = `tile${over ? ` over ${outcome}` : ""}`;
      if (each.button.className !== classes) each.button.className = classes;
      const words = over ? WORDS[outcome] ?? outcome : "playing";
      if (each.state.textContent !== words) each.state.textContent = words;
      if (!changed && each.episodes !== null && episodes > each.episodes && outcome) this.flash(each, outcome);
      each.episodes = episodes;
    });
    if (!tiles[this.tile]?.[1]) { const first = tiles.findIndex(([, state]) => state); if (first >= 0) this.choose(first); }
    this.nameFocus();
  }

  flash(each, outcome) {
    each.flash.textContent = WORDS[outcome] ?? outcome;
    each.flash.className = `flash on ${outcome === "cleared" ? "good" : outcome === "died" || outcome === "timeout" ? "bad" : ""}`;
    clearTimeout(each.timer);
    each.timer = setTimeout(() => each.flash.classList.remove("on"), 1200);
  }

  nameFocus() {
    const [name, state, outcome, , steps, reward, x] = this.tiles[this.tile] ?? [];
    $("focus-name").textContent = name || "–";
    $("focus-state").textContent = !state ? "" : state === 2 ? WORDS[outcome] ?? "" : `step ${short(steps)}, x ${short(x)}, reward ${short(reward)}`;
  }

  makeActions() {
    this.bars = this.description.action_names.map((name) => {
      const fill = element("div", { className: "fill" });
      return { item: element("li", {}, element("div", { className: "track" }, fill), element("span", { textContent: name })), fill };
    });
    $("actions").replaceChildren(...this.bars.map(({ item }) => item));
  }

  showHistory(numbers, header) {
    const width = this.bars.length + 3;
    for (let i = 0; i < header.steps; i += 1) this.history.push(numbers.subarray(i * width, (i + 1) * width));
    this.history = this.history.slice(-MOST_STEPS);
    this.known = header.known;
    const last = this.history.at(-1);
    if (!last) return;
    const action = last[width - 1];
    this.bars.forEach(({ item, fill }, i) => {
      fill.style.height = `${(Number.isFinite(last[i]) ? last[i] : 0) * 100}%`;
      item.className = i === action ? "chosen" : "";
      item.title = Number.isFinite(last[i]) ? `${(last[i] * 100).toFixed(1)}%` : "";
    });
    const values = this.history.map((row) => row[width - 3]);
    $("value").textContent = Number.isFinite(values.at(-1)) ? short(values.at(-1)) : "";
    $("span").textContent = this.history.length;
    valueChart($("values"), values, this.history.map((row) => row[width - 2]), MOST_STEPS);
  }

  makeSources() {
    const select = $("source");
    const workers = Array.from({ length: this.description.workers }, (_, i) => [String(i), `worker ${i}, training`]);
    const test = this.description.kind === "training" ? "tester" : "evaluation";
    const entries = workers.length ? [["auto", "tester, and a worker while it rests"], ["test", test], ...workers] : [["test", test]];
    select.replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text })));
    this.source = entries[0][0];
    select.parentElement.hidden = entries.length < 2;
    select.addEventListener("change", () => { this.source = select.value; this.known = 0; });
  }

  describe(header) {
    const resting = header.source === "test" && !header.testing;
    $("mosaic").classList.toggle("resting", resting);
    const pause = header.rests ? `the next test begins in ${Math.ceil(header.rests)} s` : "";
    let text = "";
    if (header.full) text = "Four other workers are being watched: choose one of those, or the tester.";
    else if (header.source === "test") text = header.testing ? (this.description.kind === "training" ? "The tester plays with the newest weights." : "The weights play.")
      : this.tiles.some(([, state]) => state) ? `The last pictures of the test; ${pause || "no test goes on"}.` : `The tester rests; ${pause || "its first test is to come"}.`;
    else text = `Worker ${header.source} trains, drawing its actions at random as it learned${pause ? `; ${pause}` : ""}.`;
    this.say(text);
  }

  say(text) { if ($("now").textContent !== text) $("now").textContent = text; }
}
