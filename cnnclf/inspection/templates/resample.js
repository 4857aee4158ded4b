// Pillow's resizing and filters, to the bit, so that a page prepares a picture exactly as Python does.
// A picture is {pixels, width, height, bands}: rows of pixels, each of one number for each band. Its pixels are bytes,
// in a Uint8ClampedArray, or floats in a Float32Array. Four bands are RGBA, whose colours are not multiplied by alpha.

// How much a pixel weighs at a distance, in pixels of the coarser of the two pictures, and from where on nothing.
const BOX = { support: 0.5, weigh: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const BILINEAR = { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) };
const BICUBIC = { support: 2, weigh: (x) => weighBicubic(Math.abs(x), -0.5) };

// The fraction of a weight for bytes: 32 bits less 8 for the byte and 2 for the sign and for weights above 1.
const WEIGHT_BITS = 22;

function weighBicubic(x, a) {
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Of Python's round and of numpy's rint: halves go to the even neighbour.
function roundEven(x) {
  const up = Math.floor(x + 0.5);
  return up - x === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

// ---- Resizing -------------------------------------------------------------------------------------------------------

function resized(picture, width, height, filter) {
  if (picture.width === width && picture.height === height) return picture;
  let result = picture.bands === 4 ? multiplied(picture) : picture;  // else transparent pixels would bleed
  // The order decides the last bits. Columns come first where that drops more than twice as many pixels of a line.
  const dropped = picture.height - height;
  const passes = [[width, false], [height, true]];
  if (dropped > Math.max(0, 2 * (picture.width - width))) passes.reverse();
  for (const [length, isVertical] of passes) {
    if ((isVertical ? result.height : result.width) !== length) result = resampled(result, length, filter, isVertical);
  }
  return picture.bands === 4 ? divided(result) : result;
}

// One of the two passes: all rows, or all columns if it is vertical, to another length.
function resampled({ pixels, width, height, bands }, length, filter, isVertical) {
  const isBytes = pixels instanceof Uint8ClampedArray;
  const { starts, counts, weights, most } = weightsOf(isVertical ? height : width, length, filter, isBytes);
  const [newWidth, newHeight] = isVertical ? [width, length] : [length, height];
  const result = new pixels.constructor(newWidth * newHeight * bands);
  const step = isVertical ? width * bands : bands;
  let place = 0;
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      const i = isVertical ? y : x;
      const first = (isVertical ? starts[i] * width + x : y * width + starts[i]) * bands;
      for (let band = 0; band < bands; band++) {
        let sum = isBytes ? 1 << (WEIGHT_BITS - 1) : 0;  // a half rounds bytes
        for (let tap = 0, at = first + band; tap < counts[i]; tap++, at += step) {
          sum += pixels[at] * weights[i * most + tap];
        }
        result[place++] = isBytes ? sum >> WEIGHT_BITS : sum;  // the array clips bytes, and rounds floats to 32 bits
      }
    }
  }
  return { pixels: result, width: newWidth, height: newHeight, bands };
}

// For each new pixel of a line, the first old one that counts, how many do, and their weights, of sum 1.
function weightsOf(oldLength, newLength, { support, weigh }, isFixed) {
  const scale = oldLength / newLength, stretch = Math.max(1, scale);  // a filter is stretched where it shrinks
  const reach = support * stretch;
  const most = 2 * Math.ceil(reach) + 1;
  const starts = new Int32Array(newLength), counts = new Int32Array(newLength);
  const weights = new Float64Array(newLength * most);
  for (let i = 0; i < newLength; i++) {
    const centre = (i + 0.5) * scale;
    starts[i] = Math.max(0, Math.trunc(centre - reach + 0.5));
    counts[i] = Math.min(oldLength, Math.trunc(centre + reach + 0.5)) - starts[i];
    const own = weights.subarray(i * most, i * most + counts[i]);
    let total = 0;
    for (let tap = 0; tap < own.length; tap++) {
      own[tap] = weigh((tap + starts[i] - centre + 0.5) * (1 / stretch));
      total += own[tap];
    }
    for (let tap = 0; tap < own.length; tap++) {
      if (total !== 0) own[tap] /= total;
      if (isFixed) own[tap] = Math.trunc(own[tap] * 2 ** WEIGHT_BITS + (own[tap] < 0 ? -0.5 : 0.5));
    }
  }
  return { starts, counts, weights, most };
}

