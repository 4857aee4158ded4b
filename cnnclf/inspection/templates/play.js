// ---- Keys and buttons ------------------------------------------------------------------------------------------------------

function moveBy(rows, columns_) {
  const { layer, channel, row, column } = state.pinned;
  if (!layer.is_row) {
    const to = { layer, channel, row: row + rows, column: column + columns_ };
    if (to.row >= 0 && to.row < layer.height && to.column >= 0 && to.column < layer.width) select(to);
    return;
  }
  const to = layer.channels[channel + rows * large.columns + columns_];
  if (to !== undefined) select({ layer, channel: to, row, column });
}

function moveChannel(by) {
  const { layer, channel } = state.pinned;
  const to = layer.channels[channel + by];
  if (to !== undefined) select({ ...state.pinned, channel: to });
}

function moveLayer(by, withFocus) {
  const visible = layers.filter(isVisible);
  const to = visible[visible.indexOf(state.pinned.layer) + by];
  if (!to) return;
  select(lastOf(to));
  if (withFocus) to.map.focus({ preventScroll: true });
}

function setExact(on) {
  exact = on;
  byId("exact").ariaPressed = String(on);
  document.body.classList.toggle("exact", on);
  explain(now());
}

const ON_MAPS = {
  ArrowUp: () => moveBy(-1, 0), ArrowDown: () => moveBy(1, 0), ArrowLeft: () => moveBy(0, -1), ArrowRight: () => moveBy(0, 1),
  PageUp: () => moveChannel(-1), PageDown: () => moveChannel(1),
};
const ANYWHERE = {
  n: () => moveLayer(1, true), "]": () => moveLayer(1, true), p: () => moveLayer(-1, true), "[": () => moveLayer(-1, true),
  e: () => setExact(!exact), Escape: () => stop(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  if (target.matches?.("input, select") && key !== "Escape") return; // these have keys of their own, as the pad has
  const action = (target.role === "application" && target !== pad && ON_MAPS[key]) || ANYWHERE[key];
  if (!action) return;
  event.preventDefault();
  action();
});
byId("how").addEventListener("click", ({ target }) => target.cell && select(target.cell));
byId("exact").onclick = () => setExact(!exact);
byId("layer-before").onclick = () => moveLayer(-1);
byId("layer-after").onclick = () => moveLayer(1);
byId("channel-before").onclick = () => moveChannel(-1);
byId("channel-after").onclick = () => moveChannel(1);
Object.assign(byId("large"), { tabIndex: 0, role: "application", ariaRoleDescription: "feature map" });

// ---- From pixels to probabilities --------------------------------------------------------------------------------------------

const SCAN = 1100, HOLD = 900; // milliseconds

let playing = null; // {place among the visible layers, elapsed milliseconds, last time}

function play() {
  playing ??= { place: 0, elapsed: 0 };
  playing.last = performance.now();
  playing.frame = requestAnimationFrame(tick);
  byId("play").textContent = "Pause";
}

function pause() {
  cancelAnimationFrame(playing.frame);
  playing.frame = 0;
  byId("play").textContent = "Resume";
}

function stop() {
  if (!playing) return;
  cancelAnimationFrame(playing.frame);
  playing = null;
  state.scan = null;
  state.hovered = null;
  byId("play").textContent = "Play";
  byId("playing").textContent = "";
  for (const { column } of layers) column.classList.remove("ahead");
}

function tick(time) {
  const visible = layers.filter(isVisible);
  playing.elapsed += time - playing.last;
  playing.last = time;
  const layer = visible[playing.place];
  const scan = still.matches ? 0 : SCAN;
  const progress = scan ? Math.min(1, playing.elapsed / scan) : 1;
  if (progress < 1) {
    state.scan = { progress };
    state.hovered = scanned(layer, progress);
    draw();
    if (playing.revealed !== layer) reveal(layer);
    playing.revealed = layer;
  } else if (state.pinned.layer !== layer || !state.scan?.done) {
    state.scan = { progress: 1, done: true };
    select(layer.strongest, { playing: true });
  }
  byId("playing").textContent = `${playing.place + 1} of ${visible.length}: ${layer.name}`;
  if (playing.elapsed > scan + (still.matches ? 2 : 1) * HOLD) {
    if (playing.place + 1 === visible.length) {
      stop();
      return select(layer.strongest);
    }
    playing.place += 1;
    playing.elapsed = 0;
  }
  playing.frame = requestAnimationFrame(tick);
}

// The cell that is computed after a share of a layer.
function scanned(layer, progress) {
  if (layer.is_row) {
    return { layer, channel: layer.channels[Math.floor(progress * layer.channels.length)], row: 0, column: 0 };
  }
  const place = Math.floor(progress * layer.size);
  return { layer, channel: layer.channel, row: Math.floor(place / layer.width), column: place % layer.width };
}

byId("play").onclick = () => (playing?.frame ? pause() : play());
