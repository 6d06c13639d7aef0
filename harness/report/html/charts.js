// Small line charts of one run, with one cursor for all charts that share an axis.

const WIDTH = 360;
const HEIGHT = 200;
const MARGIN = { left: 44, right: 10, top: 8, bottom: 34 };
const DASHES = [null, "7 3", "2 3", "8 3 2 3", "14 4", "5 2 1 2 1 2"];

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((part) => part * power).find((value) => value >= raw);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(i * step);
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3))).replace(/\B(?=(\d{3})+(?!\d))(?<!\.\d*)/g, ",");
}

function range(values) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low >= 0 && low < 0.5 * high) low = 0;
  if (high === low) { high += Math.abs(high) * 0.1 || 1; low -= low === 0 ? 0 : Math.abs(low) * 0.1; }
  const room = 0.05 * (high - low);
  return [low === 0 ? 0 : low - room, high + room];
}

function scale(from, to) {
  return (value) => to[0] + ((value - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);
}

function nearest(xs, wanted) {
  let best = 0;
  for (let i = 1; i < xs.length; i += 1) if (Math.abs(xs[i] - wanted) < Math.abs(xs[best] - wanted)) best = i;
  return best;
}

// The charts of one run, whose x values are kept once; those over the same quantity have the same axis, from zero.
function charts(run) {
  const group = [];
  const all = run.charts.map((data) => (
    { ...data, series: data.series.map((series) => ({ ...series, x: run.axes[series.x] })) }));
  return all.map((data) => {
    const alike = all.filter((other) => other.x === data.x);
    const last = Math.max(1, ...alike.flatMap((other) => other.series.flatMap((series) => series.x)));
    return chart(data, [0, last], group);
  });
}

function chart(data, domain, group) {
  const xs = data.series.flatMap((series) => series.x);
  const extent = range(data.series.flatMap((series) => series.y));
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const x = scale(domain, [MARGIN.left, right]);
  const y = scale(extent, [bottom, MARGIN.top]);
  const spoken = data.series.map((series) => `${series.name} from ${short(series.y[0])} to ${short(series.y.at(-1))}`);
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0",
    "aria-label": `${data.title} (${data.unit}) over ${data.x}: ${spoken.join("; ")}`,
  });
  for (const value of ticks(...extent, 5)) {
    drawing.append(svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }));
    drawing.append(svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const value of ticks(...domain, 5)) {
    const end = x(value) > right - 12 ? "end" : "middle";
    drawing.append(svg("text", { x: end === "end" ? right : x(value), y: bottom + 15, "text-anchor": end }, short(value)));
  }
  drawing.append(svg("text", { x: (MARGIN.left + right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, data.x));

  const legend = el("ul", { class: "legend" });
  const shown = [];
  data.series.forEach((series, i) => {
    const color = `c${(i % 6) + 1}`;
    const points = series.x.map((value, j) => `${x(value).toFixed(1)},${y(series.y[j]).toFixed(1)}`).join(" ");
    const kind = `line ${color}${series.main ? " main" : ""}`;
    drawing.append(svg("polyline", { class: kind, points, "stroke-dasharray": DASHES[i % 6] }));
    if (data.marks || series.x.length === 1) {
      series.x.forEach((value, j) => drawing.append(svg("circle", { class: `dot ${color}`, cx: x(value), cy: y(series.y[j]), r: 2.5 })));
    }
    const dot = svg("circle", { class: `dot ${color}`, r: 4, visibility: "hidden" });
    const value = el("b", {}, short(series.y.at(-1)));
    const swatch = svg("svg", { viewBox: "0 0 24 10", "aria-hidden": "true" },
      svg("line", { class: kind, x1: 1, x2: 23, y1: 5, y2: 5, "stroke-dasharray": DASHES[i % 6] }));
    legend.append(el("li", {}, swatch, `${series.name} `, value));
    shown.push({ series, dot, value });
  });
  const cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: bottom, visibility: "hidden" });
  drawing.append(cursor, ...shown.map(({ dot }) => dot));

  // Without a wanted place the last values are shown.
  function show(wanted) {
    const hidden = wanted === null ? "hidden" : "visible";
    cursor.setAttribute("visibility", hidden);
    for (const { series, dot, value } of shown) {
      const i = wanted === null ? series.x.length - 1 : nearest(series.x, wanted);
      value.textContent = short(series.y[i]);
      dot.setAttribute("visibility", hidden);
      dot.setAttribute("cx", x(series.x[i]));
      dot.setAttribute("cy", y(series.y[i]));
    }
    if (wanted !== null) {
      const place = x(Math.min(Math.max(wanted, domain[0]), domain[1]));
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
    }
  }
  const axis = [...new Set(xs)].sort((a, b) => a - b);
  const showAll = (wanted) => group.forEach((other) => { if (other.axis === data.x) other.show(wanted); });
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    showAll(axis[nearest(axis.map(x), at)]);
  });
  let place = axis.length - 1;
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    place = Math.min(Math.max(place + step, 0), axis.length - 1);
    showAll(axis[place]);
  });
  for (const name of ["pointerleave", "blur"]) drawing.addEventListener(name, () => showAll(null));
  group.push({ axis: data.x, show });

  const thinned = data.mean_of > 1 ? `, means of ${data.mean_of}` : "";
  return el("figure", { class: "chart" },
    el("h3", {}, `${data.title} `, el("span", { class: "unit" }, `${data.unit}${thinned}`)), drawing, legend);
}
