// The numbers are those that Python recorded. A cell is {layer, channel, row, column}; each feature of a row is a channel
// with one cell.

const byId = (id) => document.getElementById(id);
const { classes, layers } = JSON.parse(byId("layers").textContent);
const numbers = decode(byId("numbers").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 44rem)");

function decode(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

// The page's policy forbids style attributes, not variables for its style sheet.
function styled(element, variables) {
  for (const [name, value] of Object.entries(variables)) element.style.setProperty(`--${name}`, value);
  return element;
}

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

// ---- The layers ----------------------------------------------------------------------------------------------------

for (const [index, layer] of layers.entries()) {
  const [n, height, width] = layer.shape.length === 3 ? layer.shape : [layer.shape[0], 1, 1];
  Object.assign(layer, { index, n, height, width, size: height * width });
  layer.sources = layer.inputs.map((i) => layers[i]);
  layer.source = layer.sources[0];
  layer.channels = layer.channels.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, i) => start + i));
  layer.place = new Map(layer.channels.map((channel, place) => [channel, place]));
  layer.values = valuesOf(layer);
  layer.w = Object.fromEntries(Object.entries(layer.weights).map(([name, start]) => [name, numbers.subarray(start)]));
  layer.perClass = layer.is_row && n === classes.length && index >= layers.length - 2;
  layer.isOpen = false;
  layer.parent = null;
  if (layer.kind === "conv" || layer.kind === "dense") findKernels(layer);
  let low = Infinity, high = -Infinity, strongest = 0;
  layer.values.forEach((v, i) => {
    if (v < low) low = v;
    if (v > high) { high = v; strongest = i; }
  });
  Object.assign(layer, { low, high, largest: Math.max(Math.abs(low), Math.abs(high)) || 1 });
  // The cell shown on the first visit to this layer: its largest value.
  const inMap = strongest % layer.size;
  layer.strongest = {
    layer,
    channel: layer.channels[(strongest - inMap) / layer.size],
    row: Math.floor(inMap / width),
    column: inMap % width,
  };
  layer.last = layer.strongest;
  layer.channel = layer.last.channel;
}
for (const layer of layers) layer.parent = layers.find((other) => other.name === layer.inside && layer.inside) ?? null;

function valuesOf(layer) {
  const { kind, source, values, channels, size } = layer;
  if (values !== null) return numbers.subarray(values, values + channels.length * size);
  // The following kinds are exact: the page computes the same bits as torch.
  if (kind === "relu") return source.values.map((v) => (v < 0 ? 0 : v));
  if (kind !== "max_pool" && kind !== "global_max_pool") return source.values;
  const result = new Float32Array(channels.length * size);
  for (const [place, channel] of channels.entries()) {
    for (let i = 0; i < size; i++) {
      const { taps } = poolWindow({ layer, channel, row: Math.floor(i / layer.width), column: i % layer.width });
      result[place * size + i] = taps.reduce((most, tap) => (tap && !(tap.value <= most) ? tap.value : most), -Infinity);
    }
  }
  return result;
}

// The kernels of an output channel are those of the input channels it looks at, in their order.
function findKernels(layer) {
  const { kernel = [1, 1], groups = 1 } = layer.settings;
  layer.kernelSize = kernel[0] * kernel[1];
  const perGroup = layer.n / groups, seen = layer.source.n / groups;
  let start = 0;
  layer.looksAt = layer.channels.map((channel) => {
    const first = Math.floor(channel / perGroup) * seen;
    const shown = layer.source.channels.filter((c) => c >= first && c < first + seen);
    const found = { first, stop: first + seen, shown, start };
    start += shown.length * layer.kernelSize;
    return found;
  });
}

function at(layer, channel, row = 0, column = 0) {
  return layer.values[(layer.place.get(channel) * layer.height + row) * layer.width + column];
}
const valueOf = ({ layer, channel, row, column }) => at(layer, channel, row, column);
const weightOf = (cell, name, missing) => cell.layer.w[name]?.[cell.layer.place.get(cell.channel)] ?? missing;

// The cells under a window: {value, row, column} of each tap, null in the padding.
function windowTaps(cell, channel, [kh, kw], { stride: [sh, sw], padding: [ph, pw], dilation: [dh, dw] = [1, 1] }) {
  const { source } = cell.layer;
  const taps = [];
  for (let i = 0; i < kh; i++) {
    for (let j = 0; j < kw; j++) {
      const row = cell.row * sh - ph + i * dh, column = cell.column * sw - pw + j * dw;
      const inside = row >= 0 && row < source.height && column >= 0 && column < source.width;
      taps.push(inside ? { layer: source, channel, row, column, value: at(source, channel, row, column) } : null);
    }
  }
  return taps;
}

