// ---- The weights of other epochs --------------------------------------------------------------------------------------------

// The numbers of each epoch, decoded when they are first asked for; the last are those after training.
const ofEpochs = [...epochs.map(() => null), numbers];

function showEpoch(place) {
  const isLast = place === epochs.length;
  const name = isLast ? "after training" : epochs[place] ? `after epoch ${epochs[place]}` : "before training";
  byId("epoch-name").textContent = name;
  byId("epoch").setAttribute("aria-valuetext", name);
  ofEpochs[place] ??= decodeNumbers(byId(`epoch-${epochs[place]}`).textContent);
  numbers = ofEpochs[place];
  openLayers(layers, numbers);
  worker?.postMessage({ numbers });
  ask({ pixels: drawing.pixels });
}

if (epochs.length) byId("epoch").oninput = ({ target }) => showEpoch(Number(target.value));
