// A picture or drawn strokes → the pixels that a network takes, by the rules of cnnclf/images and in numpy's order of
// summation, so that they equal Python's. resample.js, which comes first, says what a picture is and has Pillow's part.
// Nothing here touches the page, so a worker can run it.

const ENOUGH_PIXELS = 2 ** 22;  // a larger picture is shrunk first, by averaging
const SMALLEST_SIDE = 56, LARGEST_SIDE = 280;  // of a drawing's longer side while it is cleaned
const FAINTEST = 0.1;  // the smallest contrast, 0 to 1, of a drawing
const FINE_SIDE = 320;  // of the longer side of drawn strokes before they are scaled
const THINNEST = 1.75, THICKEST = 4;  // of a pen, in a digit's box of 20 pixels
const EMPTY = "Expected a drawing that contrasts with its paper; got an even shade. Draw in another colour.";

const { fround } = Math;
const clipped = (x) => smaller(1, larger(0, x));

// The pixels (channels · height · width) of a picture given as rgba, as getImageData gives it.
function prepare(rgba, width, height, spec) {
  const picture = shrunkIfHuge(decoded(rgba, width, height));
  if (spec.preparation === "handwriting") return fromInk(frameDrawing(greyOf(picture), spec), spec);
  if (spec.shape[0] === 1) return asRow(planesOf(fit(greyOf(picture), spec)).map(clipped), spec);
  return asRow(planesOf(fit(coloursOf(picture, spec.shape[0]), spec)).map((x) => clipped(fround(x / 255))), spec);
}

// Ink (height · width), 0 to 1, in the colours of the training images: bright on dark ground if those were dark in the
// mean, and the other way round if they were bright. A fourth channel is opaque.
function fromInk(ink, spec) {
  const [channels] = spec.shape;
  const colours = spec.mean.slice(0, 3);
  const isDark = colours.reduce((sum, mean) => sum + mean, 0) / colours.length < spec.white / 2;
  const planes = new Float32Array(channels * ink.length).fill(1);
  for (let channel = 0; channel < Math.min(channels, 3); channel++) {
    planes.set(isDark ? ink : ink.map((x) => 1 - x), channel * ink.length);
  }
  return asRow(planes, spec);
}

// Planes, 0 to 1, in the unit of the training pixels.
function asRow(planes, spec) {
  return spec.whole ? planes.map((x) => roundEven(fround(x * spec.white))) : planes;
}

// ---- Pictures -------------------------------------------------------------------------------------------------------

function decoded(rgba, width, height) {
  let isOpaque = true;
  for (let i = 3; i < rgba.length && isOpaque; i += 4) isOpaque = rgba[i] === 255;
  return { pixels: rgba, width, height, bands: 4, isOpaque };
}

function shrunkIfHuge(picture) {
  const { width, height, isOpaque } = picture;
  const factor = Math.ceil(Math.sqrt((width * height) / ENOUGH_PIXELS));
  if (factor <= 1) return picture;
  const small = isOpaque ? averaged(picture, factor) : divided(averaged(multiplied(picture), factor));
  return { ...small, isOpaque };
}

// Luma, 0 to 1: of a transparent picture on paper that contrasts with its ink.
function greyOf(picture) {
  const { pixels: rgba, width, height } = picture.isOpaque ? picture : composited(picture, paperUnder(picture));
  const pixels = new Float32Array(width * height);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = fround((299 * rgba[4 * i] + 587 * rgba[4 * i + 1] + 114 * rgba[4 * i + 2]) / 1000) / 255;
  }
  return { pixels, width, height, bands: 1 };
}

// Black under bright ink, white under dark. In Pillow's mode L luma is rounded; its weights are whole numbers of 2⁻¹⁶.
function paperUnder({ pixels: rgba }) {
  let ink = 0, total = 0;
  for (let i = 0; i < rgba.length; i += 4) {
    const luma = (19595 * rgba[i] + 38470 * rgba[i + 1] + 7471 * rgba[i + 2] + 0x8000) >> 16;
    ink += luma * rgba[i + 3];
    total += rgba[i + 3];
  }
  return ink / Math.max(total, 1) > 127.5 ? 0 : 255;
}

// RGB, a transparent picture on white, or RGBA.
function coloursOf(picture, bands) {
  if (bands === 4) return picture;
  const { pixels: rgba, width, height } = picture.isOpaque ? picture : composited(picture, 255);
  const pixels = new Uint8ClampedArray(3 * width * height);
  for (let i = 0; i < pixels.length; i++) pixels[i] = rgba[i + Math.floor(i / 3)];
  return { pixels, width, height, bands };
}

