// ---- Begin -------------------------------------------------------------------------------------------------------------------

function repaint() {
  readColours();
  for (const layer of layers) for (const view of layer.views) view.paint();
  large = null;
}

// What the page opens with: the image before a reload, the first sample, or an empty one.
function begin() {
  if (isLive && recall()) setTool(drawing.tool);
  else if (sampleImages.length) Object.assign(drawing, { pixels: sampleImages[0], original: sampleImages[0], tool: "paint" });
  setOutputs(compute(layers, drawing.pixels));
  const beginning = layers.find((layer) => layer.kind === "conv") ?? layers.find((layer) => layer.kind === "dense") ?? layers.at(-1);
  state.pinned = cellAt(location.hash) ?? beginning.last;
  state.pinned.layer.last = state.pinned;
  addColumns();
  repaint();
  for (let block = state.pinned.layer.parent; block; block = block.parent) block.isOpen = true;
  arrange();
  reveal(state.pinned.layer);
  setTool(drawing.tool);
  showAnswer();
  if (!isLive) return pad.removeAttribute("tabindex");
  listenForInput();
  addSamples();
  showWhy();
}

begin();
addEventListener("hashchange", ({ newURL }) => {
  const cell = cellAt(new URL(newURL).hash); // location's may have been renamed since
  if (cell) select(cell);
  else history.replaceState(null, "", addressOf(state.pinned));
});
dark.addEventListener("change", () => { repaint(); measure(); draw(); paintPad(); });
narrow.addEventListener("change", () => explain(now()));
new ResizeObserver(() => { measure(); draw(); }).observe(net);
