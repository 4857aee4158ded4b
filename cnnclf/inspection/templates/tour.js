// ---- The tour: what is true of this network and this image, step by step ------------------------------------------------------

// Simple patterns that a kernel may answer to, as functions of the place −1…1 downwards and to the right.
const PATTERNS = [
  ["edges with bright above and dark below", (y) => -y],
  ["edges with dark above and bright below", (y) => y],
  ["edges with bright on the left and dark on the right", (y, x) => -x],
  ["edges with dark on the left and bright on the right", (y, x) => x],
  ["corners that are bright at the top left", (y, x) => -y - x],
  ["corners that are bright at the bottom right", (y, x) => y + x],
  ["corners that are bright at the top right", (y, x) => x - y],
  ["corners that are bright at the bottom left", (y, x) => y - x],
  ["bright horizontal lines", (y) => 1 - 2 * Math.abs(y)],
  ["dark horizontal lines", (y) => 2 * Math.abs(y) - 1],
  ["bright vertical lines", (y, x) => 1 - 2 * Math.abs(x)],
  ["dark vertical lines", (y, x) => 2 * Math.abs(x) - 1],
  ["bright lines that fall to the right", (y, x) => 1 - 2 * Math.abs(y - x)],
  ["bright lines that rise to the right", (y, x) => 1 - 2 * Math.abs(y + x)],
  ["bright spots", (y, x) => 1 - 2 * Math.hypot(y, x)],
  ["dark spots", (y, x) => 2 * Math.hypot(y, x) - 1],
];
const ALIKE = 0.6; // the least cosine that counts as an answer to a pattern

// What a kernel of one map answers to: the pattern with the largest cosine, where both have a mean of 0.
function nameKernel(weights, [kh, kw]) {
  const centred = (values) => {
    const mean = sum(values) / values.length, rest = values.map((v) => v - mean), length = Math.hypot(...rest);
    return rest.map((v) => (length ? v / length : 0));
  };
  const along = (i, n) => (n > 1 ? (2 * i) / (n - 1) - 1 : 0);
  const kernel = centred([...weights]);
  const found = PATTERNS.map(([name, of]) => {
    const pattern = centred(Array.from({ length: kh * kw }, (_, i) => of(along(Math.floor(i / kw), kh), along(i % kw, kw))));
    return { name, cosine: sum(pattern.map((v, i) => v * kernel[i])) };
  }).reduce((a, b) => (b.cosine > a.cosine ? b : a));
  return found.cosine >= ALIKE ? found.name : null;
}

const firstOf = (kinds) => layers.find(({ kind, is_row }) => kinds.includes(kind) && !is_row);