function fit(picture, { shape: [, height, width], preparation }) {
  if (preparation === "resize") return resized(picture, width, height, BICUBIC);
  return picture.width === width && picture.height === height ? picture : padded(picture, height, width);
}

// A picture in proportion, just fitting, on a ground of the median of its outermost pixels.
function padded(picture, height, width) {
  const scale = Math.min(height / picture.height, width / picture.width);
  const fitting = resized(
    picture,
    Math.max(1, roundEven(picture.width * scale)),
    Math.max(1, roundEven(picture.height * scale)),
    BICUBIC,
  );
  const { bands } = picture;
  const ground = Array.from({ length: bands }, (_, band) => median(borderOf(picture, band)));
  const pixels = new Float32Array(height * width * bands).map((_, i) => ground[i % bands]);
  const [top, left] = [Math.floor((height - fitting.height) / 2), Math.floor((width - fitting.width) / 2)];
  return pasted({ pixels, width, height, bands }, fitting, top, left);
}

function pasted(ground, { pixels, width, height, bands }, top, left) {
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width * bands, (y + 1) * width * bands);
    ground.pixels.set(row, ((top + y) * ground.width + left) * bands);
  }
  return ground;
}

// The outermost pixels of one band, those of the corners twice.
function borderOf({ pixels, width, height, bands }, band = 0) {
  const border = [];
  const at = (y, x) => pixels[(y * width + x) * bands + band];
  for (let x = 0; x < width; x++) border.push(at(0, x), at(height - 1, x));
  for (let y = 0; y < height; y++) border.push(at(y, 0), at(y, width - 1));
  return Float32Array.from(border);
}

function median(values) {
  const sorted = values.slice().sort(), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : fround(fround(sorted[half - 1] + sorted[half]) / 2);
}

// Pixels (height · width · bands) as Float32Array (bands · height · width).
function planesOf({ pixels, width, height, bands }) {
  const size = width * height;
  return new Float32Array(size * bands).map((_, i) => pixels[(i % size) * bands + Math.floor(i / size)]);
}

// ---- Handwriting ----------------------------------------------------------------------------------------------------

// The ink, 0 to 1, of a grey picture of a drawing, framed like the training images.
function frameDrawing(grey, { shape: [, height, width], frame }) {
  const isBright = median(borderOf(grey)) > 0.5;
  const ink = isBright ? { ...grey, pixels: grey.pixels.map((x) => 1 - x) } : grey;
  // The pixels of scikit-learn's digits are already means of blocks, and cannot be framed without the blocks' own.
  if (frame.block > 1 && grey.width === width && grey.height === height) return ink.pixels;
  return frameInk(cleanInk(enlarged(ink)), frame);
}

// Repeat the pixels of a small picture, so that its strokes are some pixels wide when it is cleaned.
function enlarged(picture) {
  const { pixels, width, height, bands } = picture;
  const factor = Math.ceil(SMALLEST_SIDE / Math.max(width, height));
  if (factor === 1) return picture;
  const [newWidth, newHeight] = [width * factor, height * factor];
  const repeated = new Float32Array(newWidth * newHeight).map((_, i) => {
    const [x, y] = [i % newWidth, Math.floor(i / newWidth)].map((place) => Math.floor(place / factor));
    return pixels[y * width + x];
  });
  return { pixels: repeated, width: newWidth, height: newHeight, bands };
}

// The ink, 0 to 1, of a picture of bright ink on a darker ground. Otsu's threshold finds it in the blurred picture; the
// pixels around it keep their grey, so that edges stay smooth, and all others are ground.
function cleanInk(picture) {
  const small = shrunk(picture, LARGEST_SIDE);
  const light = lightOf(small);
  const pixels = small.pixels.map((x, i) => x - light[i]);
  const levels = blurred(bytesOf({ ...small, pixels }), 1.5);
  if (levels.pixels.reduce(larger) - levels.pixels.reduce(smaller) < FAINTEST * 255) throw new Error(EMPTY);
  const threshold = otsuThreshold(levels.pixels);
  const isInk = levels.pixels.map((level) => (level > threshold ? 1 : 0));
  const near = ranked({ ...small, pixels: isInk }, 5, larger).pixels;
  const paper = median(pixels.filter((_, i) => !isInk[i]));
  // Blurred ink is broader than ink: of a line one pixel wide, only a third of the blurred pixels is ink.
  const contrast = fround(quantile(pixels.filter((_, i) => isInk[i]), 0.9) - paper);
  return { ...small, pixels: pixels.map((x, i) => (near[i] ? clipped(fround(fround(x - paper) / contrast)) : 0)) };
}

