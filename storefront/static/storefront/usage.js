// Draws the figures of a usage section as stacked bars, the largest party at the bottom, and the
// range before as a line.

(() => {
  // Ticks may be 250 apart: 1.25K must not become 1.3K.
  // English days come before their months, and "Sept" would be longer than all other months.
  const page = document.documentElement.lang;
  const [dayLanguage, monthLanguage] = page === "en" ? ["en-GB", "en-US"] : [page, page];
  const compact = new Intl.NumberFormat(page, { notation: "compact", maximumFractionDigits: 2 });
  const exact = new Intl.NumberFormat(page, { maximumFractionDigits: 9 });
  const formatOf = (options) => new Intl.DateTimeFormat(dayLanguage, { timeZone: "UTC", ...options });
  const hour = formatOf({ hour: "2-digit", minute: "2-digit" });
  const day = formatOf({ day: "numeric", month: "short" });
  const month = new Intl.DateTimeFormat(monthLanguage, { timeZone: "UTC", month: "short" });
  const weekday = formatOf({ weekday: "short", day: "numeric", month: "short" });
  const wholeMonth = formatOf({ month: "long", year: "numeric" });
  const year = formatOf({ year: "numeric" });

  const stacked = (series) => {
    const heights = [];
    for (const amounts of series) {
      const below = heights.at(-1);
      heights.push(amounts.map((each, n) => (each === null ? null : each + (below ? below[n] : 0))));
    }
    return heights;
  };

  // Where the horizontal axis may be named: so many bars apart, at which bars, and how.
  const everyBar = (apart, name) => ({
    apart,
    at: (dates, step) => [...dates.keys()].filter((place) => place % step === 0),
    name,
  });
  const BARS_OF_A_MONTH = 31;
  const firstsOfMonths = {
    apart: [1, 2, 3, 6, 12].map((each) => each * BARS_OF_A_MONTH),
    at: (dates, step) =>
      [...dates.keys()].filter(
        (place) => dates[place].getUTCDate() === 1 && dates[place].getUTCMonth() % (step / BARS_OF_A_MONTH) === 0,
      ),
    name: (date) => (date.getUTCMonth() ? month : year).format(date),
  };
  const namings = {
    hour: (dates) =>
      everyBar([1, 2, 3, 6, 12, 24, 48, 168], (date) => (dates.length > 24 && date.getUTCHours() === 0 ? day : hour).format(date)),
    day: (dates) => (dates.length > 62 ? firstsOfMonths : everyBar([1, 2, 7, 14, 28], (date) => day.format(date))),
    month: (dates) => ({
      apart: [1, 2, 3, 6, 12],
      at: (dates, step) => [...dates.keys()].filter((place) => dates[place].getUTCMonth() % step === 0),
      name: dates.length > 12 ? firstsOfMonths.name : (date) => month.format(date),
    }),
  };
  // `texts`: of the chart, in the language of the page.
  const readOut = {
    hour: (date, texts) => texts.hour.replace("{day}", weekday.format(date)).replace("{hour}", hour.format(date)),
    day: (date, texts) => texts.day.replace("{day}", weekday.format(date)),
    month: (date, texts) => texts.month.replace("{month}", wholeMonth.format(date)),
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
    constructor(figure) {
      this.figure = figure;
      this.box = figure.querySelector(".chart");
      this.figures = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      this.dates = this.figures.starts.map((each) => new Date(each * 1000));
      this.when = figure.querySelector("[data-when]");
      this.aloud = figure.querySelector("[data-aloud]");
      this.totals = [...figure.querySelectorAll(".legend [data-total]")];
      this.swatches = this.totals.map((each) => each.closest("li").querySelector("i"));
      this.before = figure.querySelector(".legend [data-before]");
      this.resized = new ResizeObserver(() => this.fit());
      this.resized.observe(this.box);
      this.box.addEventListener("keydown", (event) => this.stepByKey(event));
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
      const { starts, series, before } = this.figures;
      // The tallest first, so that each is painted over the one that reaches above it.
      const data = [[...starts.keys()], ...stacked(series).reverse(), ...(before ? [before] : [])];
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
      const { step, element, before } = this.figures;
      const { apart, at, name } = namings[step](this.dates);
      const around = [-0.5, this.dates.length - 0.5];
      const unit = element.length > 30 ? `${element.slice(0, 29)}…` : element;
      const label = { labelFont: "12px system-ui, sans-serif", labelSize: 18, labelGap: 0 };
      return {
        ...this.size,
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: false, range: () => around }, y: { range: (_, __, most) => [0, (most || 1) * 1.05] } },
        axes: [
          {
            ...axis,
            ...label,
            label: this.box.dataset.axis,
            size: 26,
            grid: { show: false },
            incrs: apart,
            splits: (_, __, least, most, bars) => at(this.dates, bars),
            values: (_, splits) => splits.map((each) => name(this.dates[each])),
          },
          {
            ...axis,
            ...label,
            label: unit,
            size: 52,
            grid: { stroke: grid, width: 1 },
            values: (_, splits) => splits.map((each) => compact.format(each)),
          },
        ],
        series: [{}, ...this.swatches.map((each) => this.bars(each)).reverse(), ...(before ? [this.line(ink)] : [])],
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)], draw: [(plot) => this.markUnfinished(plot)] },
      };
    }

    // Stripes in the colour behind the chart run over the bar that is still growing.
    markUnfinished(plot) {
      const place = this.figures.unfinished;
      if (place === null || !this.figures.series.length) return;
      const behind = getComputedStyle(this.figure).backgroundColor;
      const [left, right] = [place - 0.5, place + 0.5].map((each) => plot.valToPos(each, "x", true));
      plot.ctx.save();
      plot.ctx.fillStyle = hatching(behind)();
      plot.ctx.fillRect(left, plot.bbox.top, right - left, plot.bbox.height);
      plot.ctx.restore();
    }

    // Moves the cursor to a bar; null takes it away.
    point(index) {
      const left = index === null ? -10 : this.plot.valToPos(index, "x");
      this.plot.setCursor({ left, top: index === null ? -10 : 0 });
    }

    // The arrow keys go from bar to bar, as far as there are figures.
    stepByKey(event) {
      const last = this.last;
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
      const names = [...this.figure.querySelectorAll(".legend li:not(.off)")];
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

    line(color) {
      return { stroke: color, width: 1.5, dash: [5, 4], points: { show: false } };
    }

    // The last bar that there are figures for.
    get last() {
      const { series, before } = this.figures;
      return (series[0] ?? before ?? []).findLastIndex((each) => each !== null);
    }

    // Shows in the legend what the pointer is over, or the totals when it is over nothing.
    tell(index) {
      const { series, before, step, unfinished } = this.figures;
      const over = index != null && index <= this.last;
      const { whole } = this.when.dataset;
      const texts = this.box.dataset;
      const sentence = index === unfinished ? texts.soFar : texts.ofWhich;
      this.when.textContent = over
        ? sentence.replace("{whole}", whole).replace("{step}", readOut[step](this.dates[index], texts))
        : whole;
      this.totals.forEach((total, n) => {
        total.textContent = over ? exact.format(series[n][index]) : total.dataset.total;
      });
      if (this.before) {
        const then = before[index];
        this.before.textContent = !over ? this.before.dataset.before : then == null ? "–" : exact.format(then);
      }
    }
  }

  let charts = [];
  const begin = () => {
    const figures = [...document.querySelectorAll("#usage figure")];
    if (figures.length && charts[0]?.figure === figures[0]) return;
    charts = figures.map((each) => new Chart(each));
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
  // Other parts of a page load, too.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const section = document.getElementById("usage");
    if (!section?.contains(event.target)) return;
    section.setAttribute("aria-busy", "true");
    section.querySelector("[data-failed]").hidden = true;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "usage") sayTotal();
  });
  for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, fail);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((each) => each.draw()));
})();
