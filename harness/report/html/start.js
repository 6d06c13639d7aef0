// What happens when: once at the start, and at every change of the address.

const report = document.getElementById("page:report");
const view = document.getElementById("page:run");
const title = document.title;
const blocks = new Map([...document.querySelectorAll("script[data-run]")].map((node) => [node.dataset.run, node]));
let shared = null;
let opened = null; // address of the run that is shown
let place = 0; // where the report was left
let followed = false; // a link of the page led here, not the browser's history

function openRun(key) {
  shared ??= JSON.parse(document.getElementById("page:shared").textContent);
  const run = JSON.parse(blocks.get(key).textContent);
  opened = key;
  view.replaceChildren(...runPage(key, run, shared));
  report.hidden = true;
  view.hidden = false;
  document.title = `${run.label}, seed ${run.seed} \u2013 ${title}`;
  scrollTo({ top: 0, behavior: "instant" });
  view.querySelector("h1").focus({ preventScroll: true });
}

function openReport(key) {
  const left = opened;
  opened = null;
  if (left === null) return; // the browser itself goes to the anchor
  view.hidden = true;
  view.replaceChildren();
  report.hidden = false;
  document.title = title;
  const row = key === "run/" ? document.getElementById(left) : null;
  const target = row && !row.hidden ? row : document.getElementById(decodeURIComponent(key));
  if (!followed || !target) scrollTo({ top: place, behavior: "instant" });
  else target.scrollIntoView({ behavior: "instant", block: row === target ? "center" : "start" });
  if (followed && row === target && row) row.querySelector("a").focus({ preventScroll: true });
}

function route() {
  const key = location.hash.slice(1);
  if (blocks.has(key)) openRun(key);
  else openReport(key);
  followed = false;
}

document.addEventListener("click", (event) => {
  followed = Boolean(event.target.closest('a[href^="#"]'));
  if (followed && opened === null) place = scrollY;
});
addEventListener("hashchange", route);
themes();
for (const table of document.querySelectorAll("table")) sortable(table);
csvFiles();
figures();
filterRuns();
contents();
route();