function shrunk(picture, largestSide) {
  const scale = Math.min(1, largestSide / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((length) => Math.max(1, roundEven(length * scale)));
  return resized(picture, width, height, BOX);
}

function bytesOf(picture) {
  return { ...picture, pixels: Uint8ClampedArray.from(picture.pixels, (x) => roundEven(fround(clipped(x) * 255))) };
}

// The ground under bright ink, uneven in a photograph: an opening, of a tiny picture, that is wider than the ink.
function lightOf(picture) {
  const tiny = bytesOf(shrunk(picture, 36));
  const ground = blurred(ranked(ranked(tiny, 13, smaller), 13, larger), 4);
  const floats = { ...ground, pixels: Float32Array.from(ground.pixels) };
  return resized(floats, picture.width, picture.height, BILINEAR).pixels.map((x) => x / 255);
}

// The level that divides a picture into two classes with the largest variance between them.
function otsuThreshold(levels) {
  const counts = new Array(256).fill(0);
  for (const level of levels) counts[level]++;
  let below = 0, mass = 0;
  const sums = counts.map((count, level) => {
    const share = count / levels.length;
    return [(below += share), (mass += share * level)];
  });
  let best = 0, largest = -Infinity;
  sums.forEach(([below, massBelow], level) => {
    const variance = (mass * below - massBelow) ** 2 / (below * (1 - below));
    if (variance > largest) [best, largest] = [level, variance];  // NaN, where one class is empty, is not
  });
  return best;
}

// As numpy.quantile of 32-bit floats, which interpolates from the nearer of two values.
function quantile(values, q) {
  const sorted = values.slice().sort();
  const place = (sorted.length - 1) * q, low = Math.floor(place), t = place - low;
  const a = sorted[low], b = sorted[Math.min(low + 1, sorted.length - 1)], step = fround(b - a);
  return t < 0.5 ? fround(a + fround(step * fround(t))) : fround(b - fround(step * fround(1 - t)));
}

// ---- Framing --------------------------------------------------------------------------------------------------------

// Scale and place drawn ink like the digits of the training set: Float32Array (height · width), 0 to 1.
function frameInk(ink, { canvas: [height, width], box, in_proportion: inProportion, block }) {
  const crop = cropped(ink);
  const scale = Math.min(box[0] / crop.height, box[1] / crop.width);
  const lengthOf = (length) => Math.max(1, roundEven(length * scale));
  const [newHeight, newWidth] = inProportion ? [lengthOf(crop.height), lengthOf(crop.width)] : box;
  const scaled = resized(crop, newWidth, newHeight, BOX);
  const [middleY, middleX] = inProportion ? centreOfMass(scaled) : [newHeight / 2, newWidth / 2];
  // To the pixel n/2, counted from 0, as in MNIST; but no ink is cut off.
  const startOf = (side, middle, length) => Math.min(Math.max(Math.ceil((side - 1) / 2 - middle), 0), side - length);
  const field = { pixels: new Float32Array(height * width), width, height, bands: 1 };
  pasted(field, scaled, startOf(height, middleY, newHeight), startOf(width, middleX, newWidth));
  const means = meansOfBlocks(field, block);
  const most = means.reduce(larger);
  return means.map((x) => x / most);  // thin strokes are grey after scaling
}

// A picture without the margins that have no ink.
function cropped({ pixels, width, height, bands }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  pixels.forEach((x, i) => {
    if (x === 0) return;
    const column = i % width, row = (i - column) / width;
    [left, right] = [smaller(left, column), larger(right, column)];
    [top, bottom] = [smaller(top, row), larger(bottom, row)];
  });
  if (right < 0) throw new Error(EMPTY);
  const [newWidth, newHeight] = [right - left + 1, bottom - top + 1];
  const inside = new Float32Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const start = (top + y) * width + left;
    inside.set(pixels.subarray(start, start + newWidth), y * newWidth);
  }
  return { pixels: inside, width: newWidth, height: newHeight, bands };
}

