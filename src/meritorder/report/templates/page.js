// Draw every chart from its description in the page. Expressions are interpreted, so no text becomes code.
const charts = JSON.parse(document.getElementById("charts").textContent);
const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false };
const drawn = [...document.querySelectorAll("[data-chart]")].map((place) =>
  window.vegaEmbed(place, charts[place.dataset.chart], options),
);
await Promise.all(drawn);
document.documentElement.dataset.drawn = String(drawn.length);
