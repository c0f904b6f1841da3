// Charts that answer to the pointer: the numbers are those of the table below each, so nothing else is sent.

function read(figure) {
  const table = document.getElementById(figure.dataset.chart);
  const rows = [...table.tBodies[0].rows];
  return {
    names: [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent),
    times: rows.map((row) => Number(row.cells[0].dataset.at)),
    labels: rows.map((row) => row.cells[0].textContent),
    texts: rows.map((row) => [...row.cells].slice(1).map((cell) => cell.textContent)),
    amounts: rows.map((row) => [...row.cells].slice(1).map((cell) => Number(cell.dataset.value))),
  };
}

function colour(name) {
  // A variable may hold light-dark(), which only a property that is a colour resolves.
  const probe = document.createElement("span");
  probe.hidden = true;
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// As tall as the server's drawing was, so that nothing below it moves; the legend lies over what is below.
function size(figure) {
  figure.plotHeight ??= Math.max(200, figure.querySelector(".plot-frame").clientHeight);
  return { width: Math.max(figure.querySelector(".plot-frame").clientWidth, 280), height: figure.plotHeight };
}

function draw(figure) {
  const data = read(figure);
  const count = data.names.length;
  // Each series is drawn from the ground up to its own top, the tallest first, so that they look stacked.
  const tops = data.names.map((_, at) =>
    data.amounts.map((row) => row.slice(0, at + 1).reduce((sum, amount) => sum + amount, 0)));
  const order = data.names.map((_, at) => count - 1 - at);
  const series = order.map((at) => ({
    label: data.names[at],
    fill: colour(`--series-${at + 1}`),
    stroke: colour(`--series-${at + 1}`),
    width: 0,
    points: { show: false },
    paths: uPlot.paths.bars({ size: [0.8, 60], radius: 0.08 }),
    value: (_, __, ___, index) => (index === null ? "" : data.texts[index][at]),
  }));
  const frame = figure.querySelector(".plot-frame");
  const grid = { stroke: colour("--line"), width: 1 };
  const muted = colour("--muted");
  // The margins of web/chart.py, so that a drawing that begins to answer stays where it was.
  const unit = size(figure).height / 240;
  const drawn = [...figure.querySelectorAll("svg .grid + .axis")].map((text) => text.textContent);
  const options = {
    ...size(figure),
    legend: { live: true },
    padding: [12 * unit, 0, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, range: [-0.5, data.times.length - 0.5] }, y: { range: [0, figure.scaleTop] } },
    series: [{ label: figure.dataset.chartUnit, value: (_, __, ___, index) => (index === null ? "" : data.labels[index]) }, ...series],
    axes: [
      { stroke: muted, grid: { show: false }, ticks: { show: false }, space: 70, size: Math.max(24, 24 * unit),
        splits: (plot) => {
          const every = Math.max(1, Math.ceil((data.times.length * 84) / Math.max(plot.width - 64, 84)));
          return data.times.map((_, index) => index).filter((index) => index % every === 0);
        },
        values: (_, splits) => splits.map((index) => data.labels[index]) },
      { stroke: muted, grid, ticks: { show: false }, size: Math.max(56, 56 * unit),
        splits: () => drawn.map((_, step) => (figure.scaleTop * step) / (drawn.length - 1)),
        values: () => drawn },
    ],
  };
  const kept = frame.querySelector("svg");
  const plot = new uPlot(options, [data.times.map((_, index) => index), ...order.map((at) => tops[at])]);
  frame.replaceChildren(plot.root);
  return { plot, kept };
}

export function enliven() {
  for (const figure of document.querySelectorAll("[data-chart][data-chart-library]")) {
    const top = figure.querySelector("svg");
    if (!top) continue;
    figure.scaleTop = Number(top.dataset.top);
    let { plot, kept } = draw(figure);
    const again = () => {
      plot.destroy();
      figure.querySelector(".plot-frame").replaceChildren(kept);
      ({ plot, kept } = draw(figure));
    };
    new ResizeObserver(() => plot.setSize(size(figure))).observe(figure);
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }
}
