/* Comforts only: every page and every action works without this file. */
"use strict";

// Times: the server writes UTC; people read their own zone, with the zone named and UTC in the title.
const zoned = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
function localise(root) {
  for (const time of root.querySelectorAll("time[data-zone]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.textContent = zoned.format(at);
    }
  }
}

// Ages: counted on while the page stays open; the title has the reader's own time and UTC.
const units = [[31536000, "y"], [2592000, "mo"], [86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
function age(root) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const at = new Date(time.dateTime);
    const seconds = Math.round((at - Date.now()) / 1000);
    const found = units.find(([size]) => Math.abs(seconds) >= size);
    const words = found ? `${Math.floor(Math.abs(seconds) / found[0])} ${found[1]}` : "";
    time.textContent = !words ? "now" : seconds > 0 ? `in ${words}` : `${words} ago`;
    if (!time.dataset.told) { time.dataset.told = "1"; time.title = `${zoned.format(at)} · ${time.title}`; }
  }
}

// Countdowns: coarse far away, seconds near the end. The server decides what has expired.
function remaining(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) { return "expired; reload the page"; }
  let rest = seconds;
  const words = [];
  for (const [size, unit] of parts.slice(first, first + 2)) {
    words.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return words.join(" ");
}
function count() {
  for (const time of document.querySelectorAll("time[data-countdown]")) {
    time.textContent = remaining(new Date(time.dateTime) - Date.now());
  }
}

// What only works with script appears only with it.
function offer(root) {
  for (const button of root.querySelectorAll("button[data-opens][hidden]")) { button.hidden = false; }
  if (!navigator.clipboard) { return; }
  for (const part of root.querySelectorAll("button.copy[hidden], .digest-hint[hidden]")) { part.hidden = false; }
}
async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  const words = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = words; }, 1500);
}
const MENUS = "details.place, details.who, details.switch";
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button && navigator.clipboard) { copy(button); }
  const opener = event.target.closest("button[data-opens]");
  if (opener) { document.getElementById(opener.dataset.opens).showModal(); }
  // An open menu closes when the click is elsewhere.
  for (const menu of document.querySelectorAll(MENUS)) {
    if (menu.open && !menu.contains(event.target)) { menu.open = false; }
  }
});

// A line's number leads to the form for comments on that version, filled in. Without script one types the number.
document.addEventListener("click", (event) => {
  const cell = event.target.closest("td.on");
  const table = cell && cell.closest("table[data-path]");
  const path = table && document.getElementById(`path-${table.dataset.version}`);
  if (!path || !cell.textContent) { return; }
  path.value = table.dataset.path;
  document.getElementById(`line-${table.dataset.version}`).value = cell.textContent;
  path.closest("details").open = true;
  document.getElementById(`text-${table.dataset.version}`).focus();
});

// Keys: move and look only. Nothing that decides has a key of its own.
function rows() { return [...document.querySelectorAll("table.rows tbody tr")].filter((row) => row.querySelector("a[href]")); }
function select(step) {
  const all = rows();
  if (!all.length) { return; }
  const now = all.findIndex((row) => row.dataset.at === "1");
  const next = all[Math.min(all.length - 1, Math.max(0, now + step))];
  for (const row of all) { delete row.dataset.at; }
  next.dataset.at = "1";
  next.querySelector("a[href]").focus();
  next.scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (event) => {
  const keys = document.getElementById("keys");
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll(MENUS)) {
      if (menu.open) { menu.open = false; menu.querySelector("summary").focus(); }
    }
    if (document.activeElement.closest(".digest, .find")) { document.activeElement.blur(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || (keys && keys.open)) { return; }
  if (event.target.closest("input, textarea, select, [contenteditable]")) { return; }
  if (event.key === "j") { select(1); }
  if (event.key === "k") { select(-1); }
  if (event.key === "o") {
    const row = rows().find((each) => each.dataset.at === "1");
    if (row) { row.querySelector("a[href]").click(); }
  }
  if (event.key === "/") {
    const search = document.getElementById("search");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  }
  if (event.key === "?" && keys) { event.preventDefault(); keys.showModal(); }
});

// Parts that htmx fetches again (tag `live`): not while nobody looks, and not under somebody's hands.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.target.closest("[data-poll]");
  if (part && (document.hidden || busy(part))) { event.preventDefault(); }
});
function busy(part) {
  const at = document.activeElement;
  return part.contains(at) && at.closest("input, textarea, select, .digest, details[open]");
}
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.target.closest("[data-poll]");
  // Somebody signed out elsewhere, or the server is in trouble: what is shown stays.
  if (part && event.detail.xhr.getResponseHeader("Placet-Part") !== part.id) { event.detail.shouldSwap = false; }
});
document.addEventListener("htmx:load", (event) => { dress(event.detail.elt); });

function dress(root) {
  localise(root);
  age(root);
  offer(root);
}

dress(document);
count();
setInterval(count, 1000);
setInterval(() => age(document), 20000);
