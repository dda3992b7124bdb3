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

// A file on its way: how much of it was sent, and a button that stops it. Without this script the form works alone.
const upload = document.querySelector("form[data-upload]");
upload?.addEventListener("submit", (event) => {
  event.preventDefault();
  const sent = upload.querySelector(".sent"), start = upload.querySelector("button[type=submit]");
  const request = new XMLHttpRequest();
  const ready = () => { sent.hidden = true; start.disabled = false; };
  const size = (bytes) => (bytes < 1e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    sent.querySelector("progress").value = (100 * loaded) / total;
    sent.querySelector("span").textContent = loaded < total ? `${size(loaded)} of ${size(total)} sent` : "sent, being kept";
  });
  request.addEventListener("load", () => {
    ready();
    if (request.responseURL !== upload.action) { location.assign(request.responseURL); return; }
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const said = page.querySelector("[role=alert], main h1")?.textContent ?? request.responseText;
    const shown = upload.parentElement.querySelector(".error") ?? document.createElement("p");
    Object.assign(shown, { className: "error", textContent: said }).setAttribute("role", "alert");
    upload.before(shown);
  });
  for (const end of ["error", "abort"]) request.addEventListener(end, ready);
  sent.querySelector("button").onclick = () => request.abort();
  request.open("POST", upload.action);
  request.send(new FormData(upload, event.submitter));
  sent.hidden = false;
  start.disabled = true;
});
