// One convolution, whose weights, stride and padding can be changed; the place of the kernel is that of the chosen result.

const byId = (id) => document.getElementById(id);
const { image, kernel, stride, padding } = JSON.parse(byId("data").textContent);
const size = [image.length, image[0].length], window_ = [kernel.length, kernel[0].length];
const settings = { stride: [stride, stride], padding: [padding, padding], dilation: [1, 1], kernel: window_, groups: 1 };
const largest = Math.max(...image.flat().map(Math.abs)) || 1;
let chosen = [0, 0], output = null, playing = 0;

const written = (value) => String(Number(value.toFixed(2)) + 0).replace("-", "−");
const along = (axis) => Math.floor((size[axis] + 2 * settings.padding[axis] - window_[axis]) / settings.stride[axis]) + 1;

function colour(cell, share) {
  const tone = getComputedStyle(document.documentElement).getPropertyValue(share < 0 ? "--below" : "--above");
  cell.style.backgroundColor = `color-mix(in srgb, ${tone} ${Math.round(45 * Math.min(1, Math.abs(share)))}%, transparent)`;
}

function convolve() {
  const layers = [
    { kind: "image", shape: [1, ...size], inputs: [], weights: {}, values: null, settings: {} },
    { kind: "conv", shape: [1, along(0), along(1)], inputs: [0], weights: { weight: 0 }, values: null, settings },
  ];
  openLayers(layers, Float32Array.from(kernel.flat()));
  output = compute(layers, image.flat())[1];
}

function fill(table, rows, columns, make) {
  table.replaceChildren();
  for (let row = 0; row < rows; row++) {
    const line = table.insertRow();
    for (let column = 0; column < columns; column++) make(line.insertCell(), row, column);
  }
}

function show() {
  const [pad] = settings.padding;
  fill(byId("image"), size[0] + 2 * pad, size[1] + 2 * pad, (cell, i, j) => {
    const row = i - pad, column = j - pad, value = image[row]?.[column];
    cell.textContent = value === undefined ? "0" : written(value);
    if (value === undefined) cell.className = "outside";
    else colour(cell, value / largest);
  });
  const highest = Math.max(...output.map(Math.abs)) || 1;
  byId("result-name").textContent = `result: ${along(0)} × ${along(1)}`;
  fill(byId("result"), along(0), along(1), (cell, row, column) => {
    const value = output[row * along(1) + column];
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: written(value), onpointerenter: () => choose(row, column), onclick: () => choose(row, column), onfocus: () => choose(row, column) });
    cell.append(button);
    colour(cell, value / highest);
  });
  mark();
}

function choose(row, column) {
  if (chosen[0] === row && chosen[1] === column) return;
  chosen = [row, column];
  mark();
}

// Without new cells, so that the focus stays.
function mark() {
  const [pad] = settings.padding, [step] = settings.stride;
  const [top, left] = chosen.map((place) => place * step);
  for (const [i, line] of [...byId("image").rows].entries()) {
    for (const [j, cell] of [...line.cells].entries()) {
      cell.classList.toggle("under", i >= top && i < top + window_[0] && j >= left && j < left + window_[1]);
    }
  }
  for (const [i, line] of [...byId("result").rows].entries()) {
    for (const [j, cell] of [...line.cells].entries()) cell.classList.toggle("chosen", i === chosen[0] && j === chosen[1]);
  }
  const terms = kernel.flatMap((weights, i) => weights.map((weight, j) => {
    const value = image[top + i - pad]?.[left + j - pad] ?? 0;
    return `${written(value)}·${weight < 0 ? `(${written(weight)})` : written(weight)}`;
  }));
  byId("sum").textContent = `${terms.join(" + ")} = ${written(output[chosen[0] * along(1) + chosen[1]])}`;
}

function change() {
  convolve();
  chosen = chosen.map((place, axis) => Math.min(place, along(axis) - 1));
  show();
}

function advance() {
  const place = (chosen[0] * along(1) + chosen[1] + 1) % (along(0) * along(1));
  choose(Math.floor(place / along(1)), place % along(1));
}

for (const name of ["stride", "padding"]) {
  const field = byId(name);
  field.value = settings[name][0];
  field.oninput = () => {
    const value = Number(field.value), before = settings[name];
    settings[name] = [value, value];
    const fits = Number.isInteger(value) && value >= Number(field.min) && value <= Number(field.max) && along(0) > 0 && along(1) > 0;
    if (!fits) settings[name] = before;
    field.ariaInvalid = String(!fits);
    if (fits) change();
  };
}
fill(byId("kernel"), ...window_, (cell, row, column) => {
  const field = document.createElement("input");
  Object.assign(field, { type: "number", step: "any", value: Number(kernel[row][column].toFixed(4)), ariaLabel: `weight in row ${row}, column ${column}` });
  field.oninput = () => {
    if (field.value === "" || !Number.isFinite(field.valueAsNumber)) return;
    kernel[row][column] = field.valueAsNumber;
    change();
  };
  cell.append(field);
});
byId("next").onclick = advance;
byId("play").onclick = ({ target }) => {
  clearInterval(playing);
  const isOn = target.ariaPressed !== "true";
  target.ariaPressed = String(isOn);
  target.textContent = isOn ? "Stop" : "Play";
  if (isOn) playing = setInterval(advance, 600);
};
change();
