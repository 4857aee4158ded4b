// ---- Colours ---------------------------------------------------------------------------------------------------------

let colours;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = {};
  for (const name of ["paper", "ink", "below", "above", "zero"]) {
    const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
    colours[name] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
  readShades();
}

// Diverging around zero; the root lets small values be seen.
function shade(share) {
  if (Number.isNaN(share)) return colours.ink;
  const strength = Math.min(1, Math.abs(share)) ** 0.75;
  const end = share < 0 ? colours.below : colours.above;
  return colours.zero.map((zero, i) => Math.round(zero + (end[i] - zero) * strength));
}

// The shades of −1 to 1 in 511 steps, as bytes; of NaN behind them.
const STEPS = 255;
function readShades() {
  const shades = Array.from({ length: 2 * STEPS + 1 }, (_, i) => shade((i - STEPS) / STEPS));
  colours.shades = Uint8Array.from([...shades, shade(NaN)].flat());
}

const tint = (share) => {
  const [r, g, b] = share < 0 ? colours.below : colours.above;
  return `rgba(${r}, ${g}, ${b}, ${(0.42 * Math.min(1, Math.abs(share)) ** 0.75).toFixed(3)})`;
};

// ---- Views: channels of a layer as tiles of one canvas ------------------------------------------------------------------

const powerOfTwo = (x, round) => 2 ** Math.max(0, round(Math.log2(Math.sqrt(x))));

class View {
  constructor(layer, channels, columns, gap) {
    Object.assign(this, { layer, channels, columns, gap });
    const nRows = Math.ceil(channels.length / columns);
    this.width = columns * (layer.width + gap) - gap;
    this.height = nRows * (layer.height + gap) - gap;
    this.canvas = make("canvas", { width: this.width, height: this.height });
  }

  static ofMap(layer) {
    if (!layer.is_row) return new View(layer, [layer.channel], 1, 0);
    const n = layer.channels.length;
    return new View(layer, layer.channels, layer.isListed ? 1 : Math.min(n, powerOfTwo(n, Math.ceil)), 0);
  }

  static ofAll(layer) {
    const { width, height, channels } = layer;
    return new View(layer, channels, powerOfTwo(channels.length, Math.ceil), Math.max(1, Math.round(Math.max(width, height) / 10)));
  }

  tile(place) {
    return {
      x: (place % this.columns) * (this.layer.width + this.gap),
      y: Math.floor(place / this.columns) * (this.layer.height + this.gap),
    };
  }

  paint() {
    const { layer } = this;
    const picture = new ImageData(this.width, this.height);
    const paintTile = layer.kind === "image" ? paintPixels : paintShades;
    for (const [place, channel] of this.channels.entries()) {
      const { x, y } = this.tile(place);
      // An image of three channels is shown in its colours, but for its single channels side by side.
      const inColour = layer.n === 3 && this.channels.length === 1;
      paintTile(picture, x, y, layer, inColour ? [0, 1, 2] : [channel, channel, channel]);
    }
    this.canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  show(channel) {
    if (this.channels[0] === channel) return;
    this.channels = [channel];
    this.paint();
  }

  // Where the canvas lies, relative to an element.
  measure(origin) {
    const box = this.canvas.getBoundingClientRect(), from = origin.getBoundingClientRect();
    this.box = { x: box.left - from.left, y: box.top - from.top, sx: box.width / this.width, sy: box.height / this.height };
    this.canvas.classList.toggle("fine", this.box.sx * devicePixelRatio < 2);
  }

  cellUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const px = Math.floor(((event.clientX - box.left) / box.width) * this.width);
    const py = Math.floor(((event.clientY - box.top) / box.height) * this.height);
    const stepX = this.layer.width + this.gap, stepY = this.layer.height + this.gap;
    const place = Math.floor(py / stepY) * this.columns + Math.floor(px / stepX);
    const row = py % stepY, column = px % stepX;
    if (px < 0 || py < 0 || row >= this.layer.height || column >= this.layer.width || place >= this.channels.length) return null;
    return { layer: this.layer, channel: this.channels[place], row, column };
  }

  // The part of each tile that lies in a box of cells, in the pixels that measure() found; null where none does.
  parts(box) {
    const { x: left, y: top, sx, sy } = this.box;
    return this.channels.map((channel, place) => {
      const { x, y } = this.tile(place);
      const tile = { x: left + x * sx, y: top + y * sy, w: this.layer.width * sx, h: this.layer.height * sy };
      const isIn = box && channel >= box.c0 && channel < box.c1;
      const part = isIn
        ? { x: tile.x + box.x0 * sx, y: tile.y + box.y0 * sy, w: (box.x1 - box.x0) * sx, h: (box.y1 - box.y0) * sy }
        : null;
      return { tile, part };
    });
  }
}

