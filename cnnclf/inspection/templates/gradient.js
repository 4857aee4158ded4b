// Back through the network: how a weighted sum of logits depends on the outputs of the layers before.

// Derivatives of the activations.
const derivative = {
  relu: (x) => (x > 0 ? 1 : 0),
  leaky_relu: (x, slope) => (x < 0 ? slope : 1),
  gelu: (x) => (1 + erf(x / Math.SQRT2)) / 2 + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI),
  silu: (x) => pointwise.sigmoid(x) * (1 + x * (1 - pointwise.sigmoid(x))),
  sigmoid: (x) => pointwise.sigmoid(x) * (1 - pointwise.sigmoid(x)),
  tanh: (x) => 1 - Math.tanh(x) ** 2,
};

// Per layer from `until` on, the gradient of Σ seed·logit with respect to its output; null where there is none.
//
// With secants an activation f counts as the straight line from (0, f(0)) to (x, f(x)). Everything behind `until` is then
// linear for this image, so the products of its numbers and these slopes add up to the logits, but for a constant.
function differentiate(layers, outputs, seed, { until = 0, secants = false } = {}) {
  const gradients = layers.map(() => null);
  const logits = layers.at(-1).source;
  gradients[logits.index] = Float64Array.from(seed);
  for (let i = logits.index; i > until; i--) {
    const layer = layers[i];
    if (!gradients[i]) continue;
    const before = pullBack(layer, gradients[i], outputs[layer.source.index], secants);
    for (const { index } of layer.sources) {
      gradients[index] = gradients[index] ? gradients[index].map((g, j) => g + before[j]) : before;
    }
  }
  return gradients;
}

// The gradient with respect to a layer's input x, which is the same for both inputs of a residual block.
function pullBack(layer, gradient, x, secants) {
  const { kind, settings: { slope } } = layer;
  if (kind in pointwise) {
    const f = pointwise[kind], atZero = f(0, slope);
    return gradient.map((g, i) => g * (secants && x[i] !== 0 ? (f(x[i], slope) - atZero) / x[i] : derivative[kind](x[i], slope)));
  }
  switch (kind) {
    case "standardise": return perChannel(layer, gradient, (c) => (layer.w.std[c] ? 1 / layer.w.std[c] : 0));
    case "norm":
      return perChannel(layer, gradient, (c) => (layer.w.weight?.[c] ?? 1) / Math.sqrt(layer.w.running_var[c] + layer.settings.eps));
    case "conv": return spreadProducts(layer, gradient);
    case "dense": return spreadDense(layer, gradient);
    case "max_pool":
    case "avg_pool": return spreadPool(layer, gradient, x);
    case "global_max_pool": return spreadMaps(layer, gradient, x, true);
    case "global_avg_pool": return spreadMaps(layer, gradient, x, false);
  }
  return gradient.slice(); // dropout, flatten, blocks and residual sums
}

const perChannel = ({ size }, gradient, factor) => gradient.map((g, i) => g * factor(Math.floor(i / size)));

function spreadDense({ n, source, w: { weight } }, gradient) {
  const before = new Float64Array(source.n);
  for (let o = 0; o < n; o++) {
    for (let i = 0; gradient[o] && i < source.n; i++) before[i] += gradient[o] * weight[o * source.n + i];
  }
  return before;
}

function spreadProducts({ n, height, width, size, source, kernelSize, settings, w: { weight } }, gradient) {
  const { kernel: [kh, kw], stride: [sh, sw], padding: [ph, pw], dilation: [dh, dw], groups } = settings;
  const before = new Float64Array(source.n * source.size);
  const seen = source.n / groups;
  for (let o = 0; o < n; o++) {
    const first = Math.floor(o / (n / groups)) * seen;
    for (let cell = 0; cell < size; cell++) {
      const g = gradient[o * size + cell];
      if (!g) continue;
      const top = Math.floor(cell / width) * sh - ph, left = (cell % width) * sw - pw;
      for (let c = 0; c < seen; c++) {
        const plane = (first + c) * source.size, start = (o * seen + c) * kernelSize;
        for (let i = 0; i < kh; i++) {
          const y = top + i * dh;
          if (y < 0 || y >= source.height) continue;
          for (let j = 0, x = left; j < kw; j++, x += dw) {
            if (x >= 0 && x < source.width) before[plane + y * source.width + x] += g * weight[start + i * kw + j];
          }
        }
      }
    }
  }
  return before;
}

