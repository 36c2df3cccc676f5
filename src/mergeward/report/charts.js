"use strict";

// Draws the charts of a run's page with Plotly: each as it comes near the window, again when day turns to night,
// and all of them, as by day, on paper.
(() => {
  const charts = [...document.querySelectorAll("[data-figure]")];
  // Nothing is offered that would send figures to a server.
  const OPTIONS = {
    displaylogo: false,
    responsive: true,
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "select2d", "lasso2d"],
  };
  const night = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();

  // The style's colours as they are at an element, where light-dark() is settled.
  function colour(element, name, hue) {
    const probe = element.appendChild(document.createElement("i"));
    if (hue !== undefined) probe.className = `hue-${hue}`;
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function coloured(element, { hue, hollow, ...trace }) {
    const own = colour(element, "--hue", hue);
    const page = colour(element, "--chart-page");
    return {
      ...trace,
      line: { color: own, width: hollow ? 1.25 : 1.75, dash: hollow ? "dash" : "solid" },
      marker: { color: hollow ? page : own, size: 8, line: { color: own, width: hollow ? 1.25 : 0 } },
      error_y: trace.error_y && { ...trace.error_y, color: own, thickness: hollow ? 0.75 : 1.25, width: 3 },
    };
  }

  function axis(element, given) {
    const line = colour(element, "--chart-line");
    return { ...given, gridcolor: line, linecolor: line, zeroline: false, automargin: true };
  }

  function draw(element) {
    const { traces, layout } = JSON.parse(element.dataset.figure);
    const { fontFamily } = getComputedStyle(element);
    drawn.add(element);
    return Plotly.react(
      element,
      traces.map((trace) => coloured(element, trace)),
      {
        xaxis: axis(element, layout.xaxis),
        yaxis: axis(element, layout.yaxis),
        font: { family: fontFamily, size: 12, color: colour(element, "--chart-text") },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        modebar: {
          bgcolor: "rgba(0,0,0,0)",
          color: colour(element, "--chart-muted"),
          activecolor: colour(element, "--chart-text"),
        },
        margin: { l: 50, r: 16, t: 28, b: 44 },
        hovermode: "closest",
        showlegend: traces.some((trace) => trace.showlegend),
        legend: { orientation: "h", y: -0.3 },
      },
      OPTIONS,
    );
  }

  function redraw(scheme) {
    for (const element of charts) element.style.colorScheme = scheme;
    for (const element of drawn) draw(element);
  }

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "600px" },
  );
  for (const element of charts) near.observe(element);
  night.addEventListener("change", () => redraw(""));
  addEventListener("beforeprint", () => {
    for (const element of charts) drawn.add(element);
    redraw("light");
  });
  addEventListener("afterprint", () => redraw(""));
})();