function paintShades(picture, x, y, { values, width, size, largest }, [channel]) {
  const { data } = picture, { shades } = colours;
  for (let i = 0, column = 0, start = 4 * (y * picture.width + x); i < size; i++, start += 4) {
    const share = values[channel * size + i] / largest;
    const place = 3 * (share === share ? Math.round(STEPS * Math.max(-1, Math.min(1, share))) + STEPS : 2 * STEPS + 1);
    data[start] = shades[place];
    data[start + 1] = shades[place + 1];
    data[start + 2] = shades[place + 2];
    data[start + 3] = 255;
    if (++column === width) {
      column = 0;
      start += 4 * (picture.width - width);
    }
  }
}

function paintPixels(picture, x, y, { values, width, size }, channels) {
  for (let i = 0; i < size; i++) {
    const start = 4 * ((y + Math.floor(i / width)) * picture.width + x + (i % width));
    for (let c = 0; c < 3; c++) picture.data[start + c] = byteOf(values[channels[c] * size + i]);
    picture.data[start + 3] = 255;
  }
}

// A raw pixel as a byte for the screen.
const byteOf = (value) => Math.round((255 * (value - input.black)) / (input.white - input.black || 1));

// ---- The network from left to right --------------------------------------------------------------------------------------

const net = byId("net"), columns = byId("columns");
const overlay = make("canvas", { className: "overlay", ariaHidden: "true" });

function listClasses(layer) {
  if (!layer.isListed) return null;
  const list = make("ol", { className: "classes", ariaHidden: "true" }, classes.map((label) =>
    make("li", { title: label }, make("span", {}, label), layer.kind === "softmax" ? make("b") : null)));
  layer.lists = [...(layer.lists ?? []).filter((other) => other.isConnected), list];
  fillClasses(layer);
  return list;
}

// Write the shares of the classes beside the numbers of a layer that has one per class.
function fillClasses(layer) {
  for (const list of layer.lists ?? []) {
    for (const [c, item] of [...list.children].entries()) {
      item.classList.toggle("first", at(layer, c) === layer.high);
      if (layer.kind !== "softmax") continue;
      item.lastChild.textContent = percent(shareOf(layer.values, c));
      styled(item, { share: `${(100 * at(layer, c)).toFixed(2)}%` });
    }
  }
}

function listenTo(element, view) {
  const { canvas } = view;
  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && hover(view.cellUnder(event)));
  canvas.addEventListener("pointerleave", () => hover(null));
  canvas.addEventListener("click", (event) => {
    const cell = view.cellUnder(event);
    if (cell) select(cell);
  });
}

function makeFocusable(element, layer) {
  Object.assign(element, { tabIndex: 0, role: "application", ariaRoleDescription: "feature map" });
  element.setAttribute("aria-label", `${layer.name}, ${layer.description}, ${shapeOf(layer)}; arrow keys move`);
  element.addEventListener("focus", () => now().layer === layer || select(lastOf(layer), { quiet: true }));
}

const shapeOf = ({ is_row, n, height, width }) => (is_row ? plural(n, "feature") : `${n} × ${height} × ${width}`);

function addColumns() {
  for (const layer of layers) {
    const map = make("div", { className: layer.isListed ? "map of-classes" : "map" });
    layer.view = View.ofMap(layer);
    layer.map = map;
    map.append(layer.view.canvas, listClasses(layer) ?? "");
    if (layer.isListed) styled(map, { n: layer.n });
    makeFocusable(map, layer);
    listenTo(map, layer.view);
    const all = make("div", { className: "all" });
    if (!layer.is_row && layer.channels.length > 1) {
      layer.views = [layer.view, View.ofAll(layer)];
      all.append(layer.views[1].canvas);
      listenTo(all, layer.views[1]);
    } else {
      layer.views = [layer.view];
    }
    const nInside = layers.filter((inner) => inner.inside === layer.name).length;
    layer.opener = nInside
      ? make("button", { type: "button", className: "opener", onclick: () => open(layer, !layer.isOpen) })
      : null;
    layer.column = make("section", { className: "layer", ariaLabel: layer.name },
      make("h2", {}, layer.name.slice(layer.inside ? layer.inside.length + 1 : 0)),
      make("p", { className: "what" }, layer.description, make("br"), shapeOf(layer), layer.kind === "unknown" ? make("b", {}, "recorded") : null, layer.opener),
      map,
      all,
    );
    layer.column.classList.toggle("inner", Boolean(layer.inside));
    columns.append(layer.column);
  }
  columns.append(overlay);
}

