"use strict";
// A share 0..1 as a percentage, as cnnclf/_utils/text.py: percent writes it: only 0 itself reads 0 %, only 1 itself 100 %.
function percent(share, decimals = 2) {
  if (share > 0 && share < 1e-8) return "<0.000001 %";
  let text;
  do text = (100 * share).toFixed(decimals++);
  while (share !== 0 && share !== 1 && [0, 100].includes(Number(text)));
  return `${text} %`;
}
// One of some shares that add up to 1, as share_of there gives it: where rounding made it 1, it is what the
// others leave.
function shareOf(shares, i) {
  const rest = shares.reduce((total, share, j) => (j === i ? total : total + share), 0);
  return shares[i] === 1 && rest ? Math.min(1 - rest, 1 - 2 ** -53) : shares[i];
}
