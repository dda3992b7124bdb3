// Sliders beside the number fields: each sets its field, and follows it. Without this script the fields work alone.
for (const slider of document.querySelectorAll("input[data-sets]")) {
  const field = document.getElementById(slider.dataset.sets);
  const low = Number(slider.dataset.low), high = Number(slider.dataset.high), steps = Number(slider.max);
  const isLog = slider.dataset.scale === "log";
  const rounded = (value) => Number(value.toPrecision(2));
  const value = (share) => (isLog ? low * (high / low) ** share : low + (high - low) * share);
  const share = (number) => (isLog ? Math.log(number / low) / Math.log(high / low) : (number - low) / (high - low));
  const follow = () => { slider.value = Math.round(steps * Math.min(1, Math.max(0, share(Number(field.value)) || 0))); };
  slider.addEventListener("input", () => { field.value = rounded(value(slider.value / steps)); });
  field.addEventListener("input", follow);
  follow();
}

// The steps of work that goes on, as the server tells them.
const step = document.querySelector("[data-events]");
if (step) {
  const events = new EventSource(step.dataset.events);
  events.addEventListener("message", (event) => { step.textContent = event.data; });
  events.addEventListener("over", () => { events.close(); location.reload(); });
}

// What a gateway does now: the server sends the page's content again when it has changed.
const live = document.querySelector("[data-live]");
if (live) {
  const states = new EventSource(live.dataset.live);
  states.addEventListener("message", (event) => {
    const focused = document.activeElement?.id;
    live.innerHTML = event.data;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  });
}
