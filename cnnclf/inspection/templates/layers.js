// The layers of the network and what a cell of them depends on. A cell is {layer, channel, row, column}; each feature of a
// row is a channel with one cell.

const byId = (id) => document.getElementById(id);
const { classes, layers, input, samples, epochs, isLive, key } = JSON.parse(byId("network").textContent);
let numbers = decodeNumbers(byId("numbers").textContent);
openLayers(layers, numbers);
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 44rem)");

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

const MOST_LISTED = 40; // classes

for (const layer of layers) {
  layer.channels = Array.from({ length: layer.n }, (_, channel) => channel);
  layer.perClass = layer.is_row && layer.n === classes.length && layer.index >= layers.length - 2;
  layer.isListed = layer.perClass && layer.n <= MOST_LISTED; // class by class, one below the other
  layer.isOpen = false;
  layer.parent = layers.find((other) => other.name === layer.inside && layer.inside) ?? null;
}

// Take the outputs of all layers for an image.
function setOutputs(outputs) {
  for (const layer of layers) {
    layer.values = outputs[layer.index];
    let low = Infinity, high = -Infinity, place = 0;
    layer.values.forEach((v, i) => {
      if (v < low) low = v;
      if (v > high) { high = v; place = i; }
    });
    const strongest = cellOf(layer, place);
    Object.assign(layer, { low, high, strongest, largest: Math.max(Math.abs(low), Math.abs(high)) || 1 });
    // The cell shown on the first visit to this layer: its largest value.
    layer.last ??= strongest;
    layer.channel ??= strongest.channel;
  }
}

// The cell of a position in a layer's values.
function cellOf(layer, place) {
  const inMap = place % layer.size;
  return { layer, channel: (place - inMap) / layer.size, row: Math.floor(inMap / layer.width), column: inMap % layer.width };
}

function at(layer, channel, row = 0, column = 0) {
  return layer.values[(channel * layer.height + row) * layer.width + column];
}
const valueOf = ({ layer, channel, row, column }) => at(layer, channel, row, column);
const weightOf = (cell, name, missing) => cell.layer.w[name]?.[cell.channel] ?? missing;

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

// Per input channel that an output cell looks at, its kernel, the cells under it and their products.
function convTaps(cell) {
  const { layer } = cell, { source, kernelSize } = layer;
  const { kernel, groups, ...laid } = layer.settings;
  const seen = source.n / groups, first = Math.floor(cell.channel / (layer.n / groups)) * seen;
  return Array.from({ length: seen }, (_, c) => {
    const start = (cell.channel * seen + c) * kernelSize;
    const weights = layer.w.weight.subarray(start, start + kernelSize);
    const taps = windowTaps(cell, first + c, kernel, laid);
    const products = taps.map((tap, j) => (tap ? tap.value * weights[j] : 0));
    return { channel: first + c, weights, taps, products, subtotal: sum(products) };
  });
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

const unflatten = ({ source }, feature) => cellOf(source, feature);

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
const inWords = (words) => [words.slice(0, -1).join(", "), words.at(-1)].filter((part) => part !== "").join(" and ");
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
  if (layer && !place.length) return layer.last;
  const isThere = layer && place.length === (layer.is_row ? 1 : 3) && Number.isInteger(channel) && channel >= 0 &&
    channel < layer.n && Number.isInteger(row) && row >= 0 && row < layer.height && Number.isInteger(column) && column >= 0 && column < layer.width;
  return isThere ? { layer, channel, row, column } : null;
}