function poolWindow(cell) {
  const { kind, source, settings } = cell.layer;
  const isGlobal = kind.startsWith("global_");
  const shape = isGlobal ? [source.height, source.width] : settings.window;
  const laid = isGlobal ? { stride: [1, 1], padding: [0, 0] } : settings;
  return { shape, taps: windowTaps(cell, cell.channel, shape, laid) };
}

function convTaps(cell) {
  const { layer } = cell;
  const { shown, start, first, stop } = layer.looksAt[layer.place.get(cell.channel)];
  const { kernel, ...laid } = layer.settings;
  const kernels = shown.map((channel, i) => {
    const weights = layer.w.weight.subarray(start + i * layer.kernelSize, start + (i + 1) * layer.kernelSize);
    const taps = windowTaps(cell, channel, kernel, laid);
    const products = taps.map((tap, j) => (tap ? tap.value * weights[j] : 0));
    return { channel, weights, taps, products, subtotal: sum(products) };
  });
  return { kernels, nLeftOut: stop - first - shown.length };
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

// ---- The receptive field ---------------------------------------------------------------------------------------------
// A field is a box of cells of one layer, each side half-open: channels c0:c1, rows y0:y1, columns x0:x1.

const wholeOf = ({ n, height, width }) => ({ c0: 0, c1: n, y0: 0, y1: height, x0: 0, x1: width });
const boxOf = ({ channel: c, row: y, column: x }) => ({ c0: c, c1: c + 1, y0: y, y1: y + 1, x0: x, x1: x + 1 });
const around = (a, b) => !a ? b : {
  c0: Math.min(a.c0, b.c0), c1: Math.max(a.c1, b.c1),
  y0: Math.min(a.y0, b.y0), y1: Math.max(a.y1, b.y1),
  x0: Math.min(a.x0, b.x0), x1: Math.max(a.x1, b.x1),
};

function fieldsOf(cell) {
  const fields = new Array(layers.length).fill(null);
  fields[cell.layer.index] = boxOf(cell);
  for (let i = cell.layer.index; i > 0; i--) {
    if (!fields[i]) continue;
    for (const source of layers[i].sources) fields[source.index] = around(fields[source.index], fieldBefore(layers[i], source, fields[i]));
  }
  return fields;
}

function fieldBefore(layer, source, box) {
  const reach = ([kh, kw], { stride: [sh, sw], padding: [ph, pw], dilation: [dh, dw] = [1, 1] }) => {
    const [y0, y1] = reachAlong(box.y0, box.y1, kh, sh, ph, dh, source.height);
    const [x0, x1] = reachAlong(box.x0, box.x1, kw, sw, pw, dw, source.width);
    return { y0, y1, x0, x1 };
  };
  switch (layer.kind) {
    case "conv": {
      const perGroup = layer.n / layer.settings.groups, seen = source.n / layer.settings.groups;
      return {
        c0: Math.floor(box.c0 / perGroup) * seen,
        c1: Math.ceil(box.c1 / perGroup) * seen,
        ...reach(layer.settings.kernel, layer.settings),
      };
    }
    case "max_pool":
    case "avg_pool":
      return { c0: box.c0, c1: box.c1, ...reach(layer.settings.window, layer.settings) };
    case "global_max_pool":
    case "global_avg_pool":
      return { ...wholeOf(source), c0: box.c0, c1: box.c1 };
    case "flatten":
      return box.c1 - box.c0 === 1 ? boxOf(unflatten(layer, box.c0)) : wholeOf(source);
    case "dense":
    case "softmax":
    case "unknown":
      return wholeOf(source);
  }
  return box;
}

// From the first to the last tap that is not in the padding.
function reachAlong(start, stop, kernel, stride, padding, dilation, size) {
  let first = size, last = -1;
  for (let place = start; place < stop; place++) {
    for (let k = 0; k < kernel; k++) {
      const tap = place * stride - padding + k * dilation;
      if (tap < 0 || tap >= size) continue;
      first = Math.min(first, tap);
      last = Math.max(last, tap);
    }
  }
  return [Math.min(first, last + 1), last + 1];
}

function unflatten({ source }, feature) {
  const inMap = feature % source.size;
  return {
    layer: source,
    channel: (feature - inMap) / source.size,
    row: Math.floor(inMap / source.width),
    column: inMap % source.width,
  };
}

// ---- Numbers as text -------------------------------------------------------------------------------------------------

let exact = false;

const minus = (text) => text.replace(/^-(?=0\.0+$)/, "").replace("-", "−"); // nothing reads −0.00
function text(value, decimals = 4) {
  if (exact || Number.isInteger(value) || !Number.isFinite(value)) return minus(String(value));
  const size = Math.abs(value);
  if (decimals > 3 && size < 0.5 * 10 ** -decimals) return scientific(value);
  if (size >= 1e6) return minus(value.toPrecision(7));
  return minus(value.toFixed(decimals <= 3 && size >= 100 ? 1 : decimals)); // a matrix is narrow
}
const inMatrix = () => (narrow.matches ? 2 : 3);
function scientific(value) {
  const [digits, power] = (exact ? value.toExponential() : value.toExponential(1)).split("e");
  return minus(`${digits} · 10`) + [...String(Number(power))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
}
const count = (n) => n.toLocaleString("en");
const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
const unit = (layer) => (layer.is_row ? "feature" : "channel");

function nameOf({ layer, channel, row, column }) {
  const label = layer.perClass ? ` (class ${classes[channel]})` : "";
  if (layer.is_row) return `feature ${channel}${label}`;
  return `channel ${channel}, row ${row}, column ${column}`;
}
const addressOf = ({ layer, channel, row, column }) =>
  "#" + [encodeURIComponent(layer.name), channel, ...(layer.is_row ? [] : [row, column])].join("/");

function cellAt(address) {
  const [name, ...place] = address.slice(1).split("/");
  const layer = layers.find((candidate) => encodeURIComponent(candidate.name) === name);
  const [channel, row = 0, column = 0] = place.map(Number);
  const isThere = layer?.place.has(channel) && place.length === (layer.is_row ? 1 : 3) &&
    Number.isInteger(row) && row >= 0 && row < layer.height && Number.isInteger(column) && column >= 0 && column < layer.width;
  return isThere ? { layer, channel, row, column } : null;
}

// ---- Colours ---------------------------------------------------------------------------------------------------------

let colours;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = {};
  for (const name of ["paper", "ink", "below", "above", "zero"]) {
    const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
    colours[name] = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
}

// Diverging around zero; the root lets small values be seen.
function shade(share) {
  if (Number.isNaN(share)) return colours.ink;
  const strength = Math.min(1, Math.abs(share)) ** 0.75;
  const end = share < 0 ? colours.below : colours.above;
  return colours.zero.map((zero, i) => Math.round(zero + (end[i] - zero) * strength));
}

const tint = (share) => {
  const [r, g, b] = share < 0 ? colours.below : colours.above;
  return `rgba(${r}, ${g}, ${b}, ${(0.42 * Math.min(1, Math.abs(share)) ** 0.75).toFixed(3)})`;
};

function pixelOf(layer, channel, index, inColour) {
  if (layer.kind !== "image") return shade(at(layer, channel, 0, index) / layer.largest);
  const grey = (c) => Math.round((255 * (at(layer, c, 0, index) - layer.low)) / (layer.high - layer.low || 1));
  return inColour ? [grey(0), grey(1), grey(2)] : [grey(channel), grey(channel), grey(channel)];
}

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
    return new View(layer, layer.channels, layer.perClass ? 1 : Math.min(n, powerOfTwo(n, Math.ceil)), 0);
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
    const inColour = layer.kind === "image" && layer.n === 3 && this.channels.length === 1;
    for (const [place, channel] of this.channels.entries()) {
      const { x, y } = this.tile(place);
      for (let i = 0; i < layer.size; i++) {
        const start = 4 * ((y + Math.floor(i / layer.width)) * this.width + x + (i % layer.width));
        picture.data.set(pixelOf(layer, channel, i, inColour), start);
        picture.data[start + 3] = 255;
      }
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

// ---- The network from left to right --------------------------------------------------------------------------------------

const net = byId("net"), columns = byId("columns");
const overlay = make("canvas", { className: "overlay", ariaHidden: "true" });

function listClasses(layer) {
  if (!layer.perClass) return null;
  const shares = layer.kind === "softmax";
  return make("ol", { className: "classes", ariaHidden: "true" }, classes.map((label, c) => {
    const item = make("li", { title: label }, make("span", {}, label), shares ? make("b", {}, percent(shareOf(layer.values, c))) : null);
    styled(item, { share: shares ? `${(100 * at(layer, c)).toFixed(2)}%` : "0%" });
    item.classList.toggle("first", at(layer, c) === layer.high);
    return item;
  }));
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

for (const layer of layers) {
  const map = make("div", { className: layer.perClass ? "map of-classes" : "map" });
  layer.view = View.ofMap(layer);
  layer.map = map;
  map.append(layer.view.canvas, listClasses(layer) ?? "");
  if (layer.perClass) styled(map, { n: layer.n });
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
  const nShown = layer.channels.length;
  const nInside = layers.filter((inner) => inner.inside === layer.name).length;
  layer.opener = nInside
    ? make("button", { type: "button", className: "opener", onclick: () => open(layer, !layer.isOpen) })
    : null;
  layer.column = make("section", { className: "layer", ariaLabel: layer.name },
    make("h2", {}, layer.name.slice(layer.inside ? layer.inside.length + 1 : 0)),
    make("p", { className: "what" }, layer.description, make("br"), shapeOf(layer),
      nShown < layer.n ? make("span", { className: "sampled" }, `${count(nShown)} of ${count(layer.n)} shown`) : null, layer.opener),
    map,
    all,
  );
  layer.column.classList.toggle("inner", Boolean(layer.inside));
  columns.append(layer.column);
}
columns.append(overlay);

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
    if (box && !(before.channel >= box.c0 && before.channel < box.c1)) {
      before.channel = before.channels.find((c) => c >= box.c0 && c < box.c1) ?? before.channel;
    }
  }
  const following = new Set([layer]);
  for (const after of layers.slice(layer.index + 1)) {
    const mixes = ["conv", "dense", "softmax", "unknown", "flatten"].includes(after.kind);
    if (mixes || !after.sources.some((source) => following.has(source)) || !after.place.has(channel)) continue;
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
    holder.className = layer.perClass ? "large of-classes" : "large";
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

// ---- The arithmetic of a cell ----------------------------------------------------------------------------------------------

let listAll = false;
const FIRST = 12; // contributions that are listed unless a reader wants all

const p = (...children) => make("p", {}, ...children);
const i = (letter) => make("i", {}, letter);

// The number of another cell; a click selects that cell.
function jump(cell, content) {
  const button = make("button", { type: "button", className: "jump", title: `${cell.layer.name}, ${nameOf(cell)}` }, content);
  button.onclick = () => {
    select(cell);
    cell.layer.map.focus({ preventScroll: true });
  };
  return button;
}

function matrix(values, nColumns, { className, largest, cells = [], decimals }) {
  const table = styled(make("table", { className: "grid" }), { columns: nColumns });
  let row = null;
  for (const [j, value] of values.entries()) {
    if (j % nColumns === 0) row = table.insertRow();
    const cell = row.insertCell(), source = cells[j];
    cell.textContent = value === null ? "–" : text(value, decimals);
    cell.className = source === null ? `${className} padding` : source ? `${className} source` : className;
    cell.cell = source; // where a click leads
    if (value) cell.style.backgroundColor = tint(value / largest);
  }
  return table;
}

// A sign and the matrix behind it, which no line break parts.
const operation = (sign, table) => make("div", { className: "operation" }, make("span", { className: "operator" }, sign), table);

function ledger(rows) {
  return make("table", { className: "ledger" }, make("tbody", {}, rows.filter(Boolean).map(([name, value, className, isSum]) =>
    make("tr", { className: isSum ? "sum" : "" }, make("th", { scope: "row" }, name), make("td", { className: `n ${className ?? ""}` }, value)))));
}

const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

// The end of every calculation: the browser's result, and the recorded one.
function result(cell, calculated) {
  const recorded = valueOf(cell), difference = calculated - recorded;
  const same = difference === 0 || Object.is(calculated, recorded);
  return [
    ["result", text(calculated, 6), "calculated", true],
    ["recorded by PyTorch", text(recorded, 6), "recorded"],
    same ? null : ["rounding", scientific(difference), "rounding"],
  ];
}

function restRow(cell, nLeftOut) {
  if (!nLeftOut) return { value: 0, row: null };
  const { layer } = cell;
  const value = numbers[layer.rest + (layer.place.get(cell.channel) * layer.height + cell.row) * layer.width + cell.column];
  return { value, row: [`+ the ${plural(nLeftOut, unit(layer.source))} not in this page`, text(value, 6), "rest"] };
}

function sumUp(cell, products, nLeftOut) {
  const bias = weightOf(cell, "bias", null);
  const rest = restRow(cell, nLeftOut);
  const total = sum(products);
  return ledger([
    [`sum of ${plural(products.length, "product")}`, text(total, 6), "total"],
    rest.row,
    bias === null ? null : ["+ bias", text(bias, 6), "bias"],
    ...result(cell, total + rest.value + (bias ?? 0)),
  ]);
}

const span = (start, stop) => (stop - start > 1 ? `${start}–${stop - 1}` : String(start));
const lines = (word, start, stop) => `${word}${stop - start > 1 ? "s" : ""} ${span(start, stop)}`;
const windowText = ({ y0, y1, x0, x1 }) => `${lines("row", y0, y1)} and ${lines("column", x0, x1)}`;

const explanations = {
  image(cell) {
    return [p("A raw pixel, the input of the network.")];
  },

  standardise(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    const mean = weightOf(cell, "mean"), std = weightOf(cell, "std");
    return [
      p("The pixel, minus the mean of all training pixels, divided by their standard deviation."),
      ...(std ? [] : [p("This channel never varied in the training images, so it becomes 0 for any pixel.")]),
      formula(std ? ["(", i("x"), " − mean) / std"] : ["0 × (", i("x"), " − mean)"]),
      ledger([
        [["pixel ", i("x")], jump({ ...cell, layer: cell.layer.source }, text(x, 6))],
        ["mean", text(mean, 6)],
        ["standard deviation", text(std, 6)],
        ...result(cell, std ? (x - mean) / std : 0 * (x - mean)),
      ]),
    ];
  },

  conv(cell) {
    const { layer } = cell, { source, settings } = layer;
    const { kernels, nLeftOut } = convTaps(cell);
    const products = kernels.flatMap((k) => k.products);
    const [kh, kw] = settings.kernel;
    const sticksOut = kernels[0]?.taps.includes(null);
    const decimals = inMatrix();
    const largestWeight = largestOf(kernels.flatMap((k) => [...k.weights]));
    const largestProduct = largestOf(products);
    kernels.sort((a, b) => Math.abs(b.subtotal) - Math.abs(a.subtotal));
    const parts = make("div", { className: "parts" }, kernels.map(({ channel, weights, taps, products: own, subtotal }) =>
      make("div", { className: "part" },
        kernels.length > 1 ? make("h4", {}, `channel ${channel}`, make("span", { className: "subtotal" }, text(subtotal, 4))) : null,
        make("div", { className: "equation" },
          matrix(taps.map((tap) => tap?.value ?? 0), kw, { className: "patch", largest: source.largest, cells: taps, decimals }),
          operation("×", matrix([...weights], kw, { className: "weight", largest: largestWeight, decimals })),
          operation("=", matrix(own, kw, { className: "product", largest: largestProduct, decimals }))))));
    const longest = [...parts.querySelectorAll("td")].reduce((most, td) => Math.max(most, td.textContent.length), 0);
    return [
      p(`The ${kh} × ${kw} window over ${windowText(fields[source.index])} of `, jumpTo(source), `, multiplied number by number by the kernel of channel ${cell.channel}`,
        weightOf(cell, "bias", null) === null ? "; then all products are added up." : "; then all products and the bias are added up.",
        sticksOut ? " Where the window sticks out over the edge, it finds zeros." : ""),
      sumUp(cell, products, nLeftOut),
      kernels.length > 1 ? make("h3", {}, `Channel by channel of ${source.name}, the largest part first`) : null,
      styled(parts, { columns: kw, rows: kh, longest }),
    ];
  },

  dense(cell) {
    const { layer } = cell, { source } = layer;
    const { shown, start, first, stop } = layer.looksAt[layer.place.get(cell.channel)];
    const rows = shown.map((feature, j) => {
      const value = at(source, feature), weight = layer.w.weight[start + j];
      return { feature, value, weight, product: value * weight };
    });
    const products = rows.map((row) => row.product);
    const largest = largestOf(products);
    rows.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const listed = listAll || rows.length <= FIRST + 1 ? rows : rows.slice(0, FIRST);
    const others = rows.slice(listed.length);
    const origin = originOf(source);
    return [
      p(`All ${plural(source.n, "feature")} of `, jumpTo(source), `, each multiplied by its weight; then all products`, weightOf(cell, "bias", null) === null ? "" : " and the bias", " are added up."),
      sumUp(cell, products, stop - first - shown.length),
      make("h3", {}, "The features, the largest product first"),
      make("div", { className: "list" }, make("table", { className: "contributions" },
        make("thead", {}, make("tr", {}, ["feature", "value", "weight", "product", ""].map((name, j) => make("th", { scope: "col", className: j && j < 4 ? "n" : "" }, name)))),
        make("tbody", {}, listed.map(({ feature, value, weight, product }) => {
          const found = { layer: source, channel: feature, row: 0, column: 0 };
          return make("tr", {},
            make("th", { scope: "row" }, jump(found, origin ? `${feature} · ${nameOf(unflatten(origin, feature))}` : String(feature))),
            make("td", { className: "n" }, text(value)), make("td", { className: "n" }, text(weight)), make("td", { className: "n product" }, text(product)),
            make("td", { className: "length" }, bar(product / largest)));
        })),
        others.length ? make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colSpan: 3 }, `the other ${count(others.length)} together`),
          make("td", { className: "n others" }, text(sum(others.map((row) => row.product)))), make("td"))) : null)),
      rows.length > FIRST + 1
        ? make("button", { type: "button", id: "list-all", onclick: () => { listAll = !listAll; explain(now()); byId("list-all").focus(); } },
          listAll ? `List the largest ${FIRST}` : `List all ${count(rows.length)}`)
        : null,
    ];
  },

  norm(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    const { eps } = cell.layer.settings;
    const mean = weightOf(cell, "running_mean"), variance = weightOf(cell, "running_var");
    const gamma = weightOf(cell, "weight", 1), beta = weightOf(cell, "bias", 0);
    return [
      p(`The value, minus the mean μ that ${unit(cell.layer)} ${cell.channel} had in training, divided by its standard deviation; then scaled by γ and shifted by β, both learnt.`),
      formula(["(", i("x"), " − μ) / √(σ² + ε) · γ + β"]),
      ledger([
        [i("x"), jump({ ...cell, layer: cell.layer.source }, text(x, 6))],
        ["μ", text(mean, 6)], ["σ²", text(variance, 6)], ["ε", String(eps)], ["γ", text(gamma, 6)], ["β", text(beta, 6)],
        ...result(cell, ((x - mean) / Math.sqrt(variance + eps)) * gamma + beta),
      ]),
    ];
  },

  relu(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    return [
      p(x < 0 ? "The value is negative, so it becomes 0." : "The value is not negative, so it does not change."),
      formula(["max(0, ", i("x"), ")"]),
      ledger([[i("x"), jump({ ...cell, layer: cell.layer.source }, text(x, 6))], ...result(cell, x < 0 ? 0 : x)]),
    ];
  },

  max_pool(cell) {
    const { source } = cell.layer;
    const { taps, shape } = poolWindow(cell);
    const most = taps.reduce((best, tap) => (tap && !(tap.value <= best?.value) ? tap : best), null);
    const element = matrix(taps.map((tap) => tap?.value ?? null), shape[1], { className: "patch", largest: source.largest, cells: taps, decimals: inMatrix() });
    element.querySelectorAll("td")[taps.indexOf(most)].classList.add("largest");
    return [
      p(`The largest of the ${shape[0]} × ${shape[1]} values over ${windowText(fields[source.index])} of `, jumpTo(source), "."),
      make("div", { className: "equation" }, element),
      ledger([["largest value", `row ${most.row}, column ${most.column}`], ...result(cell, most.value)]),
    ];
  },

  avg_pool(cell) {
    const { source } = cell.layer;
    const { taps, shape } = poolWindow(cell);
    const total = sum(taps.map((tap) => tap.value));
    return [
      p(`The mean of the ${shape[0]} × ${shape[1]} values over ${windowText(fields[source.index])} of `, jumpTo(source), "."),
      make("div", { className: "equation" }, matrix(taps.map((tap) => tap.value), shape[1], { className: "patch", largest: source.largest, cells: taps, decimals: inMatrix() })),
      ledger([[`sum of ${plural(taps.length, "value")}`, text(total, 6)], ["divided by", String(taps.length)], ...result(cell, total / taps.length)]),
    ];
  },

  flatten(cell) {
    const source = unflatten(cell.layer, cell.channel);
    return [
      p("The maps become one row, channel after channel and row after row; the numbers do not change."),
      ledger([[`feature ${cell.channel} is ${nameOf(source)} of ${source.layer.name}`, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  dropout(cell) {
    const source = { ...cell, layer: cell.layer.source };
    return [
      p(cell.layer.description.startsWith("Dropout") ? "The value does not change: dropout is active in training only." : "The value does not change."),
      ledger([[source.layer.name, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  block(cell) {
    const source = { ...cell, layer: cell.layer.source };
    return [
      p("The output of the block is that of its last layer. Open the block to see its layers."),
      ledger([[source.layer.name, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  residual(cell) {
    const [body, shortcut] = cell.layer.sources.map((layer) => ({ ...cell, layer }));
    return [
      p("The output of the residual branch plus that of the shortcut. Open the block to see its layers."),
      ledger([
        [`residual branch, ${body.layer.name}`, jump(body, text(valueOf(body), 6))],
        [`+ shortcut, ${shortcut.layer.name}`, jump(shortcut, text(valueOf(shortcut), 6))],
        ...result(cell, valueOf(body) + valueOf(shortcut)),
      ]),
    ];
  },

  softmax(cell) {
    const { source } = cell.layer;
    const largest = source.high;
    const rows = classes.map((label, channel) => ({ label, channel, logit: at(source, channel), power: Math.exp(at(source, channel) - largest) }));
    const total = sum(rows.map((row) => row.power));
    const own = rows[cell.channel].power;
    return [
      p("Every logit ", i("z"), " becomes a positive number, e to the power of ", i("z"), "; its share of their sum is the probability. Subtracting the largest logit from all of them changes no share and keeps the powers small."),
      ledger([
        [["e", make("sup", {}, "z − max"), ` of class ${classes[cell.channel]}`], text(own, 6)],
        ["divided by the sum", text(total, 6)],
        ...result(cell, own / total),
      ]),
      make("div", { className: "list" }, make("table", { className: "contributions" },
        make("thead", {}, make("tr", {}, [["class"], ["logit ", i("z")], [i("z"), " − max"], ["e", make("sup", {}, "z − max")], ["share"]].map((name, j) => make("th", { scope: "col", className: j ? "n" : "" }, name)), make("td"))),
        make("tbody", {}, rows.map(({ label, channel, logit, power }) => make("tr", { className: channel === cell.channel ? "own" : "" },
          make("th", { scope: "row" }, jump({ layer: cell.layer, channel, row: 0, column: 0 }, label)),
          make("td", { className: "n" }, jump({ layer: source, channel, row: 0, column: 0 }, text(logit))),
          make("td", { className: "n" }, text(logit - largest)), make("td", { className: "n power" }, text(power)), make("td", { className: "n" }, text(at(cell.layer, channel))),
          make("td", { className: "length" }, bar(at(cell.layer, channel)))))),
        make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colSpan: 3 }, "sum"), make("td", { className: "n" }, text(total)), make("td", { colSpan: 2 }))))),
    ];
  },

  unknown(cell) {
    return [p(make("b", {}, "Not recomputed. "), `This page does not know how ${cell.layer.description} works. Its recorded values are shown; they may depend on every number of the layer before.`)];
  },
};

explanations.global_max_pool = explanations.max_pool;
explanations.global_avg_pool = explanations.avg_pool;

// Activations: a sentence, the formula, and its result.
const activations = {
  leaky_relu: (x, { slope }) => [
    x < 0 ? `The value is negative, so it is multiplied by the slope ${slope}.` : "The value is not negative, so it does not change.",
    [i("x"), x < 0 ? ` × ${slope}` : ""],
    x < 0 ? slope * x : x,
  ],
  gelu: (x) => [
    "The value times the share of a normal distribution that lies below it: nearly the value itself if it is large, nearly 0 if it is far below 0.",
    [i("x"), " · (1 + erf(", i("x"), " / √2)) / 2"],
    (x * (1 + erf(x / Math.SQRT2))) / 2,
  ],
  silu: (x) => [
    "The value times its sigmoid: nearly the value itself if it is large, nearly 0 if it is far below 0.",
    [i("x"), " / (1 + e", make("sup", {}, "−x"), ")"],
    x / (1 + Math.exp(-x)),
  ],
  sigmoid: (x) => ["The value becomes a number between 0 and 1.", ["1 / (1 + e", make("sup", {}, "−x"), ")"], 1 / (1 + Math.exp(-x))],
  tanh: (x) => ["The value becomes a number between −1 and 1.", ["tanh(", i("x"), ")"], Math.tanh(x)],
};
for (const [kind, compute] of Object.entries(activations)) {
  explanations[kind] = (cell) => {
    const source = { ...cell, layer: cell.layer.source };
    const x = valueOf(source);
    const [sentence, written, value] = compute(x, cell.layer.settings);
    return [p(sentence), formula(written), ledger([[i("x"), jump(source, text(x, 6))], ...result(cell, value)])];
  };
}

// The error function: 2/√π · e^(−z²) · Σ 2ⁿ z²ⁿ⁺¹ / (2n + 1)!!, whose terms all have the sign of z.
function erf(z) {
  if (Math.abs(z) > 6) return Math.sign(z); // as float64 has it
  let term = z, total = z;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) total += term *= (2 * z * z) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * total;
}

const formula = (children) => make("p", { className: "formula" }, ...children);
const jumpTo = (layer) => make("em", {}, layer.name);

// The flatten layer that a row of features comes from, through layers that work feature by feature.
function originOf(layer) {
  const inPlace = ["dropout", "relu", "norm", ...Object.keys(activations)];
  while (inPlace.includes(layer.kind) && layer.is_row) layer = layer.source;
  return layer.kind === "flatten" && !layer.source.is_row ? layer : null;
}

function bar(share) {
  const element = make("i", {});
  element.style.width = `${(100 * Math.abs(share)).toFixed(1)}%`;
  element.className = share < 0 ? "below" : "above";
  return element;
}

function explain(cell) {
  const { layer } = cell;
  byId("name").replaceChildren(make("b", {}, layer.name), " ", make("span", {}, nameOf(cell)));
  byId("unit").textContent = unit(layer);
  byId("value").textContent = text(valueOf(cell), 6);
  byId("lowest").textContent = text(layer.low, 2);
  byId("highest").textContent = text(layer.high, 2);
  paintRamp(layer);
  const sampled = layer.channels.length < layer.n
    ? ` · ${layer.channels.length} of ${plural(layer.n, unit(layer))} in this page: ${ranges(layer.channels)}` : "";
  byId("facts").textContent = [
    layer.description, shapeOf(layer),
    ...(layer.n_parameters ? [plural(layer.n_parameters, "parameter")] : []),
    ...(layer.n_multiply_adds ? [`${count(layer.n_multiply_adds)} multiplications`] : []),
  ].join(" · ") + sampled;
  byId("how").replaceChildren(...(explanations[layer.kind] ?? explanations.unknown)(cell).filter(Boolean));
}

function ranges(channels) {
  const runs = [];
  for (const channel of channels) {
    if (runs.length && runs.at(-1)[1] === channel) runs.at(-1)[1]++;
    else runs.push([channel, channel + 1]);
  }
  const written = runs.map(([start, stop]) => span(start, stop));
  return written.length > 40 ? `${written.slice(0, 8).join(", ")}, … ${written.at(-1)}` : written.join(", ");
}

function paintRamp(layer) {
  const context = byId("ramp").getContext("2d");
  for (let x = 0; x < 101; x++) {
    const value = layer.low + ((layer.high - layer.low) * x) / 100;
    const grey = Math.round(2.55 * x);
    context.fillStyle = rgb(layer.kind === "image" ? [grey, grey, grey] : shade(value / layer.largest), 1);
    context.fillRect(x, 0, 1, 1);
  }
}

// ---- Keys and buttons ------------------------------------------------------------------------------------------------------

function moveBy(rows, columns_) {
  const { layer, channel, row, column } = state.pinned;
  if (!layer.is_row) {
    const to = { layer, channel, row: row + rows, column: column + columns_ };
    if (to.row >= 0 && to.row < layer.height && to.column >= 0 && to.column < layer.width) select(to);
    return;
  }
  const to = layer.channels[layer.place.get(channel) + rows * large.columns + columns_];
  if (to !== undefined) select({ layer, channel: to, row, column });
}

function moveChannel(by) {
  const { layer, channel } = state.pinned;
  const to = layer.channels[layer.place.get(channel) + by];
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
  const action = (event.target.role === "application" && ON_MAPS[event.key]) || ANYWHERE[event.key];
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

// ---- Begin -------------------------------------------------------------------------------------------------------------------

function repaint() {
  readColours();
  for (const layer of layers) for (const view of layer.views) view.paint();
  large = null;
}

const beginning = layers.find((layer) => layer.kind === "conv") ?? layers.find((layer) => layer.kind === "dense") ?? layers.at(-1);
state.pinned = cellAt(location.hash) ?? beginning.last;
state.pinned.layer.last = state.pinned;
repaint();
for (let block = state.pinned.layer.parent; block; block = block.parent) block.isOpen = true;
arrange();
reveal(state.pinned.layer);
addEventListener("hashchange", ({ newURL }) => {
  const cell = cellAt(new URL(newURL).hash); // location's may have been renamed since
  if (cell) select(cell);
});
dark.addEventListener("change", () => { repaint(); measure(); draw(); });
narrow.addEventListener("change", () => explain(now()));
new ResizeObserver(() => { measure(); draw(); }).observe(net);
