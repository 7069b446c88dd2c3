"use strict";
// Search, only-differences and order; without scripts the page shows everything in the file's order.
const list = document.querySelector("#questions");
const rows = [...list.children];
const search = document.querySelector("#search"), differing = document.querySelector("#differing");
const order = document.querySelector("#order"), shown = document.querySelector("#shown");
const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
const update = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const fits = words.every(word => texts.get(row).includes(word)) && !(differing.checked && row.dataset.same);
    row.hidden = !fits;
    count += fits;
  }
  shown.textContent = count + " of " + rows.length + " shown";
};
const sort = () => {
  const [key, direction] = order.value.split(":");
  // What has no such figure stands last, whatever the direction.
  const value = row => row.dataset[key] === undefined ? Infinity : Number(row.dataset[key]) * (direction === "down" ? -1 : 1);
  list.append(...[...rows].sort((a, b) => {
    const left = value(a), right = value(b);
    return left === right ? Number(a.dataset.place) - Number(b.dataset.place) : left - right;
  }));
};
search.addEventListener("input", update);
differing.addEventListener("change", update);
order.addEventListener("change", sort);
document.querySelector(".controls").hidden = false;
update();
sort();