const STOPS = [
  () => {
    const image = layers[0];
    const strength = nChannels === 1 ? "one brightness per pixel" : `${nChannels} numbers per pixel, one per colour channel`;
    return [image.strongest, `The network gets ${nRows} × ${nColumns} pixels, ${strength}, from ${text(image.low)} to ${text(image.high)}. It knows nothing else of the image: no strokes, no shapes.`];
  },
  () => {
    const layer = firstOf(["standardise"]);
    return layer && [layer.strongest, `First every pixel is measured against the training images: minus their mean, divided by their standard deviation. The brightest becomes ${text(layer.high)}; 0 is an average pixel.`];
  },
  () => {
    const layer = firstOf(["conv"]);
    if (!layer) return null;
    const [best] = convTaps(layer.strongest).sort((a, b) => b.subtotal - a.subtotal);
    const answers = nameKernel(best.weights, layer.settings.kernel);
    return [layer.strongest, `${layer.name} slides ${plural(layer.n, "kernel")} over the image. Kernel ${layer.strongest.channel} answers ${answers ? `to ${answers}` : "to a pattern that has no simple name"}; its largest answer in this image, ${text(layer.high)}, is marked.`];
  },
  () => {
    const layer = firstOf(["conv"]);
    if (!layer) return null;
    const products = convTaps(layer.strongest).flatMap((part) => part.products);
    const positive = products.filter((v) => v > 0), bias = weightOf(layer.strongest, "bias", null);
    return [layer.strongest, `This number is a sum of ${plural(products.length, "product")}: numbers under the window times weights of the kernel. ${count(positive.length)} are positive and add ${text(sum(positive))}, the others add ${text(sum(products) - sum(positive))}${bias === null ? "" : `; the bias is ${text(bias)}`}. All of them are below.`];
  },
  () => {
    const layer = firstOf(["relu", "leaky_relu", "gelu", "silu", "sigmoid", "tanh"]);
    if (!layer) return null;
    const nBelow = layer.source.values.filter((v) => v < 0).length;
    const share = `${count(nBelow)} of ${count(layer.values.length)}`;
    const what = layer.kind === "relu" ? `${layer.name} turns what is negative into 0: ${share} numbers here. What is left says where a pattern was found.`
      : `${layer.name} bends the numbers, of which ${share} are negative. Without such a bend, all layers together could do no more than one.`;
    return [layer.strongest, what];
  },
  () => {
    const layer = firstOf(["max_pool", "avg_pool"]);
    if (!layer) return null;
    const { taps, shape } = poolWindow(layer.strongest), values = taps.filter(Boolean).map(({ value }) => text(value, 2));
    const what = layer.kind === "max_pool" ? "keeps the largest" : "takes the mean";
    return [layer.strongest, `${layer.name} ${what} of every ${shape.join(" × ")} neighbours, here of ${values.join(", ")}. The maps become ${layer.height} × ${layer.width}: where exactly a pattern was matters less.`];
  },
  () => {
    const layer = layers.findLast(({ kind, is_row }) => kind === "conv" && !is_row);
    if (!layer || layer === firstOf(["conv"])) return null;
    const { y0, y1, x0, x1 } = fieldsOf(layer.strongest)[0];
    return [layer.strongest, `Deeper layers combine what earlier ones found. This number of ${layer.name} depends on ${y1 - y0} × ${x1 - x0} pixels of the image, ${windowText({ y0, y1, x0, x1 })}, and on all ${plural(layer.source.n, "map")} of ${layer.source.name}.`];
  },
  () => {
    const parts = logitsLayer.kind === "dense" && featuresFor(...rankedClasses());
    if (!parts) return null;
    const { source } = logitsLayer, [first, second] = rankedClasses();
    const against = parts.against.length ? ` feature ${parts.against[0].feature} for ${classes[second]}.` : ` none speaks for ${classes[second]}.`;
    return [{ layer: source, channel: parts.speaking[0].feature, row: 0, column: 0 }, `${plural(source.n, "feature")} are left. Between ${classes[first]} and ${classes[second]}, features ${inWords(parts.speaking.map(({ feature }) => feature))} speak most for ${classes[first]};${against}`];
  },
  () => {
    const [first, second] = rankedClasses();
    return [logitsLayer.strongest, `One number per class is left. ${classes[first]} has the largest, ${text(logitsLayer.values[first], 2)}; ${classes[second]} follows with ${text(logitsLayer.values[second], 2)}. So the network answers ${classes[first]}.`];
  },
  () => {
    const softmax = layers.at(-1), [first, second] = rankedClasses();
    const times = Math.exp(logitsLayer.values[first] - logitsLayer.values[second]);
    return [softmax.strongest, `The softmax turns these numbers into probabilities: ${percent(shareOf(softmax.values, first))} for ${classes[first]}, ${times < 1e4 ? text(times, 1) : scientific(times)} times that of ${classes[second]}. ${isLive ? "Now change a pixel above, and see all of this change." : ""}`];
  },
];

// The three features that speak most for one class and against another, and the one that speaks most the other way.
function featuresFor(a, b) {
  const { source, w: { weight } } = logitsLayer;
  const parts = Array.from(source.values, (value, feature) => ({ feature, value: value * (weight[a * source.n + feature] - weight[b * source.n + feature]) }))
    .sort((p, q) => q.value - p.value);
  return { speaking: parts.slice(0, 3), against: parts.slice(-1).filter(({ value }) => value < 0) };
}

let stop_ = null; // where the tour is

// In the order of the layers.
const stopsHere = () => STOPS.map((tell) => tell()).filter(Boolean).sort(([a], [b]) => a.layer.index - b.layer.index);

function goTo(place) {
  const stops = stopsHere();
  stop_ = place === null ? null : Math.max(0, Math.min(stops.length - 1, place));
  byId("tour").hidden = stop_ === null;
  byId("start-tour").ariaExpanded = String(stop_ !== null);
  if (stop_ === null) return;
  const [cell, sentence] = stops[stop_];
  byId("tour-place").textContent = `${stop_ + 1} of ${stops.length}`;
  byId("tour-text").textContent = sentence;
  byId("tour-back").disabled = stop_ === 0;
  byId("tour-next").textContent = stop_ === stops.length - 1 ? "Done" : "Next";
  select(cell);
}

byId("start-tour").onclick = () => {
  goTo(stop_ === null ? 0 : null);
  if (stop_ !== null) byId("tour-next").focus();
};
byId("tour-back").onclick = () => goTo(stop_ - 1);
byId("tour-next").onclick = () => {
  const isLast = byId("tour-next").textContent === "Done";
  goTo(isLast ? null : stop_ + 1);
  if (isLast) byId("start-tour").focus();
};
byId("tour-close").onclick = () => { goTo(null); byId("start-tour").focus(); };
onImage.push(() => { if (stop_ !== null) byId("tour-text").textContent = stopsHere()[stop_][1]; });
