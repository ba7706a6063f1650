// Draws the figures of a usage section as stacked bars, the largest party at the bottom.

(() => {
  const HOUR = 3600;
  const DAY = 24 * HOUR;
  const MONTH = 31 * DAY; // seconds between names of months
  // Ticks may be 250 apart: 1.25K must not become 1.3K.
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
  const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 9 });
  const formatOf = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
  const hour = formatOf({ hour: "2-digit", minute: "2-digit" });
  const day = formatOf({ day: "numeric", month: "short" });
  // "Sept" would be longer than all others.
  const month = new Intl.DateTimeFormat("en-US", { timeZone: "UTC", month: "short" });
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
      this.aloud = section.querySelector("[data-aloud]");
      this.totals = [...section.querySelectorAll(".legend [data-total]")];
      this.swatches = [...section.querySelectorAll(".legend i")];
      this.step = this.figures.byHour ? HOUR : DAY;
      this.resized = new ResizeObserver(() => this.fit());
      this.resized.observe(this.box);
      this.box.addEventListener("keydown", (event) => this.step_by_key(event));
      this.box.addEventListener("blur", () => this.point(null));
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
      // A tap is no hovering: the bar beneath is read out until another is tapped.
      this.plot.over.addEventListener("pointerdown", (event) => {
        if (event.pointerType !== "mouse") this.point(this.plot.posToIdx(event.offsetX));
      });
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

    // Moves the cursor to a bar; null takes it away.
    point(index) {
      const left = index === null ? -10 : this.plot.valToPos(this.figures.starts[index], "x");
      this.plot.setCursor({ left, top: index === null ? -10 : 0 });
    }

    // The arrow keys go from bar to bar, as far as there are figures.
    step_by_key(event) {
      const last = this.figures.series[0].findLastIndex((each) => each !== null);
      const at = this.plot.cursor.idx;
      const steps = {
        ArrowLeft: Math.max((at ?? last + 1) - 1, 0),
        ArrowRight: Math.min((at ?? -1) + 1, last),
        Home: 0,
        End: last,
        Escape: null,
      };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.point(steps[event.key]);
      const names = [...this.section.querySelectorAll(".legend li")];
      this.aloud.textContent =
        steps[event.key] === null
          ? ""
          : `${this.when.textContent} ${names.map((each) => each.textContent.trim().replace(/\s+/g, " ")).join(", ")}`;
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
      const isNow = over && Date.now() - moment < this.step * 1000;
      const soFar = isNow ? ", so far" : "";
      const then = over && (byHour ? `from ${hour.format(moment)} UTC${soFar}` : `on ${weekday.format(moment)}${soFar}`);
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

  // Said once for each load: the region stands outside of what htmx exchanges.
  const sayTotal = () => {
    const place = document.getElementById("usage-said");
    const section = document.getElementById("usage");
    if (place && section) place.textContent = section.dataset.said;
  };

  // A load that fails leaves the figures as they were, and says so.
  const fail = (event) => {
    const section = document.getElementById("usage");
    const place = section?.querySelector("[data-failed]");
    if (!place || !section.contains(event.target)) return;
    section.removeAttribute("aria-busy");
    place.hidden = false;
    const again = place.querySelector("a");
    again.href = event.detail.pathInfo?.requestPath ?? location.href;
    again.focus();
  };

  document.addEventListener("DOMContentLoaded", begin);
  document.addEventListener("htmx:load", begin);
  document.addEventListener("htmx:beforeRequest", () => {
    const section = document.getElementById("usage");
    section?.setAttribute("aria-busy", "true");
    const place = section?.querySelector("[data-failed]");
    if (place) place.hidden = true;
  });
  document.addEventListener("htmx:afterSwap", sayTotal);
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, fail);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart?.draw());
})();