// The cell selected on the way to a layer: the last one there, in the channel that is shown.
const lastOf = (layer) => ({ ...layer.last, channel: layer.channel });

const isVisible = ({ parent }) => !parent || (parent.isOpen && isVisible(parent));

function open(layer, isOpen) {
  layer.isOpen = isOpen;
  if (isOpen && layer.parent) open(layer.parent, true);
  arrange();
}

function arrange() {
  for (const layer of layers) {
    layer.column.hidden = !isVisible(layer);
    if (!layer.opener) continue;
    const n = layers.filter((inner) => inner.inside === layer.name).length;
    layer.opener.textContent = layer.isOpen ? "close" : `open: ${plural(n, "layer")}`;
    layer.opener.ariaExpanded = String(layer.isOpen);
  }
  measure();
  const { layer } = state.pinned;
  if (isVisible(layer)) draw();
  else select(lastOf(layers.find((other) => isVisible(other) && other.index > layer.index)));
}

function measure() {
  const ratio = devicePixelRatio;
  overlay.hidden = true; // so that it does not hold the strip open
  const { scrollWidth: width, scrollHeight: height } = columns;
  overlay.hidden = false;
  Object.assign(overlay, { width: width * ratio, height: height * ratio });
  Object.assign(overlay.style, { width: `${width}px`, height: `${height}px` });
  for (const layer of layers) {
    if (!isVisible(layer)) continue;
    for (const view of layer.views) view.measure(columns);
  }
  large?.measure(byId("large"));
}

// ---- What is chosen --------------------------------------------------------------------------------------------------------

const state = { pinned: null, hovered: null, scan: null };
let large = null, frame = 0, fields = [];

const now = () => state.hovered ?? state.pinned;

function hover(cell) {
  if (state.scan) return;
  state.hovered = cell;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(draw);
}

function select(cell, { quiet = false, playing = false } = {}) {
  if (!playing) stop();
  state.pinned = cell;
  state.hovered = null;
  cell.layer.last = cell;
  if (!isVisible(cell.layer)) return open(cell.layer.parent, true);
  draw();
  reveal(cell.layer);
  if (playing) return;
  byId("live").textContent = quiet ? "" : `${cell.layer.name}, ${nameOf(cell)}: ${text(valueOf(cell))}`;
  clearTimeout(select.timer);
  // Browsers limit how often a page may rename itself.
  select.timer = setTimeout(() => history.replaceState(null, "", addressOf(cell)), 400);
}

// Scroll the strip, not the page, until a layer is in sight.
function reveal({ column }) {
  const margin = 40, left = column.offsetLeft - margin, right = column.offsetLeft + column.offsetWidth + margin;
  if (left >= net.scrollLeft && right <= net.scrollLeft + net.clientWidth) return;
  net.scrollTo({ left: (left + right - net.clientWidth) / 2, behavior: still.matches ? "auto" : "smooth" });
}

// Layers that work channel by channel show the channel of the layer they belong to.
function followChannels(cell) {
  const { layer, channel } = cell;
  layer.channel = channel;
  for (const before of layers.slice(0, layer.index)) {
    const box = fields[before.index];
    if (box && !(before.channel >= box.c0 && before.channel < box.c1)) before.channel = box.c0;
  }
  const following = new Set([layer]);
  for (const after of layers.slice(layer.index + 1)) {
    const mixes = ["conv", "dense", "softmax", "unknown", "flatten"].includes(after.kind);
    if (mixes || !after.sources.some((source) => following.has(source)) || channel >= after.n) continue;
    after.channel = channel;
    following.add(after);
  }
  for (const { is_row, view, channel: chosen } of layers) if (!is_row) view.show(chosen);
}

function draw() {
  const cell = now();
  fields = fieldsOf(cell);
  const settled = !state.scan || state.scan.done;
  if (settled) followChannels(cell);
  for (const layer of layers) layer.column.classList.toggle("chosen", layer === cell.layer);
  drawOverlay();
  drawLarge(cell);
  if (settled) explain(cell);
}

const rgb = ([r, g, b], alpha) => `rgba(${r}, ${g}, ${b}, ${alpha})`;

function outline(context, { x, y, w, h }, strong) {
  const grow = strong ? 1.5 : 0.5;
  context.lineWidth = strong ? 4 : 2.5;
  context.strokeStyle = rgb(colours.paper, 0.9);
  context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
  context.lineWidth = strong ? 2 : 1;
  context.strokeStyle = rgb(colours.ink, 1);
  context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
}

