// Line charts on a canvas, in the page's colours.

import { short } from "/static/format.js";

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width || !height) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function niceSteps(low, high, most) {
  const raw = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  return ticks;
}

export function lineChart(canvas, series, describeX = short) {
  // series: [{points: [[x, y], ...], colour}]
  const area = prepare(canvas);
  if (!area) return;
  const { context, width, height } = area;
  const all = series.flatMap((each) => each.points).filter(([, y]) => y !== null && Number.isFinite(y));
  if (!all.length) return;
  let [left, right] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  let [low, high] = [Math.min(...all.map(([, y]) => y)), Math.max(...all.map(([, y]) => y))];
  if (low === 0 && high === 0) high = 1;
  if (low === high) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  if (left === right) right = left + 1;
  const box = { left: 50, top: 6, right: width - 6, bottom: height - 18 };
  const toX = (x) => box.left + ((x - left) / (right - left)) * (box.right - box.left);
  const toY = (y) => box.bottom - ((y - low) / (high - low)) * (box.bottom - box.top);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colour("quiet");
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of niceSteps(low, high, 4)) {
    context.beginPath();
    context.moveTo(box.left, toY(tick));
    context.lineTo(box.right, toY(tick));
    context.stroke();
    context.fillText(short(tick), box.left - 6, toY(tick));
  }
  context.textBaseline = "alphabetic";
  context.textAlign = "left";
  context.fillText(describeX(left), box.left, height - 4);
  context.textAlign = "right";
  context.fillText(describeX(right), box.right, height - 4);
  context.lineWidth = 1.8;
  context.lineJoin = "round";
  for (const { points, colour: stroke } of series) {
    context.strokeStyle = stroke;
    context.beginPath();
    let begun = false;
    for (const [x, y] of points) {
      if (y === null || !Number.isFinite(y)) { begun = false; continue; }
      if (begun) context.lineTo(toX(x), toY(y)); else context.moveTo(toX(x), toY(y));
      begun = true;
    }
    if (points.length === 1) context.rect(toX(points[0][0]) - 1, toY(points[0][1]) - 1, 2, 2);
    context.stroke();
  }
}

export function valueChart(canvas, values, rewards, most) {
  // The newest step is at the right edge; each of the two has its own scale, both contain zero.
  const area = prepare(canvas);
  if (!area) return;
  const { context, width, height } = area;
  const step = width / Math.max(most - 1, 1);
  const known = values.filter(Number.isFinite);
  const paid = rewards.map((reward) => Math.abs(reward)).filter(Number.isFinite);
  const tallest = Math.max(...paid, 1e-6);
  const low = Math.min(...known, 0), high = Math.max(...known, low + 1e-6);
  context.strokeStyle = colour("line");
  context.beginPath();
  context.moveTo(0, height / 2 + 0.5);
  context.lineTo(width, height / 2 + 0.5);
  context.stroke();
  context.fillStyle = colour("accent");
  context.globalAlpha = 0.75;
  rewards.forEach((reward, i) => {
    if (!Number.isFinite(reward)) return;
    const size = (reward / tallest) * (height / 2 - 4);
    context.fillRect(width - (rewards.length - i) * step, height / 2 - Math.max(size, 0), Math.max(step - 0.5, 1), Math.abs(size));
  });
  context.globalAlpha = 1;
  context.strokeStyle = colour("blue");
  context.lineWidth = 1.8;
  context.beginPath();
  let begun = false;
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) { begun = false; return; }
    const x = width - (values.length - i) * step + step / 2, y = height - 4 - ((value - low) / (high - low)) * (height - 8);
    if (begun) context.lineTo(x, y); else context.moveTo(x, y);
    begun = true;
  });
  context.stroke();
}
