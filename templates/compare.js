"use strict";
// Search, only-differences, order, marks and folding; without scripts the page shows everything in the file's order.
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

// Words and, where no spaces part words, characters; white space goes with the word before it.
const split = text => text.match(/^\s+|(?:[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Thai}]|[\p{L}\p{N}_]+|[^\s])\s*/gu) || [];
const LARGEST = 4e6, LEAST_SHARED = 1 / 3;
// Which of the words are in a longest common subsequence with the others; null where there is too little in common, or too much to compare.
const shared = (written, against) => {
  const words = written.map(word => word.trim()), others = against.map(word => word.trim());
  const width = others.length + 1;
  if (words.length * width > LARGEST) return null;
  const table = new Uint16Array((words.length + 1) * width);
  for (let i = words.length - 1; i >= 0; i--)
    for (let j = others.length - 1; j >= 0; j--)
      table[i * width + j] = words[i] === others[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
  if (table[0] < LEAST_SHARED * Math.min(words.length, others.length)) return null;
  const kept = new Set();
  for (let i = 0, j = 0; i < words.length && j < others.length;)
    if (words[i] === others[j]) { kept.add(i); i++; j++; }
    else if (table[(i + 1) * width + j] >= table[i * width + j + 1]) i++;
    else j++;
  return kept;
};
const marks = document.querySelector("#marks");
const written = new Map([...document.querySelectorAll("[data-who]")].map(each => [each, each.textContent]));
const mark = () => {
  for (const row of rows) {
    const source = marks.value && row.querySelector('[data-who="' + marks.value + '"]');
    const others = source ? split(written.get(source)) : [];
    for (const cell of row.querySelectorAll("[data-who]")) {
      const text = written.get(cell), words = split(text);
      const kept = source && cell !== source && !cell.classList.contains("nothing") ? shared(words, others) : null;
      cell.textContent = "";
      let open = null;
      words.forEach((word, place) => {
        if (kept && !kept.has(place)) {
          if (open) open.append(open.rest);
          else cell.append(open = document.createElement("mark"));
          open.append(word.trimEnd());
          open.rest = word.slice(word.trimEnd().length);
        } else {
          if (open) cell.append(open.rest);
          open = null;
          cell.append(word);
        }
      });
      if (open) cell.append(open.rest);
    }
  }
};
// Long answers show their beginning.
const HIGHEST_PX = 420;
const fold = () => {
  for (const cell of document.querySelectorAll(".answer .text")) {
    if (cell.scrollHeight <= HIGHEST_PX || cell.nextElementSibling?.classList.contains("more")) continue;
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    const set = folded => {
      cell.classList.toggle("folded", folded);
      more.setAttribute("aria-expanded", String(!folded));
      more.textContent = folded ? "show all of it" : "show less";
    };
    more.addEventListener("click", () => set(!cell.classList.contains("folded")));
    cell.after(more);
    set(true);
  }
};
for (const each of document.querySelectorAll(".ask .text")) each.classList.toggle("long", each.textContent.length > 240);
search.addEventListener("input", update);
marks.addEventListener("change", mark);
differing.addEventListener("change", update);
order.addEventListener("change", sort);
document.querySelector(".controls").hidden = false;
marks.value = marks.options[1]?.value ?? "";
update();
sort();
mark();
fold();
