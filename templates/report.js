"use strict";
// Reads values off a plot, with the pointer or the arrow keys; without scripts the page lacks nothing else.
for (const figure of document.querySelectorAll("figure[data-plot]")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const plot = figure.querySelector(".plot"), readout = figure.querySelector(".readout");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  plot.append(cursor);
  const steps = [...new Set(data.series.flatMap(each => each.points.map(point => point[0])))].sort((a, b) => a - b);
  let shown = -1;
  const nearest = (list, x, key) => {
    let low = 0, high = list.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(list[middle]) < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - key(list[low - 1]) < key(list[low]) - x ? low - 1 : low;
  };
  const digits = value => Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5 || value === 0 ? value.toFixed(4) : value.toExponential(3);
  const show = index => {
    shown = Math.min(Math.max(index, 0), steps.length - 1);
    const step = steps[shown], share = (step - data.x[0]) / (data.x[1] - data.x[0]);
    cursor.hidden = false;
    cursor.style.left = 100 * share + "%";
    const parts = data.series.map(each => {
      const point = each.points[nearest(each.points, step, one => one[0])];
      return each.name + " " + digits(point[1]) + (point[0] === step ? "" : " (step " + point[0] + ")");
    });
    readout.textContent = "step " + step.toLocaleString("en") + ": " + parts.join(" · ");
  };
  const hide = () => { cursor.hidden = true; readout.textContent = ""; };
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect();
    const x = data.x[0] + (event.clientX - box.left) / box.width * (data.x[1] - data.x[0]);
    show(nearest(steps, x, one => one));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", event => {
    const moves = { ArrowLeft: shown - 1, ArrowRight: shown + 1, Home: 0, End: steps.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}