function veil(context, tile, part, alpha) {
  context.fillStyle = rgb(colours.paper, alpha);
  context.beginPath();
  context.rect(tile.x, tile.y, tile.w, tile.h);
  if (part) context.rect(part.x, part.y, part.w, part.h);
  context.fill("evenodd");
}

function drawOverlay() {
  const context = overlay.getContext("2d");
  const ratio = devicePixelRatio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, overlay.width, overlay.height);
  const chosen = now().layer;
  const visible = layers.filter(isVisible);
  for (const layer of visible) {
    layer.column.classList.toggle("ahead", Boolean(state.scan) && layer.index > chosen.index);
    if (layer.index > chosen.index) continue;
    const box = fields[layer.index];
    for (const view of layer.views) {
      const parts = view.parts(box);
      const asOne = layer.is_row && box && box.c1 - box.c0 === layer.n;
      if (layer === chosen) {
        if (state.scan) hideWhatIsToCome(context, view);
      } else {
        for (const { tile, part } of parts) if (!asOne) veil(context, tile, part, 0.55);
      }
      if (asOne) outline(context, wholeBox(view), false);
      else for (const { part } of parts) if (part) outline(context, part, view === layer.view);
    }
  }
  for (const layer of visible) {
    if (layer.index > chosen.index) continue;
    const shown = new Set(layer.sources.map((source) => {
      while (!isVisible(source)) source = source.source;
      return source;
    }));
    for (const source of shown) if (fields[source.index] && fields[layer.index]) drawBeam(context, source, layer);
  }
}

const wholeBox = ({ box: { x, y, sx, sy }, width, height }) => ({ x, y, w: width * sx, h: height * sy });

// From the right side of a field to the left side of the cells computed from it.
function drawBeam(context, source, layer) {
  const ends = [source, layer].map(({ view, index, is_row }) => {
    const box = fields[index];
    const part = is_row && box.c1 - box.c0 > 1 ? wholeBox(view) : view.parts(box).find((p) => p.part)?.part;
    return part ?? null;
  });
  if (!ends[0] || !ends[1]) return;
  const [a, b] = ends;
  context.beginPath();
  context.moveTo(a.x + a.w, a.y);
  context.lineTo(b.x, b.y);
  context.lineTo(b.x, b.y + b.h);
  context.lineTo(a.x + a.w, a.y + a.h);
  context.closePath();
  context.fillStyle = rgb(colours.ink, 0.09);
  context.fill();
}

function hideWhatIsToCome(context, view) {
  const { width, height, is_row } = view.layer;
  const { x, y, sx, sy } = view.box;
  context.fillStyle = rgb(colours.paper, 1);
  const cover = (left, top, nColumns, nRows, done) => {
    const row = Math.floor(done / nColumns), rest = done % nColumns;
    context.fillRect(left + rest * sx, top + row * sy, (nColumns - rest) * sx + 0.5, sy);
    context.fillRect(left, top + (row + 1) * sy, nColumns * sx + 0.5, Math.max(0, nRows - row - 1) * sy + 0.5);
  };
  if (is_row) return cover(x, y, view.columns, view.height, state.scan.progress * view.channels.length);
  view.channels.forEach((_, place) => {
    const tile = view.tile(place);
    cover(x + tile.x * sx, y + tile.y * sy, width, height, Math.floor(state.scan.progress * width * height));
  });
}

// ---- The chosen map, large ---------------------------------------------------------------------------------------------------

function drawLarge(cell) {
  const { layer } = cell;
  const holder = byId("large");
  if (large?.layer !== layer) {
    large = View.ofMap(layer);
    holder.replaceChildren(large.canvas, make("canvas", { className: "overlay", ariaHidden: "true" }), listClasses(layer) ?? "");
    holder.className = layer.isListed ? "large of-classes" : "large";
    styled(holder, { n: layer.n, ratio: large.width / large.height });
    holder.setAttribute("aria-label", `${layer.name}, large; arrow keys move`);
    listenTo(holder, large);
    large.paint();
    large.measure(holder);
  }
  if (!layer.is_row) large.show(cell.channel);
  const marks = holder.children[1];
  const ratio = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = holder;
  const margin = 4; // room for an outline at the edge
  Object.assign(marks, { width: (width + 2 * margin) * ratio, height: (height + 2 * margin) * ratio });
  const context = marks.getContext("2d");
  context.scale(ratio, ratio);
  context.translate(margin, margin);
  for (const { part } of large.parts(boxOf(cell))) if (part) outline(context, part, true);
}

