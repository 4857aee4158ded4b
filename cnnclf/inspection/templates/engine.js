"use strict";
// The network: from raw pixels, channels first, to the output of every layer. It runs in a worker, and on the page for
// window.cnnclf.predict. Sums are in double precision; every output is rounded to float32, as in the network.

function decodeNumbers(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

// The layers of the page's JSON, each with its sizes, its weights and the layers that it takes its numbers from.
function openLayers(layers, numbers) {
  for (const [index, layer] of layers.entries()) {
    const [n, height = 1, width = 1] = layer.shape;
    const kernelSize = (layer.settings.kernel ?? [1, 1]).reduce((a, b) => a * b);
    Object.assign(layer, { index, n, height, width, kernelSize, size: height * width, doubles: null });
    layer.sources = layer.inputs.map((i) => layers[i]);
    layer.source = layer.sources[0];
    layer.w = Object.fromEntries(Object.entries(layer.weights).map(([name, start]) => [name, numbers.subarray(start)]));
    layer.recorded = layer.values === null ? null : numbers.subarray(layer.values, layer.values + n * layer.size);
  }
  return layers;
}

// The outputs of all layers, one Float32Array per layer: channel after channel, row after row.
function compute(layers, pixels) {
  const outputs = [];
  for (const layer of layers) {
    const inputs = layer.inputs.map((i) => outputs[i]);
    outputs.push(layer.kind === "image" ? Float32Array.from(pixels) : computeLayer(layer, ...inputs));
  }
  return outputs;
}

function computeLayer(layer, x, shortcut) {
  if (layer.kind in pointwise) {
    const apply = pointwise[layer.kind], slope = layer.settings.slope;
    return x.map((value) => apply(value, slope));
  }
  switch (layer.kind) {
    case "standardise": return standardise(layer, x);
    case "conv":
    case "dense": return sumProducts(layer, x);
    case "norm": return normalise(layer, x);
    case "max_pool":
    case "avg_pool": return pool(layer, x);
    case "global_max_pool": return overMaps(layer, x, largestOfAll);
    case "global_avg_pool": return overMaps(layer, x, (values) => values.reduce((sum, v) => sum + v, 0) / values.length);
    case "residual": return x.map((value, i) => value + shortcut[i]);
    case "softmax": return softmax(x);
    case "unknown": return layer.recorded; // of the one image of this page
  }
  return x; // dropout, flatten and blocks pass their numbers on
}

const pointwise = {
  relu: (x) => (x < 0 ? 0 : x), // NaN stays NaN
  leaky_relu: (x, slope) => (x < 0 ? slope * x : x),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  silu: (x) => x / (1 + Math.exp(-x)),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: (x) => Math.tanh(x),
};

// The error function. Near 0 the series 2/√π · e^(−z²) · Σ 2ⁿ z²ⁿ⁺¹ / (2n + 1)!!, whose terms all have the sign of z;
// beyond 2.5 the continued fraction of its complement, e^(−z²) / √π · 1 / (z + ½ / (z + 1 / (z + 3/2 / (z + …)))).
function erf(z) {
  const size = Math.abs(z);
  if (size > 6) return Math.sign(z); // as float64 has it
  if (size > 2.5) {
    let below = size;
    for (let n = 60; n > 0; n--) below = size + n / 2 / below;
    return Math.sign(z) * (1 - Math.exp(-z * z) / (Math.sqrt(Math.PI) * below));
  }
  let term = z, total = z;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) total += term *= (2 * z * z) / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * total;
}

function standardise({ n, size, w: { mean, std } }, x) {
  const y = new Float32Array(n * size);
  for (let c = 0; c < n; c++) {
    // A channel that never varied in training becomes 0.
    for (let i = c * size; i < (c + 1) * size; i++) y[i] = std[c] ? (x[i] - mean[c]) / std[c] : 0 * (x[i] - mean[c]);
  }
  return y;
}

function normalise({ n, size, w, settings: { eps } }, x) {
  const y = new Float32Array(n * size);
  for (let c = 0; c < n; c++) {
    const scale = (w.weight?.[c] ?? 1) / Math.sqrt(w.running_var[c] + eps);
    const shift = (w.bias?.[c] ?? 0) - w.running_mean[c] * scale;
    for (let i = c * size; i < (c + 1) * size; i++) y[i] = x[i] * scale + shift;
  }
  return y;
}

