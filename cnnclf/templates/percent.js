"use strict";
// A share 0..1 as a percentage, as cnnclf.wording.percent writes it: only 0 itself reads 0 %, only 1 itself 100 %.
function percent(share, decimals = 2) {
  if (share > 0 && share < 1e-8) return `${(100 * share).toExponential(0)} %`;
  let text;
  do text = (100 * share).toFixed(decimals++);
  while (share !== 0 && share !== 1 && [0, 100].includes(Number(text)));
  return `${text} %`;
}