// Shrink a picture of bytes by a whole factor: each new pixel is the mean of a square, of less at the right and bottom.
function averaged({ pixels, width, height, bands }, factor) {
  const newWidth = Math.ceil(width / factor), newHeight = Math.ceil(height / factor);
  const result = new Uint8ClampedArray(newWidth * newHeight * bands);
  let place = 0;
  for (let top = 0; top < height; top += factor) {
    const bottom = Math.min(top + factor, height);
    for (let left = 0; left < width; left += factor) {
      const right = Math.min(left + factor, width);
      const count = (bottom - top) * (right - left);
      const reciprocal = Math.trunc(Math.fround(2 ** 24 / count));
      for (let band = 0; band < bands; band++) {
        let sum = count >> 1;
        for (let y = top; y < bottom; y++) {
          for (let x = left, at = (y * width + left) * bands + band; x < right; x++, at += bands) sum += pixels[at];
        }
        result[place++] = (sum * reciprocal) >>> 24;
      }
    }
  }
  return { pixels: result, width: newWidth, height: newHeight, bands };
}

// ---- Transparency ---------------------------------------------------------------------------------------------------

// RGBA with its colours multiplied by alpha, as means of pixels need it.
function multiplied(picture) {
  const pixels = picture.pixels.slice();
  for (let i = 0; i < pixels.length; i++) {
    if (i % 4 === 3) continue;
    const product = pixels[i] * pixels[i | 3] + 128;
    pixels[i] = (product + (product >> 8)) >> 8;  // product / 255, rounded
  }
  return { ...picture, pixels };
}

function divided(picture) {
  const pixels = picture.pixels.slice();
  for (let i = 0; i < pixels.length; i++) {
    const alpha = pixels[i | 3];
    if (i % 4 < 3 && alpha > 0 && alpha < 255) pixels[i] = Math.floor((255 * pixels[i]) / alpha);
  }
  return { ...picture, pixels };
}

// RGBA laid on an opaque ground of one level.
function composited(picture, ground) {
  const pixels = picture.pixels.slice();
  for (let i = 0; i < pixels.length; i++) {
    const alpha = picture.pixels[i | 3];
    const mixed = 128 * (picture.pixels[i] * alpha + ground * (255 - alpha) + 128);
    pixels[i] = i % 4 === 3 ? 255 : (mixed + (mixed >> 8)) >> 15;
  }
  return { ...picture, pixels };
}

// ---- Filters of pictures of one band of bytes -----------------------------------------------------------------------

const smaller = (a, b) => (a < b ? a : b);
const larger = (a, b) => (a > b ? a : b);

// The smallest or the largest pixel of the square, of an odd size, around each pixel.
function ranked(picture, size, choose) {
  const { width, height } = picture, reach = (size - 1) / 2;
  const along = (pixels, length, step) => pixels.map((chosen, at) => {
    const i = Math.floor(at / step) % length;
    for (let j = larger(0, i - reach); j <= smaller(length - 1, i + reach); j++) {
      chosen = choose(chosen, pixels[at + (j - i) * step]);
    }
    return chosen;
  });
  return { ...picture, pixels: along(along(picture.pixels, width, 1), height, width) };
}

// Three box blurs along the rows, then three along the columns, rounded to bytes after each, come near to a Gaussian.
function blurred(picture, sigma) {
  const { width, height } = picture, pixels = picture.pixels.slice();
  const box = boxOfSigma(sigma, 3);
  for (let y = 0; y < height; y++) for (let i = 0; i < 3; i++) blurLine(pixels, y * width, 1, width, box);
  for (let x = 0; x < width; x++) for (let i = 0; i < 3; i++) blurLine(pixels, x, width, height, box);
  return { ...picture, pixels };
}

// The box of n blurs whose variances add up to sigma², in 32-bit floats: how many whole pixels it reaches, and the
// weights, in 2⁻²⁴, of each of them and of the one pixel beyond them at either end.
function boxOfSigma(sigma, n) {
  const { fround } = Math;
  const variance = fround((sigma * sigma) / n);
  const whole = Math.floor((fround(Math.sqrt(12 * variance + 1)) - 1) / 2);
  const rest = fround((2 * whole + 1) * fround(whole * (whole + 1) - fround(3 * variance)));
  const radius = fround(whole + fround(rest / fround(6 * fround(variance - (whole + 1) ** 2))));
  const reach = Math.trunc(radius);
  const inner = Math.trunc(fround(2 ** 24 / fround(2 * radius + 1)));
  return { reach, inner, outer: Math.trunc((2 ** 24 - (2 * reach + 1) * inner) / 2) };
}

// One box blur of a line of pixels, in place. Beyond its ends the line goes on as it ends.
function blurLine(pixels, start, step, length, { reach, inner, outer }) {
  const line = new Uint8Array(length + 2 * reach + 2);
  for (let i = 0; i < line.length; i++) {
    line[i] = pixels[start + smaller(length - 1, larger(0, i - reach - 1)) * step];
  }
  let sum = 0;
  for (let i = 0; i < 2 * reach + 1; i++) sum += line[i];
  for (let i = 0; i < length; i++) {
    const last = i + 2 * reach + 2;
    sum += line[last - 1] - line[i];
    pixels[start + i * step] = (sum * inner + (line[i] + line[last]) * outer + 2 ** 23) >>> 24;
  }
}
