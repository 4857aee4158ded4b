// ---- Why this class and not that one? --------------------------------------------------------------------------------------

const MOST_FEATURES = 8; // of the waterfall
const FINEST = 9; // cells of the smallest maps that evidence is shown on

const logitsLayer = layers.at(-1).source;
const choice = [byId("why-a"), byId("why-b")];
let isChosen = false; // by the reader; before that they are the two most probable classes

for (const select of choice) {
  select.append(...classes.map((label, c) => make("option", { value: c }, label)));
  select.onchange = () => { isChosen = true; forgetChange(); showWhy(); };
}

const chosenClasses = () => choice.map((select) => Number(select.value));

function rankedClasses() {
  return classes.map((_, c) => c).sort((a, b) => logitsLayer.values[b] - logitsLayer.values[a]);
}

function showWhy() {
  isStale = false;
  if (!isChosen) rankedClasses().slice(0, 2).forEach((c, i) => { choice[i].value = c; });
  const [a, b] = chosenClasses();
  byId("why-same").hidden = a !== b;
  byId("why-body").hidden = a === b;
  if (a === b) return;
  const layer = layers.findLast(({ is_row, size, kind }) => !is_row && size >= FINEST && kind !== "standardise") ?? layers[0];
  const maps = [a, b].map((c) => evidenceMap(layer, c));
  const largest = largestOf(maps.flatMap((map) => [...map]));
  maps.forEach((map, i) => paintEvidence(byId(`evidence-${"ab"[i]}`), map, layer, largest));
  [a, b].forEach((c, i) => { byId(`evidence-${"ab"[i]}-name`).textContent = `for ${classes[c]}`; });
  byId("evidence-of").textContent = `What each of the ${layer.height} × ${layer.width} places of ${layer.name} adds to the logit, over the image.`;
  byId("waterfall").replaceChildren(...waterfall(a, b));
  byId("find-change").textContent = `Paint pixels until it reads ${classes[b]}`;
}

const seedOf = (a, b) => classes.map((_, c) => (c === a) - (c === b));

// Per cell of a layer's maps, what it adds to a logit, over all channels.
function evidenceMap(layer, label) {
  const slopes = differentiate(layers, layers.map(({ values }) => values), seedOf(label), { until: layer.index, secants: true })[layer.index];
  const map = new Float64Array(layer.size);
  slopes.forEach((slope, i) => { map[i % layer.size] += slope * layer.values[i]; });
  return map;
}