function spreadPool({ kind, n, height, width, source, settings }, gradient, x) {
  const { window: [kh, kw], stride: [sh, sw], padding: [ph, pw] } = settings;
  const before = new Float64Array(source.n * source.size);
  for (let c = 0, cell = 0; c < n; c++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++, cell++) {
        let most = -1;
        for (let y = Math.max(0, row * sh - ph); y < Math.min(source.height, row * sh - ph + kh); y++) {
          for (let at = Math.max(0, column * sw - pw); at < Math.min(source.width, column * sw - pw + kw); at++) {
            const place = c * source.size + y * source.width + at;
            if (kind === "avg_pool") before[place] += gradient[cell] / (kh * kw);
            else if (most < 0 || x[place] > x[most]) most = place;
          }
        }
        if (most >= 0) before[most] += gradient[cell];
      }
    }
  }
  return before;
}

function spreadMaps({ n, source: { size } }, gradient, x, isMax) {
  const before = new Float64Array(n * size);
  for (let c = 0; c < n; c++) {
    const map = x.subarray(c * size, (c + 1) * size);
    if (isMax) before[c * size + map.indexOf(largestOfAll(map))] = gradient[c];
    else before.fill(gradient[c] / size, c * size, (c + 1) * size);
  }
  return before;
}

// ---- A small change of the image that changes the answer --------------------------------------------------------------------

const MOST_PAINTED = 100, CANDIDATES = 6;

// Paint one pixel after the other, each time of those with the steepest slopes the one that helps most, until the network
// answers `to`; then bring back every pixel that is not needed. Yields what is reached: it is small, perhaps not smallest.
function* searchChange({ layers, input }, pixels, from, to) {
  const [nChannels, height, width] = input.shape, area = height * width;
  const original = pixels, painted = new Map();
  const ends = [input.black, input.white];
  const margin = (image) => {
    const logits = compute(layers, image)[layers.length - 2];
    return { gap: logits[to] - logits[from], isReached: logits.indexOf(largestOfAll(logits)) === to };
  };
  const withPixel = (image, place, values) => {
    const changed = Float32Array.from(image);
    values.forEach((value, c) => { changed[c * area + place] = value; });
    return changed;
  };
  while (painted.size < MOST_PAINTED && !margin(pixels).isReached) {
    const seed = layers.at(-1).source.shape[0];
    const slopes = differentiate(layers, compute(layers, pixels), Array.from({ length: seed }, (_, c) => (c === to) - (c === from)))[0];
    const options = Array.from({ length: area }, (_, place) => {
      let gain = 0;
      const values = Array.from({ length: nChannels }, (_, c) => {
        const at = c * area + place;
        const value = nChannels === 4 && c === 3 ? pixels[at] : ends[Number(slopes[at] > 0)];
        gain += slopes[at] * (value - pixels[at]);
        return value;
      });
      return { place, values, gain };
    });
    const best = options.filter(({ place, gain }) => gain > 0 && !painted.has(place)).sort((a, b) => b.gain - a.gain).slice(0, CANDIDATES)
      .map((option) => ({ ...option, ...margin(withPixel(pixels, option.place, option.values)) })).sort((a, b) => b.gap - a.gap)[0];
    if (!best) break;
    painted.set(best.place, best.values);
    pixels = withPixel(pixels, best.place, best.values);
    yield { pixels, painted: [...painted.keys()], done: false };
  }
  const { isReached } = margin(pixels);
  for (const place of isReached ? [...painted.keys()] : []) {
    const before = withPixel(pixels, place, Array.from({ length: nChannels }, (_, c) => original[c * area + place]));
    if (!margin(before).isReached) continue;
    painted.delete(place);
    pixels = before;
    yield { pixels, painted: [...painted.keys()], done: false };
  }
  yield { pixels, painted: [...painted.keys()], done: true, isReached };
}
