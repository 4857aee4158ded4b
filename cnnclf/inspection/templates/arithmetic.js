// ---- The arithmetic of a cell ----------------------------------------------------------------------------------------------

let listAll = false;
const FIRST = 12; // contributions that are listed unless a reader wants all

const p = (...children) => make("p", {}, ...children);
const i = (letter) => make("i", {}, letter);

// The number of another cell; a click selects that cell.
function jump(cell, content) {
  const button = make("button", { type: "button", className: "jump", title: `${cell.layer.name}, ${nameOf(cell)}` }, content);
  button.onclick = () => {
    select(cell);
    cell.layer.map.focus({ preventScroll: true });
  };
  return button;
}

function matrix(values, nColumns, { className, largest, cells = [], decimals }) {
  const table = styled(make("table", { className: "grid" }), { columns: nColumns });
  let row = null;
  for (const [j, value] of values.entries()) {
    if (j % nColumns === 0) row = table.insertRow();
    const cell = row.insertCell(), source = cells[j];
    cell.textContent = value === null ? "–" : text(value, decimals);
    cell.className = source === null ? `${className} padding` : source ? `${className} source` : className;
    cell.cell = source; // where a click leads
    if (value) cell.style.backgroundColor = tint(value / largest);
  }
  return table;
}

// A sign and the matrix behind it, which no line break parts.
const operation = (sign, table) => make("div", { className: "operation" }, make("span", { className: "operator" }, sign), table);

function ledger(rows) {
  return make("table", { className: "ledger" }, make("tbody", {}, rows.filter(Boolean).map(([name, value, className, isSum]) =>
    make("tr", { className: isSum ? "sum" : "" }, make("th", { scope: "row" }, name), make("td", { className: `n ${className ?? ""}` }, value)))));
}

const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

// The end of every calculation: its result in double precision, and the layer's number in float32.
function result(cell, calculated) {
  const value = valueOf(cell), difference = calculated - value;
  const same = difference === 0 || Object.is(calculated, value);
  return [
    ["result", text(calculated, 6), "calculated", true],
    same || !exact ? null : ["in float32", text(value, 6), "rounded"],
    same ? null : ["rounding", scientific(difference), "rounding"],
  ];
}

function sumUp(cell, products) {
  const bias = weightOf(cell, "bias", null);
  const total = sum(products);
  return ledger([
    [`sum of ${plural(products.length, "product")}`, text(total, 6), "total"],
    bias === null ? null : ["+ bias", text(bias, 6), "bias"],
    ...result(cell, total + (bias ?? 0)),
  ]);
}

const span = (start, stop) => (stop - start > 1 ? `${start}–${stop - 1}` : String(start));
const lines = (word, start, stop) => `${word}${stop - start > 1 ? "s" : ""} ${span(start, stop)}`;
const windowText = ({ y0, y1, x0, x1 }) => `${lines("row", y0, y1)} and ${lines("column", x0, x1)}`;

