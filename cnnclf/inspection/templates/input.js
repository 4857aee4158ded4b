// ---- The image: drawn, painted, picked or dropped ------------------------------------------------------------------------

// A state of the pad: strokes of [x, y] in 1000ths of its side, or the network's raw pixels; what erasing brings back.
const SIDE = 1000, PEN = 80;
const STEP = 6; // a point nearer to the last one adds nothing
const MOST_POINTS = 10000;
const QUIET = 700; // milliseconds without a change before a screen reader is told
const MOST_UNDONE = 100;

const [nChannels, nRows, nColumns] = input.shape;
const pad = byId("pad"), paper = pad.getContext("2d");
const blank = Float32Array.from({ length: nChannels * nRows * nColumns }, (_, i) => input.ground[Math.floor(i / (nRows * nColumns))]);
const drawing = { strokes: [], pixels: blank, original: blank, tool: input.frame ? "draw" : "paint", history: [], cursor: null };

// Strokes are on a square; pixels keep their proportions, unless they would be too thin to point at.
if (!input.frame) styled(pad.parentElement, { aspect: Math.max(1 / 3, Math.min(3, nColumns / nRows)) });

const sampleImages = readSamples();

function readSamples() {
  if (!samples.n) return [];
  const bytes = Uint8Array.from(atob(byId("samples").textContent), (letter) => letter.charCodeAt(0));
  const values = samples.dtype === "uint8" ? bytes : new Float32Array(bytes.buffer);
  return Array.from({ length: samples.n }, (_, i) => Float32Array.from(values.subarray(i * blank.length, (i + 1) * blank.length)));
}

// ---- Asking the worker: one request at a time, and after its answer the newest one ------------------------------------------

let worker = null, isAsking = false, waiting = null, asked = null;

function startWorker() {
  const source = `${byId("engine").textContent}\nserve();`;
  const started = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const { layers: plain } = JSON.parse(byId("network").textContent);
  started.postMessage({ layers: plain, input, numbers });
  return started;
}

try {
  worker = startWorker();
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => { // the browser allows none: the page computes by itself
    event.preventDefault();
    worker = null;
    isAsking = false;
    if ((waiting ??= asked)) send();
  };
} catch {
  worker = null;
}

function ask(request) {
  waiting = request;
  if (!isAsking) send();
}

function send() {
  asked = waiting;
  waiting = null;
  isAsking = true;
  if (worker) worker.postMessage(asked, asked.bitmap ? [asked.bitmap] : []);
  else setTimeout(() => receive(answer({ layers, input }, asked)));
}

function receive({ error, pixels, outputs }) {
  const { bitmap } = asked;
  isAsking = false;
  if (waiting) send(); // the worker computes while the page shows this answer
  byId("trouble").hidden = !error;
  byId("trouble").textContent = error ?? "";
  if (error) return;
  if (bitmap) takeImage(pixels);
  else if (!isAsking) drawing.pixels = pixels; // else there are newer ones
  show(outputs);
}

// ---- Showing an image and what the network makes of it ------------------------------------------------------------------------

function show(outputs) {
  setOutputs(outputs);
  for (const layer of layers) {
    if (isVisible(layer)) for (const view of layer.views) view.paint();
    fillClasses(layer);
  }
  paintPad();
  large?.paint();
  showAnswer();
  draw();
  for (const listener of onImage) listener();
}

const onImage = []; // functions that are called with each new image

const isEmpty = () => drawing.strokes.length === 0 && drawing.pixels.every((value, i) => value === blank[i]);

function paintPad() {
  const isDrawn = drawing.tool === "draw";
  pad.width = isDrawn ? SIDE : nColumns;
  pad.height = isDrawn ? SIDE : nRows;
  pad.classList.toggle("pixels", !isDrawn);
  byId("hint").hidden = !isDrawn || drawing.strokes.length > 0;
  if (isDrawn) return paintStrokes();
  paper.drawImage(pictureOf(drawing.pixels), 0, 0);
}

