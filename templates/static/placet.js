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

// Copy: buttons appear only where they can work.
function offerCopies(root) {
  if (!navigator.clipboard) { return; }
  for (const button of root.querySelectorAll("button.copy[hidden]")) { button.hidden = false; }
}
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    const words = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 1500);
    return;
  }
  // An open menu closes when the click is elsewhere.
  for (const open of document.querySelectorAll("details.place[open], details.who[open]")) {
    if (!open.contains(event.target)) { open.open = false; }
  }
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
  if (event.key === "Escape") {
    for (const open of document.querySelectorAll("details.place[open], details.who[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
    if (document.activeElement.closest(".digest")) { document.activeElement.blur(); }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) { return; }
  if (event.key === "j") { select(1); }
  if (event.key === "k") { select(-1); }
  if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
  if (event.key === "?") {
    const help = document.getElementById("keys");
    if (help) { help.open = !help.open; help.scrollIntoView({ block: "nearest" }); }
  }
});

// What moves is fetched again while the page is looked at: the parts named by data-live, and only if they changed.
async function refresh() {
  const parts = document.querySelectorAll("[data-live]");
  if (!parts.length || document.hidden) { return; }
  // Nobody's half-written reason or open fold is taken away.
  const busy = document.activeElement && document.activeElement.closest("input, textarea, select, [data-live]");
  if (busy) { return; }
  let answer;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "error" });
  } catch (error) { return; }
  if (!answer.ok) { return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts) {
    const fresh = page.getElementById(part.id);
    if (fresh && fresh.dataset.live !== part.dataset.live) {
      part.replaceWith(fresh);
      localise(fresh);
      offerCopies(fresh);
    }
  }
}

localise(document);
offerCopies(document);
count();
setInterval(count, 1000);
setInterval(refresh, 5000);
