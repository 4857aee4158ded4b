// Points are [x, y] in units of the pad's canvas, whatever its size on the screen. What was drawn is sent as a whole:
// one request at a time, and when its answer is there the newest drawing, so that the page is never behind.

const byId = (id) => document.getElementById(id);
const { side, most_points: mostPoints, labels, size: [height, width] } = JSON.parse(byId("settings").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const pad = byId("pad"), pen = pad.getContext("2d");

const PEN = 80;  // wide
const STEP = 6;  // a point nearer to the last one adds nothing
const QUIET = 700;  // milliseconds without a change before a screen reader is told

let strokes = [];
let pointer = null;  // the one that draws

// ---- Drawing ---------------------------------------------------------------------------------------------------------

function paint() {
  pen.clearRect(0, 0, side, side);
  pen.strokeStyle = getComputedStyle(pad).color;
  pen.lineWidth = PEN;
  pen.lineCap = pen.lineJoin = "round";
  for (const points of strokes) {
    pen.beginPath();
    pen.moveTo(...points[0]);
    for (const point of points) pen.lineTo(...point);
    pen.stroke();
  }
}

function place(event) {
  const box = pad.getBoundingClientRect();
  const along = (at, start, length) => Math.min(side, Math.max(0, Math.round(((at - start) / length) * side)));
  return [along(event.clientX, box.left, box.width), along(event.clientY, box.top, box.height)];
}

function extend(event) {
  const points = strokes.at(-1), [x, y] = place(event), [x0, y0] = points.at(-1);
  const n = strokes.reduce((total, stroke) => total + stroke.length, 0);
  if (Math.hypot(x - x0, y - y0) >= STEP && n < mostPoints) points.push([x, y]);
}

function change(drawn) {
  strokes = drawn;
  byId("hint").hidden = strokes.length > 0;
  paint();
  read();
}

pad.addEventListener("pointerdown", (event) => {
  if (pointer !== null || event.button !== 0) return;
  event.preventDefault();
  pointer = event.pointerId;
  pad.setPointerCapture(pointer);
  change([...strokes, [place(event)]]);
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const between = event.getCoalescedEvents?.() ?? [];
  for (const each of between.length ? between : [event]) extend(each);
  change(strokes);
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  pad.addEventListener(end, (event) => {
    if (event.pointerId === pointer) pointer = null;
  });
}

function erase(drawn) {
  pointer = null;
  change(drawn);
}
byId("clear").addEventListener("click", () => erase([]));
byId("undo").addEventListener("click", () => erase(strokes.slice(0, -1)));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") erase([]);
  if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    erase(strokes.slice(0, -1));
  }
});
dark.addEventListener("change", () => { paint(); read(); });

// ---- Asking ----------------------------------------------------------------------------------------------------------

let isAsking = false, isStale = false;

async function read() {
  isStale = true;
  if (isAsking) return;
  isAsking = true;
  while (isStale) {
    isStale = false;
    const answer = strokes.length ? await ask() : null;
    if (strokes.length && answer === null) continue;  // the old answer stays, with the trouble above it
    show(strokes.length ? answer : null);
  }
  isAsking = false;
}

async function ask() {
  const trouble = byId("trouble");
  try {
    const response = await fetch("read", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ strokes, width: PEN }),
    });
    const answer = await response.json();
    trouble.textContent = answer.error ?? "";
    trouble.hidden = response.ok;
    return response.ok ? answer : null;
  } catch {
    trouble.textContent = "The network does not answer any more. Start cnnclf app again, and open the page that it names.";
    trouble.hidden = false;
    return null;
  }
}

// ---- Showing ---------------------------------------------------------------------------------------------------------

const bars = labels.map((label) => {
  const bar = document.createElement("li");
  const parts = ["span", "i", "span"].map((tag) => document.createElement(tag));
  parts[0].textContent = label;
  bar.append(...parts);
  byId("bars").append(bar);
  return { bar, share: parts[1], written: parts[2] };
});