// A canvas of raw pixels, in their colours.
function pictureOf(pixels) {
  const canvas = make("canvas", { width: nColumns, height: nRows }), picture = new ImageData(nColumns, nRows);
  paintPixels(picture, 0, 0, { values: pixels, width: nColumns, size: nRows * nColumns }, nChannels >= 3 ? [0, 1, 2] : [0, 0, 0]);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function paintStrokes() {
  paper.strokeStyle = getComputedStyle(pad).color;
  paper.lineWidth = PEN;
  paper.lineCap = paper.lineJoin = "round";
  for (const points of drawing.strokes) {
    paper.beginPath();
    paper.moveTo(...points[0]);
    for (const point of points) paper.lineTo(...point);
    paper.stroke();
  }
}

const heading = document.title;
const bars = classes.map((label) => {
  const parts = ["span", "i", "span"].map((tag) => make(tag));
  parts[0].textContent = label;
  const item = make("li", { title: label }, parts);
  byId("bars").append(item);
  return { item, share: parts[1], written: parts[2] };
});

function showAnswer() {
  const shares = layers.at(-1).values, first = shares.indexOf(layers.at(-1).high);
  for (const [i, { item, share, written }] of bars.entries()) {
    item.classList.toggle("first", i === first);
    styled(share, { share: shares[i] });
    written.textContent = percent(shareOf(shares, i));
  }
  const sure = percent(shareOf(shares, first));
  byId("label").textContent = isEmpty() ? "?" : classes[first];
  byId("how-sure").textContent = isEmpty() ? "This image is empty." : `with ${sure}`;
  document.title = isEmpty() ? heading : `${classes[first]} with ${sure} – ${heading}`;
  byId("caution").textContent = isEmpty() ? "" : caution(shares[first]);
  pad.setAttribute("aria-label", isEmpty() ? padName() : `The image, read as ${classes[first]}. ${padName()}`);
  clearTimeout(showAnswer.timer);
  showAnswer.timer = setTimeout(() => { byId("said").textContent = isEmpty() ? "" : `${classes[first]}, ${sure}`; }, QUIET);
}

const padName = () => (drawing.tool === "draw" ? "Draw with mouse, pen or finger; space puts the pen down and lifts it, arrow keys move it." : "Arrow keys move, space paints, delete erases.");

function caution(share) {
  if (share < 0.5) return "The network does not know: no class has half of the probability.";
  if (share < 0.9) return "The network is unsure. Such answers are wrong more often than others.";
  return "A high probability does not show that the image is of any class: networks are sure of scribbles, too.";
}

// ---- Changing the image ---------------------------------------------------------------------------------------------------------

function keep() {
  const { strokes, pixels, original, tool } = drawing;
  drawing.history.push({ strokes: strokes.map((points) => [...points]), pixels, original, tool });
  if (drawing.history.length > MOST_UNDONE) drawing.history.shift();
  byId("undo").disabled = false;
}

function readDrawing() {
  if (drawing.strokes.length) ask({ strokes: drawing.strokes, pen: PEN });
  else ask({ pixels: drawing.pixels });
}

function takeImage(pixels, tool = "paint") {
  keep();
  Object.assign(drawing, { strokes: [], pixels, original: pixels });
  setTool(tool);
}

function setImage(pixels, tool) {
  takeImage(pixels, tool);
  ask({ pixels });
}

const clear = () => setImage(blank, input.frame ? "draw" : "paint");

function undo() {
  const before = drawing.history.pop();
  if (!before) return;
  Object.assign(drawing, before);
  setTool(before.tool);
  readDrawing();
}

function setTool(tool) {
  drawing.tool = tool;
  for (const button of document.querySelectorAll("[data-tool]")) button.ariaPressed = String(button.dataset.tool === tool);
  byId("ink").hidden = tool !== "paint";
  byId("undo").disabled = drawing.history.length === 0;
  pen.isDown = false;
  markCursor();
  paintPad();
}

function chooseTool(tool) {
  if (tool === "draw" && drawing.tool !== "draw" && !drawing.strokes.length && !isEmpty()) {
    setImage(blank, tool);
  }
  setTool(tool);
}

// The raw values, one per channel, that painting leaves.
function inkValues() {
  const ink = byId("ink");
  const bytes = ink.type === "color" ? [1, 3, 5].map((i) => parseInt(ink.value.slice(i, i + 2), 16)) : [Number(ink.value)];
  return Array.from({ length: nChannels }, (_, c) => {
    const value = input.black + ((input.white - input.black) * (c === 3 ? 255 : bytes[c] ?? bytes[0])) / 255;
    return input.whole ? Math.round(value) : value;
  });
}

function setPixel(row, column, erases) {
  if (row < 0 || column < 0 || row >= nRows || column >= nColumns) return;
  const values = erases ? null : inkValues();
  if (drawing.strokes.length) drawing.original = blank;
  const pixels = drawing.pixels.slice();
  for (let c = 0; c < nChannels; c++) {
    const place = (c * nRows + row) * nColumns + column;
    pixels[place] = values ? values[c] : (input.frame ? blank : drawing.original)[place];
  }
  Object.assign(drawing, { pixels, strokes: [] });
}

// ---- Pointers -------------------------------------------------------------------------------------------------------------------

let pointer = null, lastPixel = null;

function placeOf(event, width, height) {
  const box = pad.getBoundingClientRect();
  const along = (at, start, length, n) => Math.min(n, Math.max(0, ((at - start) / length) * n));
  return [along(event.clientX, box.left, box.width, width), along(event.clientY, box.top, box.height, height)];
}

function extendStroke(event) {
  const points = drawing.strokes.at(-1), [x, y] = placeOf(event, SIDE, SIDE).map(Math.round), [x0, y0] = points.at(-1);
  const n = drawing.strokes.reduce((total, stroke) => total + stroke.length, 0);
  if (Math.hypot(x - x0, y - y0) >= STEP && n < MOST_POINTS) points.push([x, y]);
}

// All pixels on the way from the last one.
function paintTo(event) {
  const to = placeOf(event, nColumns, nRows).map((at, axis) => Math.min(Math.floor(at), [nColumns, nRows][axis] - 1));
  const from = lastPixel ?? to;
  const n = Math.max(1, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  for (let i = 0; i <= n; i++) {
    const [column, row] = [0, 1].map((axis) => Math.round(from[axis] + ((to[axis] - from[axis]) * i) / n));
    setPixel(row, column, drawing.tool === "erase");
  }
  lastPixel = to;
}

// ---- Keys, buttons, pictures ------------------------------------------------------------------------------------------------------

// The pen of the keyboard: space puts it down or lifts it; while it is down, the arrow keys draw.
const pen = { x: SIDE / 2, y: SIDE / 2, isDown: false, step: SIDE / 25 };

function movePen(rows, columns_) {
  pen.x = Math.max(0, Math.min(SIDE, pen.x + columns_ * pen.step));
  pen.y = Math.max(0, Math.min(SIDE, pen.y + rows * pen.step));
  if (pen.isDown) {
    drawing.strokes.at(-1).push([pen.x, pen.y]);
    paintPad();
    readDrawing();
  }
  markCursor();
}

function putPen() {
  pen.isDown = !pen.isDown;
  if (pen.isDown) {
    keep();
    drawing.strokes.push([[pen.x, pen.y]]);
    paintPad();
    readDrawing();
  }
  markCursor();
}

function moveCursor(rows, columns_) {
  if (drawing.tool === "draw") return movePen(rows, columns_);
  const [row, column] = drawing.cursor ?? [Math.floor(nRows / 2), Math.floor(nColumns / 2)];
  drawing.cursor = [Math.max(0, Math.min(nRows - 1, row + rows)), Math.max(0, Math.min(nColumns - 1, column + columns_))];
  markCursor();
}

function markCursor() {
  const [row, column] = drawing.cursor ?? [0, 0], isDrawn = drawing.tool === "draw", width = PEN / SIDE;
  const mark = byId("cursor");
  mark.hidden = (!isDrawn && drawing.cursor === null) || !pad.matches(":focus-visible");
  if (isDrawn) styled(mark, { x: pen.x / SIDE - width / 2, y: pen.y / SIDE - width / 2, w: width, h: width });
  else styled(mark, { x: column / nColumns, y: row / nRows, w: 1 / nColumns, h: 1 / nRows });
  if (!mark.hidden) byId("said").textContent = isDrawn ? `pen ${pen.isDown ? "down" : "up"}` : `row ${row}, column ${column}`;
}

function paintAtCursor(erases) {
  if (drawing.tool === "draw") return undo();
  if (!drawing.cursor) return;
  keep();
  setPixel(...drawing.cursor, erases);
  ask({ pixels: drawing.pixels });
}

const ON_PAD = {
  ArrowUp: () => moveCursor(-1, 0), ArrowDown: () => moveCursor(1, 0),
  ArrowLeft: () => moveCursor(0, -1), ArrowRight: () => moveCursor(0, 1),
  " ": () => (drawing.tool === "draw" ? putPen() : paintAtCursor(drawing.tool === "erase")), Delete: () => paintAtCursor(true), Backspace: () => paintAtCursor(true),
};

async function takePicture(file) {
  if (!file) return;
  try {
    ask({ bitmap: await createImageBitmap(file, { premultiplyAlpha: "none", colorSpaceConversion: "none" }) });
  } catch {
    byId("trouble").hidden = false;
    byId("trouble").textContent = `Expected a picture that this browser can show; got ${file.name || "another file"}. Save it as PNG.`;
  }
}

// Else a file that is dropped would take the page's place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

// A page that shows one recorded image takes no other.
function listenForInput() {
  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    event.preventDefault();
    pad.focus({ preventScroll: true });
    pointer = event.pointerId;
    pen.isDown = false;
    pad.setPointerCapture(pointer);
    keep();
    if (drawing.tool === "draw") drawing.strokes.push([placeOf(event, SIDE, SIDE).map(Math.round)]);
    else paintTo(event);
    paintPad();
    readDrawing();
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) drawing.tool === "draw" ? extendStroke(each) : paintTo(each);
    paintPad();
    readDrawing();
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
    pad.addEventListener(end, (event) => {
      if (event.pointerId === pointer) pointer = lastPixel = null;
    });
  }

  pad.addEventListener("keydown", (event) => {
    const action = ON_PAD[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
  pad.addEventListener("blur", markCursor);
  pad.addEventListener("focus", markCursor);

  byId("clear").onclick = clear;
  byId("undo").onclick = undo;
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => chooseTool(button.dataset.tool);
  addEventListener("pagehide", remember);
  addEventListener("keydown", (event) => {
    if (event.key?.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    undo();
  });
  if (input.takesPictures) {
    byId("picture").onchange = ({ target }) => {
      takePicture(target.files[0]);
      target.value = ""; // so that the same file can be chosen again
    };
    addEventListener("drop", (event) => takePicture(event.dataTransfer.files[0]));
    addEventListener("paste", ({ clipboardData }) => takePicture(clipboardData.files[0]));
  }
}

function addSamples() {
  for (const [i, pixels] of sampleImages.entries()) {
    const button = make("button", { type: "button", className: "sample", ariaLabel: `sample ${i}` }, pictureOf(pixels));
    button.onclick = () => setImage(pixels);
    byId("sample-list").append(button);
  }
}

// ---- Kept over a reload -----------------------------------------------------------------------------------------------------------

function remember() {
  const { strokes, pixels, original, tool } = drawing;
  try {
    sessionStorage.setItem(key, JSON.stringify({ strokes, tool, pixels: [...pixels], original: [...original] }));
  } catch { /* where a browser keeps nothing, nothing is kept */ }
}

function recall() {
  try {
    const { strokes, tool, pixels, original } = JSON.parse(sessionStorage.getItem(key));
    Object.assign(drawing, { strokes, pixels: Float32Array.from(pixels), original: Float32Array.from(original), tool });
    return true;
  } catch {
    return false;
  }
}

// For those who embed the page, and for tests: raw pixels, channels first, to probabilities by the weights that are shown.
window.cnnclf = {
  classes,
  predict(pixels) {
    if (pixels?.length === blank.length) return compute(layers, pixels).at(-1);
    throw new Error(`Expected ${blank.length} pixels, ${input.shape.join(" × ")}, channels first; got ${pixels?.length ?? "no array"}. Pass one flat array.`);
  },
};