// A convolution or a dense layer, whose windows cover all of its input: patches times kernels, in each group.
function sumProducts(layer, x) {
  const { n, size, source, settings: { groups = 1 } } = layer;
  const y = new Float32Array(n * size);
  const perGroup = n / groups, seen = source.n / groups;
  layer.doubles ??= Float64Array.from(layer.w.weight.subarray(0, n * seen * layer.kernelSize));
  for (let group = 0; group < groups; group++) {
    const patches = cutPatches(layer, x, group * seen, seen);
    multiply(layer, patches, seen * layer.kernelSize, group * perGroup, (group + 1) * perGroup, y);
  }
  return y;
}

// Per cell of the output, the numbers under its window in some channels of the input: (cells, channels × kernel).
function cutPatches(layer, x, first, nChannels) {
  const { size, height, width, source, kernelSize, settings } = layer;
  if (layer.kind === "dense") return Float64Array.from(x);
  const { kernel: [kh, kw], stride: [sh, sw], padding: [ph, pw], dilation: [dh, dw] } = settings;
  const nTaps = nChannels * kernelSize;
  const patches = new Float64Array(size * nTaps); // zeros, where a window sticks out
  for (let c = 0; c < nChannels; c++) {
    const plane = (first + c) * source.size;
    for (let i = 0; i < kh; i++) {
      for (let row = 0; row < height; row++) {
        const y = row * sh - ph + i * dh;
        if (y < 0 || y >= source.height) continue;
        for (let j = 0; j < kw; j++) {
          let place = row * width * nTaps + c * kernelSize + i * kw + j;
          for (let column = 0, at = j * dw - pw; column < width; column++, at += sw, place += nTaps) {
            if (at >= 0 && at < source.width) patches[place] = x[plane + y * source.width + at];
          }
        }
      }
    }
  }
  return patches;
}

// Four kernels at a time, as each number of a patch is then read once for four products.
function multiply({ size, doubles: weights, w: { bias } }, patches, nTaps, start, stop, y) {
  for (let o = start; o < stop; o += 4) {
    const n = Math.min(4, stop - o);
    // Beyond the last kernel the last one is computed again, and not kept.
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => (o + Math.min(k, n - 1)) * nTaps);
    for (let cell = 0; cell < size; cell++) {
      const place = cell * nTaps;
      let sumA = 0, sumB = 0, sumC = 0, sumD = 0;
      for (let t = 0; t < nTaps; t++) {
        const value = patches[place + t];
        sumA += value * weights[a + t];
        sumB += value * weights[b + t];
        sumC += value * weights[c + t];
        sumD += value * weights[d + t];
      }
      y[o * size + cell] = sumA + (bias ? bias[o] : 0);
      if (n > 1) y[(o + 1) * size + cell] = sumB + (bias ? bias[o + 1] : 0);
      if (n > 2) y[(o + 2) * size + cell] = sumC + (bias ? bias[o + 2] : 0);
      if (n > 3) y[(o + 3) * size + cell] = sumD + (bias ? bias[o + 3] : 0);
    }
  }
}

function pool({ kind, n, height, width, size, source, settings }, x) {
  const { window: [kh, kw], stride: [sh, sw], padding: [ph, pw] } = settings;
  const y = new Float32Array(n * size);
  const isMax = kind === "max_pool";
  for (let c = 0, place = 0; c < n; c++) {
    const plane = x.subarray(c * source.size, (c + 1) * source.size);
    for (let row = 0; row < height; row++) {
      const top = Math.max(0, row * sh - ph), bottom = Math.min(source.height, row * sh - ph + kh);
      for (let column = 0; column < width; column++, place++) {
        const left = Math.max(0, column * sw - pw), right = Math.min(source.width, column * sw - pw + kw);
        let most = -Infinity, sum = 0;
        for (let i = top; i < bottom; i++) {
          for (let j = left; j < right; j++) {
            const value = plane[i * source.width + j];
            sum += value;
            if (!(value <= most)) most = value; // NaN wins
          }
        }
        y[place] = isMax ? most : sum / (kh * kw); // an average pooling that is known has no padding
      }
    }
  }
  return y;
}

function overMaps({ n, source }, x, summarise) {
  const y = new Float32Array(n);
  for (let c = 0; c < n; c++) y[c] = summarise(x.subarray(c * source.size, (c + 1) * source.size));
  return y;
}

const largestOfAll = (values) => values.reduce((most, value) => (value <= most ? most : value), -Infinity);

function softmax(x) {
  const largest = largestOfAll(x);
  const powers = Float64Array.from(x, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return Float32Array.from(powers, (power) => power / total);
}
