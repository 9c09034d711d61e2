// The gap of an inpainting: drawn over the sound with a pointer, or moved by its edges; two sliders hold the same numbers.
const box = () => element.querySelector(".gap[data-seconds]");
let from = 0, to = 0, dragged = null;

function show(begin, end) {
  const gap = box();
  if (!gap) return;
  const seconds = Number(gap.dataset.seconds);
  [from, to] = [begin, end].map((value) => Math.max(0, Math.min(seconds, Number(value)))).sort((a, b) => a - b);
  const [left, right] = [100 * from / seconds, 100 * to / seconds];
  const made = gap.querySelector(".made");
  made.style.left = `${left}%`;
  made.style.width = `${right - left}%`;
  gap.querySelector(".before").style.width = `${left}%`;
  gap.querySelector(".after").style.width = `${100 - right}%`;
}
window.tinyGapShow = (begin, end) => { show(begin, end); };

function place(event) {
  const gap = box(), room = gap.getBoundingClientRect();
  return Math.max(0, Math.min(1, (event.clientX - room.left) / room.width)) * Number(gap.dataset.seconds);
}
function tell() {
  window.tinyGap = [Number(from.toFixed(3)), Number(to.toFixed(3))];
  trigger("range");
}

element.addEventListener("pointerdown", (event) => {
  const gap = box();
  if (!gap || !gap.contains(event.target)) return;
  event.preventDefault();
  gap.setPointerCapture(event.pointerId);
  const at = place(event), near = Number(gap.dataset.seconds) * 14 / gap.getBoundingClientRect().width;
  if (Math.abs(at - from) < near) dragged = to;
  else if (Math.abs(at - to) < near) dragged = from;
  else dragged = at; // a new gap begins here
});
element.addEventListener("pointermove", (event) => {
  if (dragged === null) return;
  const at = place(event);
  if (Math.abs(at - dragged) > 0.004) show(dragged, at);
});
const end = () => { if (dragged !== null) { dragged = null; tell(); } };
element.addEventListener("pointerup", end);
element.addEventListener("pointercancel", end);

watch("value", () => {
  const gap = box();
  if (gap) show(0.35 * Number(gap.dataset.seconds), 0.65 * Number(gap.dataset.seconds));
});
