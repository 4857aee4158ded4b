// Tables can be sorted, and cells of the confusion matrix show their images. Without scripts, only this is missing.

const number = (cell) => {
  const given = cell.dataset.value ?? cell.textContent.replace(/[,\s%]/g, "").replace("−", "-");
  return given === "" || Number.isNaN(Number(given)) ? null : Number(given);
};

function compare(a, b) {
  const [m, n] = [number(a), number(b)];
  if (m !== null && n !== null) return m - n;
  return a.textContent.localeCompare(b.textContent, undefined, { numeric: true });
}

function sortBy(table, column, th) {
  const descending = th.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column]));
  body.append(...(descending ? rows.reverse() : rows));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((th, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...th.childNodes);
    button.addEventListener("click", () => sortBy(table, column, th));
    th.append(button);
  });
}

const matrix = document.getElementById("matrix");
const cells = JSON.parse(document.getElementById("cells")?.textContent ?? "{}");

function show(button, row, column, count, shown) {
  for (const other of matrix.querySelectorAll('button[aria-pressed="true"]')) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  const names = [...matrix.tHead.rows[0].querySelectorAll("th")].map((th) => th.textContent);
  const heading = document.createElement("h3");
  const some = shown.length < count ? `, ${shown.length} of them` : "";
  heading.textContent =
    row === column ? `${names[row]}, predicted correctly: ${count}${some}` : `${names[row]} → ${names[column]}: ${count}${some}`;
  const list = document.createElement("ol");
  list.className = "gallery";
  for (const [index, confidence, uri] of shown) {
    const item = document.createElement("li");
    const image = document.createElement("img");
    image.src = uri;
    image.alt = `test image ${index}`;
    const sure = document.createElement("span");
    sure.textContent = confidence === null ? "" : percent(confidence);
    item.append(image, `image ${index}`, sure);
    list.append(item);
  }
  document.getElementById("behind").replaceChildren(heading, list);
}

if (matrix) {
  [...matrix.tBodies[0].rows].forEach((tr, row) => {
    [...tr.cells].slice(1).forEach((td, column) => {
      const shown = cells[`${row} ${column}`];
      if (!shown) return;
      const button = document.createElement("button");
      const count = Number(td.textContent);
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.append(...td.childNodes);
      button.addEventListener("click", () => show(button, row, column, count, shown));
      td.append(button);
    });
  });
  const toggle = document.getElementById("shares");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const shares = toggle.getAttribute("aria-pressed") === "false";
    toggle.setAttribute("aria-pressed", String(shares));
    for (const td of matrix.querySelectorAll("td[data-share]")) {
      const text = (td.querySelector("button") ?? td).firstChild;
      td.dataset.count ??= text.data;
      text.data = shares ? td.dataset.share : td.dataset.count;
    }
  });
}
