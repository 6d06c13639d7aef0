// Elements, the choice of light and dark, and the contents.

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null));
  return node;
}

function button(text, label, act) {
  const node = el("button", { type: "button", "aria-label": label, title: label }, text);
  node.addEventListener("click", act);
  return node;
}

function save(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Wraps a block's title so that buttons can stand beside it.
function tools(block) {
  const title = block.querySelector("h2, h3, h4, h5, h6");
  const place = el("div", { class: "tools" });
  const row = el("div", { class: "titled" });
  title.replaceWith(row);
  row.append(title, place);
  return place;
}

const THEME = "harness-report-theme";

// A page that is opened as a file may be refused storage: then the choice lasts until it is closed.
function remembered() {
  try { return localStorage.getItem(THEME); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem(THEME, theme); } catch { return; }
}

function themes() {
  const order = ["auto", "light", "dark"];
  let current = order.includes(remembered()) ? remembered() : "auto";
  const toggle = button("", "", () => {
    current = order[(order.indexOf(current) + 1) % order.length];
    remember(current);
    apply();
  });
  function apply() {
    if (current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = current;
    toggle.textContent = { auto: "\u25d0 Auto", light: "\u2600 Light", dark: "\u263e Dark" }[current];
    const label = `Colours: ${current}. Press for ${order[(order.indexOf(current) + 1) % order.length]}.`;
    toggle.setAttribute("aria-label", label);
    toggle.title = label;
  }
  apply();
  document.querySelector(".bar .tools").append(toggle);
}

function contents() {
  const fold = document.querySelector(".contents details");
  const narrow = matchMedia("(max-width: 63.99rem)");
  const adapt = () => { fold.open = !narrow.matches; };
  narrow.addEventListener("change", adapt);
  adapt();
  const links = new Map();
  for (const link of fold.querySelectorAll("a")) {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (target) links.set(target, link);
    link.addEventListener("click", () => { if (narrow.matches) fold.open = false; });
  }
  // The current entry is the last one whose beginning has passed the upper third of the window.
  const targets = [...links.keys()];
  let waiting = false;
  const mark = () => {
    waiting = false;
    const limit = innerHeight / 3;
    const passed = targets.filter((target) => target.offsetParent && target.getBoundingClientRect().top < limit);
    for (const link of links.values()) link.removeAttribute("aria-current");
    if (passed.length) links.get(passed.at(-1)).setAttribute("aria-current", "true");
  };
  addEventListener("scroll", () => {
    if (!waiting) { waiting = true; requestAnimationFrame(mark); }
  }, { passive: true });
  mark();
}
