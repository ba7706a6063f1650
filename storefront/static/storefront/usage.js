// Draws the figures of a usage section as stacked bars, the largest party at the bottom.

(() => {
  const HOUR = 3600;
  const DAY = 24 * HOUR;
  const MONTH = 31 * DAY; // seconds between names of months
  const compact = new Intl.NumberFormat("en", { notation: "compact" });
  const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 9 });
  const formatOf = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
  const hour = formatOf({ hour: "2-digit", minute: "2-digit" });
  const day = formatOf({ day: "numeric", month: "short" });
  const month = formatOf({ month: "short" });
  const weekday = formatOf({ weekday: "short", day: "numeric", month: "short" });

  const stacked = (series) => {
    const heights = [];
    for (const amounts of series) {
      const below = heights.at(-1);
      heights.push(amounts.map((each, n) => (each === null ? null : each + (below ? below[n] : 0))));
    }
    return heights;
  };

  // Where the horizontal axis may be named: so many seconds apart, at which starts, and how.
  const everyStart = (step, times, name) => ({
    apart: times.map((each) => each * step),
    at: (starts, apart) => starts.filter((each) => (each - starts[0]) % apart === 0),
    name,
  });
  const firstsOfMonths = {
    apart: [1, 2, 3, 6].map((each) => each * MONTH),
    at: (starts, apart) =>
      starts.filter((each) => {
        const date = new Date(each * 1000);
        return date.getUTCDate() === 1 && date.getUTCMonth() % (apart / MONTH) === 0;
      }),
    name: month,
  };
  const naming = ({ starts, byHour }) => {
    if (byHour) return everyStart(HOUR, [1, 2, 3, 6, 12], hour);
    return starts.length > 31 ? firstsOfMonths : everyStart(DAY, [1, 2, 7, 14], day);
  };

  // What is not counted is striped, so that no colour has to tell it apart.
  const hatching = (color) => {
    const ratio = devicePixelRatio;
    const tile = Object.assign(document.createElement("canvas"), { width: 6 * ratio, height: 6 * ratio });
    const ink = tile.getContext("2d");
    ink.scale(ratio, ratio);
    ink.strokeStyle = color;
    ink.lineWidth = 2;
    for (const shift of [-6, 0, 6]) {
      ink.moveTo(shift, 6);
      ink.lineTo(shift + 6, 0);
    }
    ink.stroke();
    return () => ink.createPattern(tile, "repeat");
  };

  class Chart {
    constructor(section) {
      this.section = section;
      this.box = section.querySelector(".chart");
      this.figures = JSON.parse(section.querySelector("#usage-chart").textContent);
      this.when = section.querySelector("[data-when]");
      this.totals = [...section.querySelectorAll(".legend [data-total]")];
      this.swatches = [...section.querySelectorAll(".legend i")];
      this.step = this.figures.byHour ? HOUR : DAY;
      this.resized = new ResizeObserver(() => this.fit());
      this.resized.observe(this.box);
      this.draw();
    }

    get size() {
      return { width: this.box.clientWidth, height: this.box.clientHeight };
    }

    fit() {
      if (!this.box.isConnected) this.resized.disconnect();
      else if (this.plot.width !== this.box.clientWidth) this.plot.setSize(this.size);
    }

    draw() {
      this.plot?.destroy();
      const { starts, series } = this.figures;
      // The tallest first, so that each is painted over the one that reaches above it.
      const data = [starts, ...stacked(series).reverse()];
      this.plot = new uPlot(this.options(), data, this.box);
    }

    options() {
      // A custom property would still say `light-dark(…)`, which no canvas understands.
      const { color: ink, borderTopColor: grid } = getComputedStyle(this.box);
      const axis = { stroke: ink, font: "12px system-ui, sans-serif", ticks: { show: false } };
      const { starts } = this.figures;
      const { apart, at, name } = naming(this.figures);
      const around = [starts[0] - this.step / 2, starts.at(-1) + this.step / 2];
      return {
        ...this.size,
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { range: () => around }, y: { range: (_, __, most) => [0, (most || 1) * 1.05] } },
        axes: [
          {
            ...axis,
            size: 26,
            grid: { show: false },
            incrs: apart,
            splits: (_, __, least, most, step) => at(starts, step),
            values: (_, splits) => splits.map((each) => name.format(each * 1000)),
          },
          {
            ...axis,
            size: 52,
            grid: { stroke: grid, width: 1 },
            values: (_, splits) => splits.map((each) => compact.format(each)),
          },
        ],
        series: [{}, ...this.swatches.map((each) => this.bars(each)).reverse()],
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
      };
    }

    bars(swatch) {
      return {
        fill: "hatched" in swatch.dataset ? hatching(getComputedStyle(swatch).color) : getComputedStyle(swatch).backgroundColor,
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars({ size: [0.72, 44] }),
      };
    }

    // Shows in the legend what the pointer is over, or the totals when it is over nothing.
    tell(index) {
      const { starts, series, byHour } = this.figures;
      const over = index != null && series[0]?.[index] != null;
      const moment = over && new Date(starts[index] * 1000);
      const then = over && (byHour ? `from ${hour.format(moment)} UTC` : `on ${weekday.format(moment)}`);
      this.when.textContent = over ? `in total, of which ${then}:` : this.when.dataset.whole;
      this.totals.forEach((total, n) => {
        total.textContent = over ? exact.format(series[n][index]) : total.dataset.total;
      });
    }
  }

  let chart = null;
  const begin = () => {
    const section = document.getElementById("usage");
    if (section?.querySelector("#usage-chart") && chart?.section !== section) chart = new Chart(section);
  };

  document.addEventListener("DOMContentLoaded", begin);
  document.addEventListener("htmx:load", begin);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart?.draw());
})();