function paintEvidence(canvas, map, { width, height }, largest) {
  Object.assign(canvas, { width: 12 * nColumns, height: 12 * nRows });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(pictureOf(drawing.pixels), 0, 0, canvas.width, canvas.height);
  const veil = new ImageData(width, height);
  map.forEach((value, i) => veil.data.set([...(value < 0 ? colours.below : colours.above), Math.round(215 * Math.sqrt(Math.abs(value) / largest))], 4 * i));
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(veil, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// The parts of the difference of two logits, the largest first: they add up to it exactly, as numbers of double precision.
function partsOf(a, b) {
  const difference = (values) => values[a] - values[b];
  if (logitsLayer.kind !== "dense") return null;
  const { source, w: { weight, bias } } = logitsLayer;
  const parts = Array.from(source.values, (value, feature) => ({ feature, value: value * (weight[a * source.n + feature] - weight[b * source.n + feature]) }))
    .sort((p, q) => Math.abs(q.value) - Math.abs(p.value));
  const rest = parts.slice(MOST_FEATURES);
  const named = parts.slice(0, MOST_FEATURES).map(({ feature, value }) => ({ name: jump({ layer: source, channel: feature, row: 0, column: 0 }, `feature ${feature}`), value }));
  if (rest.length) named.push({ name: `the other ${count(rest.length)}`, value: sum(rest.map(({ value }) => value)) });
  if (bias) named.push({ name: "bias", value: difference(bias) });
  return named;
}

function waterfall(a, b) {
  const parts = partsOf(a, b);
  if (!parts) return [make("caption", {}, "The logits do not come from a dense layer, so there are no single features.")];
  const total = sum(parts.map(({ value }) => value));
  let reached = 0;
  const ends = [0, ...parts.map(({ value }) => (reached += value))];
  const low = Math.min(...ends), range = Math.max(...ends) - low || 1;
  const row = (name, value, start, stop, className) => {
    const length = styled(make("i", { className: stop < start ? "below" : "above" }), {
      from: (Math.min(start, stop) - low) / range, length: Math.abs(stop - start) / range,
    });
    return make("tr", { className }, make("th", { scope: "row" }, name), make("td", { className: "n" }, `${value < 0 ? "" : "+"}${value === 0 ? "0.0000" : text(value)}`), make("td", { className: "fall" }, length));
  };
  return [
    make("caption", {}, `The logit of ${classes[a]} less that of ${classes[b]}, feature by feature of ${logitsLayer.source.name}`),
    make("tbody", {}, parts.map(({ name, value }, i) => row(name, value, ends[i], ends[i + 1], ""))),
    make("tfoot", {}, row("together", total, 0, total, "sum")),
  ];
}

// ---- Small changes --------------------------------------------------------------------------------------------------------------

let searcher = null;

function stopSearch() {
  searcher?.terminate();
  searcher = null;
  byId("find-change").hidden = false;
  byId("stop-change").hidden = true;
}

// What was found belongs to the image and the classes that it was found for.
function forgetChange() {
  stopSearch();
  byId("change").hidden = true;
  byId("use-change").hidden = true;
}

function findChange() {
  forgetChange();
  const [, to] = chosenClasses(), from = rankedClasses()[0];
  byId("change").hidden = false;
  byId("changed").hidden = true;
  byId("change-text").textContent = from === to ? `The network already reads ${classes[to]}.` : "Searching …";
  if (from === to) return;
  searcher = startWorker();
  byId("find-change").hidden = true;
  byId("stop-change").hidden = false;
  searcher.onmessage = ({ data }) => showChange(data, from, to);
  searcher.postMessage({ search: { pixels: drawing.pixels, from, to } });
}

function showChange({ pixels, painted, shares, done, isReached }, from, to) {
  const canvas = byId("changed"), zoom = 12;
  Object.assign(canvas, { hidden: false, width: zoom * nColumns, height: zoom * nRows });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(pictureOf(pixels), 0, 0, canvas.width, canvas.height);
  context.lineWidth = 2;
  context.strokeStyle = rgb(colours.above, 1);
  for (const place of painted) context.strokeRect(zoom * (place % nColumns) + 1, zoom * Math.floor(place / nColumns) + 1, zoom - 2, zoom - 2);
  const shares_ = [from, to].map((c) => `${classes[c]} ${percent(shareOf(shares, c))}`).join(", ");
  const sentence = done && !isReached ? `No change of up to ${MOST_PAINTED} pixels was found. ` : `${plural(painted.length, "pixel")} painted: `;
  byId("change-text").textContent = sentence + shares_ + (done && isReached ? ". Each of them is needed; another set might be smaller." : ".");
  if (!done) return;
  stopSearch();
  byId("use-change").hidden = !isReached;
  byId("use-change").onclick = () => setImage(pixels);
}

byId("find-change").onclick = findChange;
byId("stop-change").onclick = () => {
  stopSearch();
  byId("change-text").prepend("Stopped. ");
};
// Reasons that nobody sees are worked out when they come into sight, when the hand rests, and for paper.
let isInSight = false, isStale = false;
new IntersectionObserver(([{ isIntersecting }]) => {
  isInSight = isIntersecting;
  if (isInSight) refreshWhy();
}, { rootMargin: "200px" }).observe(byId("why-body"));
const refreshWhy = () => { if (isStale) showWhy(); };
addEventListener("beforeprint", refreshWhy);
onImage.push(() => {
  forgetChange();
  isStale = true;
  if (isInSight) return showWhy();
  clearTimeout(refreshWhy.timer);
  refreshWhy.timer = setTimeout(refreshWhy, QUIET);
});