function show(answer) {
  const shares = answer?.probabilities ?? labels.map(() => 0);
  const first = shares.indexOf(Math.max(...shares));
  for (const [i, { bar, share, written }] of bars.entries()) {
    bar.className = answer && i === first ? "first" : "";
    share.style.setProperty("--share", shares[i]);
    written.textContent = answer ? percent(shareOf(shares, i)) : "";
  }
  byId("label").textContent = answer ? labels[first] : "?";
  byId("how-sure").textContent = answer ? `with ${percent(shareOf(shares, first))}` : "Nothing is drawn yet.";
  pad.setAttribute("aria-label", answer ? `The drawing, read as ${labels[first]}`
    : "Empty paper to draw on with mouse, pen or finger");
  tell(answer ? `${labels[first]}, ${percent(shareOf(shares, first))}` : "Nothing is drawn.");
  showSeen(answer);
  showMaps(answer?.maps ?? []);
  const walk = byId("walk");
  walk?.setAttribute("aria-disabled", String(answer === null));
  if (answer) walk?.setAttribute("href", `walkthrough/${answer.image}`);
  else walk?.removeAttribute("href");
}

let telling = 0;
function tell(sentence) {
  clearTimeout(telling);
  telling = setTimeout(() => { byId("live").textContent = sentence; }, QUIET);
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

// The style sheet's colours, as [red, green, blue].
function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function fill(image, at, from, to, share) {
  for (let i = 0; i < 3; i++) image.data[4 * at + i] = from[i] + (to[i] - from[i]) * share;
  image.data[4 * at + 3] = 255;
}

function showSeen(answer) {
  const canvas = byId("seen"), context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (!answer) return;
  const image = context.createImageData(width, height), [sheet, ink] = [colour("sheet"), colour("ink")];
  bytesOf(answer.image).forEach((value, at) => fill(image, at, sheet, ink, value / 255));
  context.putImageData(image, 0, 0);
}

// Maps in a row; the side of the largest in canvas pixels, to which smaller ones are enlarged; pixels between two.
const COLUMNS = 8, MAP = 24, GAP = 2;

function showMaps(layers) {
  const place = byId("maps");
  if (place.childElementCount !== layers.length) {
    place.replaceChildren(...layers.map(() => {
      const figure = document.createElement("figure");
      figure.append(document.createElement("figcaption"), document.createElement("canvas"));
      return figure;
    }));
  }
  const colours = { zero: colour("zero"), above: colour("above"), below: colour("below") };
  for (const [i, layer] of layers.entries()) showLayer(...place.children[i].children, layer, colours);
}

function showLayer(caption, canvas, { name, shape: [n, rows, columns], channels, largest, values }, colours) {
  const some = channels.length < n ? `, ${channels.length} of them shown` : "";
  caption.textContent = `${name}: ${n} × ${rows} × ${columns}${some}, full colour at ±${largest}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${channels.length} feature maps of ${name}`);
  const zoom = Math.max(1, Math.round(MAP / Math.max(rows, columns)));
  const high = zoom * rows + GAP, wide = zoom * columns + GAP;
  const across = Math.min(COLUMNS, channels.length);
  canvas.width = across * wide - GAP;
  canvas.height = Math.ceil(channels.length / across) * high - GAP;
  const image = canvas.getContext("2d").createImageData(canvas.width, canvas.height);
  const numbers = new Int8Array(bytesOf(values).buffer);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const map = Math.floor(y / high) * across + Math.floor(x / wide);
      const row = Math.floor((y % high) / zoom), column = Math.floor((x % wide) / zoom);
      if (map >= channels.length || row >= rows || column >= columns) continue;
      const number = numbers[(map * rows + row) * columns + column];
      const colour = number < 0 ? colours.below : colours.above;
      fill(image, y * canvas.width + x, colours.zero, colour, Math.abs(number) / 127);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

show(null);
