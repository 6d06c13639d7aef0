// The filter of the list of runs, and the page of one run.

function filterRuns() {
  const section = document.querySelector(".runs");
  if (!section) return;
  const rows = [...section.querySelectorAll("tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const hint = "Filter by setting, model, seed ...";
  const input = el("input", { type: "search", placeholder: hint, "aria-label": "Filter the list of runs" });
  const count = el("output", { "aria-live": "polite" });
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      left += row.hidden ? 0 : 1;
    });
    count.textContent = words.length ? `${left} of ${rows.length} runs` : `${rows.length} runs`;
  };
  input.addEventListener("input", apply);
  apply();
  section.querySelector(".scroll").before(el("div", { class: "filter" }, input, count));
}

function pairs(list) {
  return list.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
}

function plainTable(id, { head, rows }) {
  const numeric = head.map((_, i) => i > 0 && rows.every((row) => missing(row[i]) || /^[+\-\d]/.test(row[i])));
  const wide = head.map((_, i) => rows.some((row) => row[i].length > 18));
  const kind = (i) => (numeric[i] ? "n" : wide[i] ? "w2" : null);
  const cell = (text, i) => (i === 0 ? el("th", { scope: "row" }, text) : el("td", { class: kind(i) }, text));
  const heads = head.map((name, i) => el("th", { scope: "col", class: kind(i) }, name));
  const body = el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, heads)), body);
  sortable(table);
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-labelledby": id }, table);
}

function sample(example, shared) {
  const passed = example.status === "pass";
  const level = example.level === null ? [] : [`level ${example.level}`];
  const about = [...level, example.split, `at ${example.at}% of the budget`].map((text) => el("span", {}, text));
  const verdict = el("span", { class: passed ? "verdict pass" : "verdict" }, `${passed ? "\u2713" : "\u2717"} ${example.status}`);
  const head = el("header", {}, verdict, el("h3", {}, example.suite), about, el("code", {}, example.problem));
  const texts = [["Prompt", example.prompt], ["Response", example.response], ["Expected", example.expected]]
    .filter(([, index]) => index !== null && (shared.texts[index] !== "" || index === example.response))
    .map(([name, index]) => [name, el("pre", { dir: "auto" }, shared.texts[index] || "(empty)")]);
  return el("article", { class: "sample" }, head, el("dl", {}, pairs(texts)));
}

// What a run is, rather than how it is set: never marked.
const IDENTITY = ["strategy", "seed", "experiment"];

function settings(run, shared) {
  const usual = { ...shared.defaults, ...shared.options[run.strategy] };
  const groups = new Map([["run", []], ["options", []]]);
  for (const key of new Set([...Object.keys(usual), ...Object.keys(run.changes)])) {
    const dot = key.indexOf(".");
    const group = dot < 0 ? "run" : key.slice(0, dot);
    const value = run.changes[key] ?? usual[key];
    const changed = value !== usual[key] && !IDENTITY.includes(key);
    const note = key in usual ? `default: ${usual[key]}` : "no default";
    const row = el("div", { class: changed ? "changed" : null },
      el("dt", {}, key.slice(dot + 1)), el("dd", {}, value), changed ? el("span", { class: "usual" }, note) : null);
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(row);
  }
  const filled = [...groups].filter(([, rows]) => rows.length);
  const box = el("div", { class: "settings" },
    filled.map(([name, rows]) => el("div", { class: "group" }, el("h3", {}, name), el("dl", {}, rows))));
  const only = el("input", { type: "checkbox" });
  only.addEventListener("change", () => box.classList.toggle("only", only.checked));
  return [el("label", { class: "switch" }, only, "only what differs from the defaults"), box];
}

function tiles(run) {
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  const whole = (value) => Math.round(value).toLocaleString("en");
  const power = (value) => value.toExponential(2).replace("e+", "e");
  const time = (value) => (value < 120 ? `${value.toFixed(0)} s` : `${(value / 60).toFixed(0)} min`);
  const found = [
    ["mean score", run.score, percent], ["mean score, ood", run.ood, percent], ["updates", run.spent.updates, whole],
    ["generated tokens", run.spent.generated_tokens, whole], ["FLOPs", run.spent.flops, power],
    ["training time", run.spent.seconds, time],
  ].filter(([, value]) => value !== null && value !== undefined);
  return el("dl", { class: "tiles" }, found.map(([name, value, form]) => el("div", {}, pairs([[name, form(value)]]))));
}

function crumbs(key, seedsOfSetting) {
  const seeds = seedsOfSetting.map(([seed, other]) =>
    el("a", { href: `#${other}`, "aria-current": other === key ? "page" : null }, String(seed)));
  return el("nav", { class: "crumbs", "aria-label": "Runs" },
    el("a", { href: "#run/" }, "\u2190 All runs"), el("a", { href: "#page:top" }, "Report"),
    seeds.length > 1 ? el("span", { class: "seeds" }, "seeds of this setting:", seeds) : null);
}

const SCORES = "In percent, \u00b1 standard error over problems, clustered by problem; gain: paired by problem. "
  + "pass@k: problems solved by at least one of k samples.";

function runPage(key, run, shared) {
  const section = (name, title, ...children) =>
    el("section", { "aria-labelledby": `page:run:${name}` }, el("h2", { id: `page:run:${name}` }, title), children);
  const caption = (text) => el("p", { class: "caption" }, text);
  const where = ` \u00b7 model ${run.model} \u00b7 strategy ${run.strategy} \u00b7 part of ${run.sources.join(", ")}`;
  const origin = [...shared.origins[run.origin], ...run.attempts.map((time, i) => [`attempt ${i + 1} began`, time])];
  const samples = run.examples.map((example) => sample(example, shared));
  return [
    crumbs(key, shared.groups[run.group]),
    el("h1", { tabindex: "-1" }, `${run.label}, seed ${run.seed}`),
    el("p", { class: "subtitle" }, el("code", {}, run.name), where),
    tiles(run),
    section("curves", "Curves", el("div", { class: "charts" }, charts(run))),
    section("scores", "Scores", plainTable("page:run:scores", run.scores), caption(SCORES)),
    samples.length ? section("samples", "Sample responses", el("div", { class: "samples" }, samples)) : "",
    section("cost", "Cost", plainTable("page:run:cost", run.cost), caption("Evaluation and probes are not counted.")),
    section("settings", "Configuration", settings(run, shared)),
    origin.length ? section("origin", "Origin", el("dl", { class: "facts" }, pairs(origin))) : "",
  ];
}
