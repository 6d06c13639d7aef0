// Tables: sorting by a click on a header, and the CSV file.

// A number with what may stand around it: sign, thousands commas, exponent, percent, an interval, marks.
const NUMBER = /^[<>~]?\s*([+\-\u2212]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*%?(?:\s*\u00b1.*|\s*[[(].*[\])])?\s*[*\u2020\u2021]*$/i;

function number(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "").replace("\u2212", "-")) : null;
}

function missing(text) {
  return ["", "-", "--", "\u2013", "\u2014", "nan"].includes(text.toLowerCase());
}

// {text, value}: value is null where there is none, which is sorted last either way.
function keyOf(cell) {
  const text = cell.textContent.trim();
  const exact = cell.dataset.v;
  return { text: missing(text) ? null : text, value: exact !== undefined ? Number(exact) : number(text) };
}

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  heads.forEach((head, column) => {
    const press = el("button", { type: "button", class: "sort" }, [...head.childNodes]);
    press.addEventListener("click", () => {
      const keyed = original.map((row) => ({ row, key: keyOf(row.cells[column]) }));
      const known = keyed.filter(({ key }) => key.text !== null);
      const numeric = known.length > 0 && known.every(({ key }) => key.value !== null);
      // the best number first, texts from A; a third press gives the order in which the report has them
      const turns = numeric ? ["descending", "ascending", null] : ["ascending", "descending", null];
      const next = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      const sign = next === "descending" ? -1 : 1;
      const sorted = known.toSorted((a, b) =>
        sign * (numeric ? a.key.value - b.key.value : order.compare(a.key.text, b.key.text)));
      const rest = keyed.filter(({ key }) => key.text === null);
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? [...sorted, ...rest].map(({ row }) => row) : original));
    });
    head.replaceChildren(press);
  });
}

function csvFiles() {
  for (const holder of document.querySelectorAll("script[data-csv]")) {
    const name = holder.dataset.csv;
    tools(holder.closest(".block")).append(button("CSV", `Download ${name} (full precision)`, () => {
      save(name, new Blob([JSON.parse(holder.textContent)], { type: "text/csv" }));
    }));
  }
}
