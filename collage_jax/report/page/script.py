"""What the page does when pointed at: it can be read without, and fetches nothing."""

from __future__ import annotations

#: Tooltips that do not wait, edges of the box pointed at, choosing a region in any view, zoom, filter and order.
SCRIPT = """
"use strict";
(() => {
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
document.body.classList.add("scripted");

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const title of all("svg title")) {
  const owner = title.parentNode;
  owner.tip = title.textContent;
  owner.setAttribute("role", "group");
  owner.setAttribute("aria-label", owner.tip);
  title.remove();
}
const place = (x, y) => {
  const gap = 14, { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + gap, innerWidth - width - 8)) + "px";
  tip.style.top = (y + gap + height > innerHeight ? Math.max(4, y - gap - height) : y + gap) + "px";
};
const owner = target => {
  while (target && target.nodeType === 1 && !target.tip) target = target.parentNode;
  return target && target.tip ? target : null;
};
let lit = [];
const show = (found, x, y) => {
  lit.forEach(edge => edge.classList.remove("lit"));
  lit = [];
  const stage = document.querySelector(".stage");
  const number = found && found.dataset.box;
  if (number) lit = all(`.edge[data-from="${number}"],.edge[data-to="${number}"]`, stage);
  lit.forEach(edge => edge.classList.add("lit"));
  if (stage) stage.classList.toggle("pointing", lit.length > 0);
  tip.hidden = !found;
  if (found) { tip.textContent = found.tip; place(x, y); }
};
for (const moved of ["pointermove", "pointerdown"])
  document.addEventListener(moved, event => show(owner(event.target), event.clientX, event.clientY));
document.documentElement.addEventListener("pointerleave", () => show(null));

let picked = null;
const pick = (rows, from) => {
  picked = rows === picked ? null : rows;
  const chosen = new Set(picked === null ? [] : picked.split(" "));
  const marked = all("[data-rows]").filter(one => {
    const on = one.dataset.rows.split(" ").some(row => chosen.has(row));
    one.classList.toggle("picked", on);
    return on;
  });
  if (picked === null) return;
  const away = from.closest("table") ? ".box" : "tr";
  const other = marked.find(one => one.matches(away));
  if (other) other.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "smooth" });
};

const stage = document.querySelector(".stage"), drawing = stage && stage.querySelector("svg");
if (drawing) {
  const { width, height } = drawing.viewBox.baseVal;
  let scale = 1;
  const zoom = (to, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const old = scale;
    scale = Math.min(4, Math.max(0.05, to));
    drawing.setAttribute("width", width * scale);
    drawing.setAttribute("height", height * scale);
    stage.scrollLeft = (stage.scrollLeft + x) * scale / old - x;
    stage.scrollTop = (stage.scrollTop + y) * scale / old - y;
  };
  const whole = () => Math.min(stage.clientWidth / width, innerHeight * 0.85 / height);
  const actions = { "in": () => zoom(scale * 1.3), "out": () => zoom(scale / 1.3), "whole": () => zoom(whole()),
                    "width": () => zoom(stage.clientWidth / width), "1": () => zoom(1) };
  for (const button of all("button[data-zoom]")) button.onclick = actions[button.dataset.zoom];
  stage.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const edge = stage.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - edge.left, event.clientY - edge.top);
  }, { passive: false });
  let grip = null;
  stage.addEventListener("pointerdown", event => {
    if (event.pointerType !== "mouse" || event.button) return;
    grip = { x: event.clientX, y: event.clientY, left: stage.scrollLeft, top: stage.scrollTop, moved: false };
  });
  document.addEventListener("pointermove", event => {
    if (!grip) return;
    const x = event.clientX - grip.x, y = event.clientY - grip.y;
    grip.moved = grip.moved || Math.hypot(x, y) > 4;
    stage.scrollLeft = grip.left - x;
    stage.scrollTop = grip.top - y;
  });
  document.addEventListener("pointerup", event => {
    const wasMoved = grip && grip.moved;
    grip = null;
    if (wasMoved) stage.addEventListener("click", click => click.stopPropagation(), { capture: true, once: true });
  });
  zoom(Math.min(1, Math.max(0.7, stage.clientWidth / width)));
  stage.scrollLeft = (stage.scrollWidth - stage.clientWidth) / 2;
}
document.addEventListener("click", event => {
  const found = event.target.closest("[data-rows]");
  if (found && !getSelection().toString()) pick(found.dataset.rows, found);
});

const table = document.querySelector("#regions");
if (table) {
  const body = table.tBodies[0];
  const filter = document.querySelector(".filter");
  filter.oninput = () => {
    const wanted = filter.value.toLowerCase().split(/\\s+/);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every(word => text.includes(word));
    }
  };
  all("th", table).forEach((heading, column) => {
    heading.tabIndex = 0;
    heading.onkeydown = event => event.key === "Enter" && heading.click();
    heading.onclick = () => sort(heading, column);
  });
  const sort = (heading, column) => {
    const value = row => row.cells[column].dataset.value;
    const numeric = body.rows[0] && value(body.rows[0]) !== undefined;
    const down = heading.dataset.down = heading.dataset.down === "yes" ? "no" : "yes";
    const sign = (down === "yes") === numeric ? -1 : 1;
    const order = (a, b) => numeric ? value(a) - value(b)
      : a.cells[column].textContent.localeCompare(b.cells[column].textContent);
    body.append(...[...body.rows].sort((a, b) => sign * order(a, b)));
    all("th", table).forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
  };
}
})();
"""