// [row, column], from the sums of the rows and of the columns.
function centreOfMass({ pixels, width, height }) {
  const rows = new Float32Array(height), columns = new Float32Array(width);
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * width, (y + 1) * width);
    rows[y] = pairwiseSum(row);
    row.forEach((x, column) => { columns[column] += x; });
  }
  if (width === 1) columns[0] = pairwiseSum(pixels);  // numpy takes a single column for a row
  return [rows, columns].map((weights) => {
    const doubles = Float64Array.from(weights);
    return pairwiseSum(doubles.map((weight, i) => weight * i)) / pairwiseSum(doubles);
  });
}

// The sum of an array in its own precision, in numpy's order: eight sums of every eighth number, of at most 128.
function pairwiseSum(values) {
  const n = values.length, sums = values.slice(0, 8);
  if (n > 128) {
    const half = (n >> 1) - ((n >> 1) % 8);
    sums[0] = pairwiseSum(values.subarray(0, half)) + pairwiseSum(values.subarray(half));
    return sums[0];
  }
  const start = n < 8 ? 1 : n - (n % 8);
  for (let i = 8; i < start; i++) sums[i % 8] += values[i];
  if (n >= 8) for (const step of [1, 2, 4]) for (let i = 0; i < 8; i += 2 * step) sums[i] += sums[i + step];
  for (let i = start; i < n; i++) sums[0] += values[i];
  return sums[0];
}

function meansOfBlocks({ pixels, width, height }, block) {
  const columns = width / block;
  const sums = new Float32Array(columns * (height / block));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x += block) {
      const part = pairwiseSum(pixels.subarray(y * width + x, y * width + x + block));
      sums[Math.floor(y / block) * columns + x / block] += part;
    }
  }
  return sums.map((sum) => sum / block ** 2);
}

// ---- Strokes --------------------------------------------------------------------------------------------------------

// The ink (height · width), 0 to 1, of strokes, each an array of points [x, y] from 0 to 1000, with a round pen. Its
// width is clipped to that of MNIST's pens, as a small digit would be a blot otherwise and a large one a hairline.
function inkOfStrokes(strokes, penWidth, frame) {
  const points = strokes.flat();
  if (points.length === 0) throw new Error("Expected a drawing of one stroke or more; got none. Draw a digit.");
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const [left, top] = [xs, ys].map((places) => places.reduce(smaller));
  const [breadth, depth] = [xs.reduce(larger) - left, ys.reduce(larger) - top];
  const longest = Math.max(breadth, depth);
  // A pen of t pixels in a box of 20 leaves 20 − t for the path of its centre.
  const [thinnest, thickest] = [THINNEST, THICKEST].map((t) => (longest * t) / (20 - t));
  const pen = longest ? Math.min(Math.max(penWidth, thinnest), thickest) : penWidth;
  const scale = FINE_SIDE / (longest + pen), radius = (scale * pen) / 2;
  const [width, height] = [breadth, depth].map((length) => Math.ceil(length * scale + 2 * radius) + 1);
  const paper = { pixels: new Float32Array(width * height), width, height, bands: 1 };
  for (const stroke of strokes) {
    // Pillow draws a dot from a whole pixel to a whole pixel, both inclusive: hence its middle and its radius here.
    const middleOf = (place) => (Math.trunc(place - radius) + Math.trunc(place + radius)) / 2;
    const way = stroke.map(([x, y]) => [(x - left) * scale + radius, (y - top) * scale + radius].map(middleOf));
    way.forEach((point, i) => inkSegment(paper, way[Math.max(0, i - 1)], point, radius + 0.4));
  }
  return frameInk(paper, frame);
}

// Ink the pixels whose centres are within a radius of the segment from a to b.
function inkSegment({ pixels, width, height }, [ax, ay], [bx, by], radius) {
  const [dx, dy] = [bx - ax, by - ay];
  const squared = dx * dx + dy * dy || 1;  // of the length; a dot has none
  const first = (a, b) => Math.max(0, Math.ceil(Math.min(a, b) - radius));
  const last = (a, b, length) => Math.min(length - 1, Math.floor(Math.max(a, b) + radius));
  const [left, right] = [first(ax, bx), last(ax, bx, width)];
  for (let y = first(ay, by), bottom = last(ay, by, height); y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      if (pixels[y * width + x]) continue;
      const share = clipped(((x - ax) * dx + (y - ay) * dy) / squared);
      const [offX, offY] = [x - ax - share * dx, y - ay - share * dy];
      if (offX * offX + offY * offY <= radius * radius) pixels[y * width + x] = 1;
    }
  }
}
