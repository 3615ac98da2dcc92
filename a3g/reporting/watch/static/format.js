// Numbers as people read them, and small helpers for elements.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function count(number) {
  if (number === null || number === undefined) return "–";
  if (Math.abs(number) >= 1e7) return `${(number / 1e6).toFixed(1)} M`;
  return Math.round(number).toLocaleString("en");
}

export function short(number) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e6) return `${(number / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${(number / 1e3).toPrecision(3)} k`;
  if (size >= 100 || Number.isInteger(number)) return Math.round(number).toLocaleString("en");
  return number.toPrecision(3);
}

export function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(share * 100)}%`;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

export function bytes(number) {
  return number < 1e6 ? `${Math.ceil(number / 1e3)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}

export function figures(list, entries) {
  // Keeps the elements, so that only what changes is drawn.
  while (list.children.length > entries.length) list.lastChild.remove();
  entries.forEach(([name, value], i) => {
    if (!list.children[i]) list.append(element("div", {}, element("dt"), element("dd")));
    const [term, text] = list.children[i].children;
    if (term.textContent !== name) term.textContent = name;
    if (text.textContent !== String(value)) text.textContent = value;
  });
}

export async function fetchJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
}

export function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text })));
}
