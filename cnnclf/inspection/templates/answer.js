// What the page asks of its worker: the outputs of all layers for pixels, for strokes of a pen, or for a picture.

const MOST_PIXELS = 2 ** 24; // of a picture, as in Python

// Raw pixels of a request, channels first.
function pixelsOf({ pixels, strokes, pen, bitmap }, input) {
  if (strokes) return fromInk(inkOfStrokes(strokes, pen, input.frame), input);
  if (!bitmap) return pixels;
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    throw new Error(`Expected a picture of at most ${MOST_PIXELS} pixels; got ${width} × ${height}. Make it smaller.`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return prepare(context.getImageData(0, 0, width, height).data, width, height, input);
}

function answer(network, request) {
  try {
    const pixels = pixelsOf(request, network.input);
    return { pixels, outputs: compute(network.layers, pixels) };
  } catch (error) {
    return { error: error.message };
  }
}

// In a worker: first the network arrives, then requests; a search for a change has a worker of its own, which ends with it.
function serve() {
  let network = null;
  onmessage = ({ data }) => {
    if (data.layers) {
      network = { ...data, layers: openLayers(data.layers, data.numbers) };
    } else if (data.numbers) {
      openLayers(network.layers, data.numbers);
    } else if (data.search) {
      const { pixels, from, to } = data.search;
      for (const step of searchChange(network, pixels, from, to)) {
        postMessage({ ...step, shares: compute(network.layers, step.pixels).at(-1) });
      }
    } else {
      postMessage(answer(network, data));
    }
  };
}
