// Figures: enlarged in a dialog, and saved as a file.

function saveFigure(image, suffix) {
  const name = image.dataset.file;
  if (name.endsWith(suffix)) {
    const link = el("a", { href: image.src, download: name });
    link.click();
    return;
  }
  // a drawing as pixels, four for each of its own
  const canvas = el("canvas", { width: 4 * image.naturalWidth, height: 4 * image.naturalHeight });
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(name.replace(/\.svg$/, ".png"), blob), "image/png");
}

function zoom(image, title) {
  const copy = el("img", { src: image.src, alt: image.alt });
  const dialog = el("dialog", { class: "zoom", "aria-label": title });
  const size = button("Larger", "Switch between the whole figure and twice the width", turn);
  function turn() {
    const larger = copy.classList.toggle("larger");
    size.textContent = larger ? "Fit" : "Larger";
  }
  copy.addEventListener("click", turn);
  const close = button("Close", "Close (Escape)", () => dialog.close());
  dialog.append(el("header", {}, el("strong", {}, title), size, close), el("div", { class: "view", tabindex: "0" }, copy));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
}

function figures() {
  for (const image of document.querySelectorAll(".drawing img")) {
    const block = image.closest(".drawing");
    const title = block.querySelector("h2, h3, h4, h5, h6").textContent;
    const place = tools(block);
    const kinds = image.dataset.file.endsWith(".svg") ? ["svg", "png"] : ["png"];
    for (const kind of kinds) {
      place.append(button(kind.toUpperCase(), `Download the figure as ${kind.toUpperCase()}`, () => saveFigure(image, kind)));
    }
    const press = el("button", { type: "button", "aria-haspopup": "dialog" });
    press.addEventListener("click", () => zoom(image, title));
    image.replaceWith(press);
    press.append(image);
  }
}
