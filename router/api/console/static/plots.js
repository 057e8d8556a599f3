// The overview's plots of the last hour.
"use strict";
(() => {
  const section = document.querySelector("[data-flow]");
  if (!section) return;
  const EVERY_MS = 10_000;
  const HEIGHT = 160;
  const WORDS = {
    failed: "Failed", returned: "Given back", unfetched: "Not fetched", silent: "Went silent", ambiguous: "Ambiguous", all: "All reasons",
  };
  let plots = [];
  let shown = null;

  const box = (name) => section.querySelector(`[data-plot="${name}"]`);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const whole = (_, value) => (value == null ? "–" : value.toLocaleString("en"));
  const seconds = (_, value) => (value == null ? "–" : `${value.toFixed(value < 10 ? 2 : 1)} s`);
  const minute = (at) => new Date(at * 1000).toISOString().slice(11, 16);

  const series = (label, colourName, value, dash) => ({
    label, value, dash, stroke: colour(colourName), width: 1.5, spanGaps: false, points: { show: false },
  });
  const options = (name, lines, unit) => {
    const ink = colour("--soft");
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "11px system-ui, sans-serif" };
    return {
      width: box(name).clientWidth,
      height: HEIGHT,
      legend: { live: true },
      cursor: { drag: { x: false, y: false }, points: { size: 5 } },
      scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(unit === "s" ? 1 : 5, most * 1.1)] } },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map(minute), space: 60, size: 28 },
        { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => (unit === "s" ? `${tick} s` : Number.isInteger(tick) ? tick : "")) },
      ],
      series: [{ label: "Minute", value: (_, at) => (at == null ? "–" : `${minute(at)} UTC`) }, ...lines],
    };
  };

  // A new one each time: a canvas of 60 points costs nothing, and the window, the colours or the reasons may have changed
  const draw = () => {
    plots.forEach((plot) => plot.destroy());
    plots = [];
    const put = (name, lines, data, unit) => {
      const plot = new uPlot(options(name, lines, unit), [shown.at, ...data], box(name));
      // Where nobody points, the legend tells of the last minute
      const last = () => plot.setLegend({ idx: shown.at.length - 1 }, false);
      plot.over.addEventListener("mouseleave", () => setTimeout(last));
      setTimeout(last);
      plots.push(plot);
    };
    put(
      "flow",
      [series("Accepted", "--line-2", whole), series("Sent", "--line-1", whole), series("Verified", "--line-3", whole, [4, 3])],
      [shown.accepted, shown.sent, shown.verified],
    );
    put("seconds", [series("p50", "--line-1", seconds), series("p95", "--line-3", seconds, [4, 3])], [shown.p50, shown.p95], "s");
    const reasons = Object.keys(shown.failovers);
    const looks = [["--line-3"], ["--line-2"], ["--line-1"], ["--line-3", [4, 3]], ["--line-2", [4, 3]]];
    put(
      "failovers",
      reasons.length ? reasons.map((name, i) => series(WORDS[name] || name, looks[i % 5][0], whole, looks[i % 5][1])) : [series("None", "--line-1", whole)],
      reasons.length ? reasons.map((name) => shown.failovers[name]) : [shown.at.map(() => 0)],
    );
    section.dataset.drawn = String(shown.at.at(-1));
  };

  const renew = async (isAsked) => {
    if (!isAsked && window.seedrouter.isResting()) return;
    try {
      const answer = await fetch(section.dataset.flow, { headers: { "X-Console-Poll": "1" }, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) return;
      shown = await answer.json();
    } catch {
      return; // the page's own state says that there is no answer
    }
    draw();
  };

  renew(true);
  setInterval(renew, EVERY_MS);
  document.addEventListener("console:rest", () => renew());
  let wide = window.innerWidth;
  window.addEventListener("resize", () => {
    if (shown && window.innerWidth !== wide) draw();
    wide = window.innerWidth;
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown && draw());
})();