const explanations = {
  image(cell) {
    return [p("A raw pixel, the input of the network.")];
  },

  standardise(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    const mean = weightOf(cell, "mean"), std = weightOf(cell, "std");
    return [
      p("The pixel, minus the mean of all training pixels, divided by their standard deviation."),
      ...(std ? [] : [p("This channel never varied in the training images, so it becomes 0 for any pixel.")]),
      formula(std ? ["(", i("x"), " − mean) / std"] : ["0 × (", i("x"), " − mean)"]),
      ledger([
        [["pixel ", i("x")], jump({ ...cell, layer: cell.layer.source }, text(x, 6))],
        ["mean", text(mean, 6)],
        ["standard deviation", text(std, 6)],
        ...result(cell, std ? (x - mean) / std : 0 * (x - mean)),
      ]),
    ];
  },

  conv(cell) {
    const { layer } = cell, { source, settings } = layer;
    const kernels = convTaps(cell);
    const products = kernels.flatMap((k) => k.products);
    const [kh, kw] = settings.kernel;
    const sticksOut = kernels[0]?.taps.includes(null);
    const decimals = inMatrix();
    const largestWeight = largestOf(kernels.flatMap((k) => [...k.weights]));
    const largestProduct = largestOf(products);
    kernels.sort((a, b) => Math.abs(b.subtotal) - Math.abs(a.subtotal));
    const parts = make("div", { className: "parts" }, kernels.map(({ channel, weights, taps, products: own, subtotal }) =>
      make("div", { className: "part" },
        kernels.length > 1 ? make("h4", {}, `channel ${channel}`, make("span", { className: "subtotal" }, text(subtotal, 4))) : null,
        make("div", { className: "equation" },
          matrix(taps.map((tap) => tap?.value ?? 0), kw, { className: "patch", largest: source.largest, cells: taps, decimals }),
          operation("×", matrix([...weights], kw, { className: "weight", largest: largestWeight, decimals })),
          operation("=", matrix(own, kw, { className: "product", largest: largestProduct, decimals }))))));
    const longest = [...parts.querySelectorAll("td")].reduce((most, td) => Math.max(most, td.textContent.length), 0);
    return [
      p(`The ${kh} × ${kw} window over ${windowText(fields[source.index])} of `, jumpTo(source), `, multiplied number by number by the kernel of channel ${cell.channel}`,
        weightOf(cell, "bias", null) === null ? "; then all products are added up." : "; then all products and the bias are added up.",
        sticksOut ? " Where the window sticks out over the edge, it finds zeros." : ""),
      sumUp(cell, products),
      kernels.length > 1 ? make("h3", {}, `Channel by channel of ${source.name}, the largest part first`) : null,
      styled(parts, { columns: kw, rows: kh, longest }),
    ];
  },

  dense(cell) {
    const { layer } = cell, { source } = layer;
    const rows = source.channels.map((feature) => {
      const value = at(source, feature), weight = layer.w.weight[cell.channel * source.n + feature];
      return { feature, value, weight, product: value * weight };
    });
    const products = rows.map((row) => row.product);
    const largest = largestOf(products);
    rows.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const listed = listAll || rows.length <= FIRST + 1 ? rows : rows.slice(0, FIRST);
    const others = rows.slice(listed.length);
    const origin = originOf(source);
    return [
      p(`All ${plural(source.n, "feature")} of `, jumpTo(source), `, each multiplied by its weight; then all products`, weightOf(cell, "bias", null) === null ? "" : " and the bias", " are added up."),
      sumUp(cell, products),
      make("h3", {}, "The features, the largest product first"),
      make("div", { className: "list" }, make("table", { className: "contributions" },
        make("thead", {}, make("tr", {}, ["feature", "value", "weight", "product", ""].map((name, j) => make("th", { scope: "col", className: j && j < 4 ? "n" : "" }, name)))),
        make("tbody", {}, listed.map(({ feature, value, weight, product }) => {
          const found = { layer: source, channel: feature, row: 0, column: 0 };
          return make("tr", {},
            make("th", { scope: "row" }, jump(found, origin ? `${feature} · ${nameOf(unflatten(origin, feature))}` : String(feature))),
            make("td", { className: "n" }, text(value)), make("td", { className: "n" }, text(weight)), make("td", { className: "n product" }, text(product)),
            make("td", { className: "length" }, bar(product / largest)));
        })),
        others.length ? make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colSpan: 3 }, `the other ${count(others.length)} together`),
          make("td", { className: "n others" }, text(sum(others.map((row) => row.product)))), make("td"))) : null)),
      rows.length > FIRST + 1
        ? make("button", { type: "button", id: "list-all", onclick: () => { listAll = !listAll; explain(now()); byId("list-all").focus(); } },
          listAll ? `List the largest ${FIRST}` : `List all ${count(rows.length)}`)
        : null,
    ];
  },

  norm(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    const { eps } = cell.layer.settings;
    const mean = weightOf(cell, "running_mean"), variance = weightOf(cell, "running_var");
    const gamma = weightOf(cell, "weight", 1), beta = weightOf(cell, "bias", 0);
    return [
      p(`The value, minus the mean μ that ${unit(cell.layer)} ${cell.channel} had in training, divided by its standard deviation; then scaled by γ and shifted by β, both learnt.`),
      formula(["(", i("x"), " − μ) / √(σ² + ε) · γ + β"]),
      ledger([
        [i("x"), jump({ ...cell, layer: cell.layer.source }, text(x, 6))],
        ["μ", text(mean, 6)], ["σ²", text(variance, 6)], ["ε", String(eps)], ["γ", text(gamma, 6)], ["β", text(beta, 6)],
        ...result(cell, ((x - mean) / Math.sqrt(variance + eps)) * gamma + beta),
      ]),
    ];
  },

  relu(cell) {
    const x = at(cell.layer.source, cell.channel, cell.row, cell.column);
    return [
      p(x < 0 ? "The value is negative, so it becomes 0." : "The value is not negative, so it does not change."),
      formula(["max(0, ", i("x"), ")"]),
      ledger([[i("x"), jump({ ...cell, layer: cell.layer.source }, text(x, 6))], ...result(cell, x < 0 ? 0 : x)]),
    ];
  },

  max_pool(cell) {
    const { source } = cell.layer;
    const { taps, shape } = poolWindow(cell);
    const most = taps.reduce((best, tap) => (tap && !(tap.value <= best?.value) ? tap : best), null);
    const element = matrix(taps.map((tap) => tap?.value ?? null), shape[1], { className: "patch", largest: source.largest, cells: taps, decimals: inMatrix() });
    element.querySelectorAll("td")[taps.indexOf(most)].classList.add("largest");
    return [
      p(`The largest of the ${shape[0]} × ${shape[1]} values over ${windowText(fields[source.index])} of `, jumpTo(source), "."),
      make("div", { className: "equation" }, element),
      ledger([["largest value", `row ${most.row}, column ${most.column}`], ...result(cell, most.value)]),
    ];
  },

  avg_pool(cell) {
    const { source } = cell.layer;
    const { taps, shape } = poolWindow(cell);
    const total = sum(taps.map((tap) => tap.value));
    return [
      p(`The mean of the ${shape[0]} × ${shape[1]} values over ${windowText(fields[source.index])} of `, jumpTo(source), "."),
      make("div", { className: "equation" }, matrix(taps.map((tap) => tap.value), shape[1], { className: "patch", largest: source.largest, cells: taps, decimals: inMatrix() })),
      ledger([[`sum of ${plural(taps.length, "value")}`, text(total, 6)], ["divided by", String(taps.length)], ...result(cell, total / taps.length)]),
    ];
  },

  flatten(cell) {
    const source = unflatten(cell.layer, cell.channel);
    return [
      p("The maps become one row, channel after channel and row after row; the numbers do not change."),
      ledger([[`feature ${cell.channel} is ${nameOf(source)} of ${source.layer.name}`, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  dropout(cell) {
    const source = { ...cell, layer: cell.layer.source };
    return [
      p(cell.layer.description.startsWith("Dropout") ? "The value does not change: dropout is active in training only." : "The value does not change."),
      ledger([[source.layer.name, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  block(cell) {
    const source = { ...cell, layer: cell.layer.source };
    return [
      p("The output of the block is that of its last layer. Open the block to see its layers."),
      ledger([[source.layer.name, jump(source, text(valueOf(source), 6))], ...result(cell, valueOf(source))]),
    ];
  },

  residual(cell) {
    const [body, shortcut] = cell.layer.sources.map((layer) => ({ ...cell, layer }));
    return [
      p("The output of the residual branch plus that of the shortcut. Open the block to see its layers."),
      ledger([
        [`residual branch, ${body.layer.name}`, jump(body, text(valueOf(body), 6))],
        [`+ shortcut, ${shortcut.layer.name}`, jump(shortcut, text(valueOf(shortcut), 6))],
        ...result(cell, valueOf(body) + valueOf(shortcut)),
      ]),
    ];
  },

  softmax(cell) {
    const { source } = cell.layer;
    const largest = source.high;
    const rows = classes.map((label, channel) => ({ label, channel, logit: at(source, channel), power: Math.exp(at(source, channel) - largest) }));
    const total = sum(rows.map((row) => row.power));
    const own = rows[cell.channel].power;
    return [
      p("Every logit ", i("z"), " becomes a positive number, e to the power of ", i("z"), "; its share of their sum is the probability. Subtracting the largest logit from all of them changes no share and keeps the powers small."),
      ledger([
        [["e", make("sup", {}, "z − max"), ` of class ${classes[cell.channel]}`], text(own, 6)],
        ["divided by the sum", text(total, 6)],
        ...result(cell, own / total),
      ]),
      make("div", { className: "list" }, make("table", { className: "contributions" },
        make("thead", {}, make("tr", {}, [["class"], ["logit ", i("z")], [i("z"), " − max"], ["e", make("sup", {}, "z − max")], ["share"]].map((name, j) => make("th", { scope: "col", className: j ? "n" : "" }, name)), make("td"))),
        make("tbody", {}, rows.map(({ label, channel, logit, power }) => make("tr", { className: channel === cell.channel ? "own" : "" },
          make("th", { scope: "row" }, jump({ layer: cell.layer, channel, row: 0, column: 0 }, label)),
          make("td", { className: "n" }, jump({ layer: source, channel, row: 0, column: 0 }, text(logit))),
          make("td", { className: "n" }, text(logit - largest)), make("td", { className: "n power" }, text(power)), make("td", { className: "n" }, text(at(cell.layer, channel))),
          make("td", { className: "length" }, bar(at(cell.layer, channel)))))),
        make("tfoot", {}, make("tr", {}, make("th", { scope: "row", colSpan: 3 }, "sum"), make("td", { className: "n" }, text(total)), make("td", { colSpan: 2 }))))),
    ];
  },

  unknown(cell) {
    return [p(make("b", {}, "Not recomputed. "), `This page does not know how ${cell.layer.description} works. The values that PyTorch recorded are shown; they may depend on every number of the layer before.`)];
  },
};

explanations.global_max_pool = explanations.max_pool;
explanations.global_avg_pool = explanations.avg_pool;

// Activations: a sentence, the formula, and its result.
const activations = {
  leaky_relu: (x, { slope }) => [
    x < 0 ? `The value is negative, so it is multiplied by the slope ${slope}.` : "The value is not negative, so it does not change.",
    [i("x"), x < 0 ? ` × ${slope}` : ""],
    x < 0 ? slope * x : x,
  ],
  gelu: (x) => [
    "The value times the share of a normal distribution that lies below it: nearly the value itself if it is large, nearly 0 if it is far below 0.",
    [i("x"), " · (1 + erf(", i("x"), " / √2)) / 2"],
    (x * (1 + erf(x / Math.SQRT2))) / 2,
  ],
  silu: (x) => [
    "The value times its sigmoid: nearly the value itself if it is large, nearly 0 if it is far below 0.",
    [i("x"), " / (1 + e", make("sup", {}, "−x"), ")"],
    x / (1 + Math.exp(-x)),
  ],
  sigmoid: (x) => ["The value becomes a number between 0 and 1.", ["1 / (1 + e", make("sup", {}, "−x"), ")"], 1 / (1 + Math.exp(-x))],
  tanh: (x) => ["The value becomes a number between −1 and 1.", ["tanh(", i("x"), ")"], Math.tanh(x)],
};
for (const [kind, compute] of Object.entries(activations)) {
  explanations[kind] = (cell) => {
    const source = { ...cell, layer: cell.layer.source };
    const x = valueOf(source);
    const [sentence, written, value] = compute(x, cell.layer.settings);
    return [p(sentence), formula(written), ledger([[i("x"), jump(source, text(x, 6))], ...result(cell, value)])];
  };
}

const formula = (children) => make("p", { className: "formula" }, ...children);
const jumpTo = (layer) => make("em", {}, layer.name);

// The flatten layer that a row of features comes from, through layers that work feature by feature.
function originOf(layer) {
  const inPlace = ["dropout", "relu", "norm", ...Object.keys(activations)];
  while (inPlace.includes(layer.kind) && layer.is_row) layer = layer.source;
  return layer.kind === "flatten" && !layer.source.is_row ? layer : null;
}

function bar(share) {
  const element = make("i", {});
  element.style.width = `${(100 * Math.abs(share)).toFixed(1)}%`;
  element.className = share < 0 ? "below" : "above";
  return element;
}

function explain(cell) {
  const { layer } = cell;
  byId("name").replaceChildren(make("b", {}, layer.name), " ", make("span", {}, nameOf(cell)));
  byId("unit").textContent = unit(layer);
  byId("value").textContent = text(valueOf(cell), 6);
  byId("lowest").textContent = text(layer.low, 2);
  byId("highest").textContent = text(layer.high, 2);
  paintRamp(layer);
  byId("facts").textContent = [
    layer.description, shapeOf(layer),
    ...(layer.n_parameters ? [plural(layer.n_parameters, "parameter")] : []),
    ...(layer.n_multiply_adds ? [`${count(layer.n_multiply_adds)} multiplications`] : []),
  ].join(" · ");
  byId("how").replaceChildren(...(explanations[layer.kind] ?? explanations.unknown)(cell).filter(Boolean));
}

function paintRamp(layer) {
  const context = byId("ramp").getContext("2d");
  for (let x = 0; x < 101; x++) {
    const value = layer.low + ((layer.high - layer.low) * x) / 100;
    const grey = Math.round(2.55 * x);
    context.fillStyle = rgb(layer.kind === "image" ? [grey, grey, grey] : shade(value / layer.largest), 1);
    context.fillRect(x, 0, 1, 1);
  }
}

