"use strict";
// A chart of seconds: lines, an area and marks over the same axis of time, drawn as SVG.

const SVG = "http://www.w3.org/2000/svg";
const SHORTEST_S = 60;
const MARGIN = { left: 44, right: 8, top: 8, bottom: 22 };

function shape(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function niceStep(span, count) {
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) * power;
}

function bounds(values, fromZero) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  if (fromZero) low = 0;
  const step = niceStep(Math.max(high - low, fromZero ? high * 0.2 : 4, 1e-6), 4);
  return { low: Math.floor(low / step) * step, high: Math.max(Math.ceil(high / step), Math.floor(low / step) + 1) * step, step };
}

class Chart {
  // series: [{key, style, area}]; marks: key of counts that are marked on the axis; say: a point as text.
  constructor(place, readout, { series, marks, fromZero, unit, say, none }) {
    Object.assign(this, { place, readout, series, marks, fromZero, unit, say, none });
    this.points = [];
    this.seconds = 300;
    this.pointer = null;
    this.svg = shape(place, "svg", { role: "img", "aria-label": none });
    this.nothing = document.createElement("p");
    this.nothing.className = "empty-chart";
    this.nothing.textContent = none;
    place.append(this.nothing);
    this.svg.addEventListener("pointermove", (event) => { this.pointer = event.offsetX; this.draw(); });
    this.svg.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  show(points, seconds) {
    this.points = points;
    this.seconds = seconds;
    this.draw();
  }

  draw() {
    const { width, height } = this.place.getBoundingClientRect();
    const last = this.points.length ? this.points[this.points.length - 1].number : 0;
    const first = this.points.length ? this.points[0].number : 0;
    this.shown = Math.min(this.seconds, Math.max(SHORTEST_S, last - first));  // a young run fills the chart, too
    const points = this.points.filter((point) => point.number >= last - this.shown);
    const scale = bounds(points.flatMap((point) => this.series.map((line) => point[line.key])), this.fromZero);
    this.svg.replaceChildren();
    this.nothing.hidden = scale !== null;
    if (scale === null || width < 80) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    const x = (number) => MARGIN.left + inner.width * (1 - (last - number) / this.shown);
    const y = (value) => MARGIN.top + inner.height * (1 - (value - scale.low) / (scale.high - scale.low));
    this.axes(scale, x, y, last, width, height);
    for (const line of this.series) this.line(points, line, x, y, scale);
    if (this.marks) this.mark(points, x, y(scale.low));
    this.tell(points, x, height);
  }

  axes(scale, x, y, last, width, height) {
    for (let value = scale.low; value <= scale.high + scale.step / 2; value += scale.step) {
      shape(this.svg, "line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) });
      const shown = `${+value.toFixed(2)}${value + scale.step > scale.high + scale.step / 2 ? ` ${this.unit}` : ""}`;
      shape(this.svg, "text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, shown);
    }
    const step = [15, 30, 60, 120].find((seconds) => this.shown / seconds <= (width < 500 ? 4 : 6)) ?? 120;
    for (let ago = 0; ago < this.shown; ago += step) {
      const words = ago === 0 ? "now" : step < 60 ? `-${ago} s` : `-${ago / 60} min`;
      shape(this.svg, "text", { x: x(last - ago), y: height - 4, "text-anchor": ago ? "middle" : "end" }, words);
    }
  }

  line(points, { key, style, area }, x, y, scale) {
    // A second without a value breaks the line: nothing is made up.
    const runs = [];
    let before = null;
    for (const point of points) {
      if (point[key] === null) { before = null; continue; }
      if (before === null || point.number !== before + 1) runs.push([]);
      runs[runs.length - 1].push([x(point.number).toFixed(1), y(point[key]).toFixed(1)]);
      before = point.number;
    }
    for (const run of runs) {
      if (run.length === 1) run.push([+run[0][0] + 1, run[0][1]]);
      const path = `M${run.map((pair) => pair.join(" ")).join("L")}`;
      if (area) {
        const floor = y(scale.low);
        shape(this.svg, "path", { class: "area", d: `${path}L${run[run.length - 1][0]} ${floor}L${run[0][0]} ${floor}Z` });
      }
      shape(this.svg, "path", { class: `curve ${style}`, d: path });
    }
  }

  mark(points, x, floor) {
    const most = Math.max(...points.map((point) => point[this.marks]));
    for (const point of points) {
      if (!point[this.marks]) continue;
      const height = 3 + (13 * point[this.marks]) / most;
      shape(this.svg, "rect", { class: "mark", x: x(point.number) - 1, y: floor - height, width: 2, height });
    }
  }

  tell(points, x, height) {
    const told = points.filter((point) => point[this.series[0].key] !== null);
    let point = told[told.length - 1];
    if (this.pointer !== null) {
      const near = (one) => Math.abs(x(one.number) - this.pointer);
      point = told.reduce((best, one) => (near(one) < near(best) ? one : best), point);
      shape(this.svg, "line", { class: "cursor", x1: x(point.number), x2: x(point.number), y1: MARGIN.top, y2: height - MARGIN.bottom });
    }
    this.readout.textContent = this.say(point);
    const values = told.map((one) => one[this.series[0].key]);
    const low = Math.min(...values), high = Math.max(...values);
    this.svg.setAttribute("aria-label", `${values.length} seconds, from ${low.toFixed(1)} to ${high.toFixed(1)} ${this.unit}. Last: ${this.say(told[told.length - 1])}`);
  }
}
