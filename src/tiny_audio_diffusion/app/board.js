// The board: pads that sound at once, the chosen sound on the stage, deeds that the server is asked for.
// Runs once, with the board's element; what is inside is replaced whenever the server has more sounds.
const KEYS = ["Digit1", "Digit2", "Digit3", "Digit4", "KeyQ", "KeyW", "KeyE", "KeyR",
  "KeyA", "KeyS", "KeyD", "KeyF", "KeyZ", "KeyX", "KeyC", "KeyV"]; // by place, not by letter: a square on every keyboard
const state = { played: 0, last: -1, decoded: 0, failed: 0 };
window.tinyPads = state; // for tests, and for the curious
const sounds = new Map(); // address → promise of a decoded sound
let context = null, voice = null, chosen = { take: 0, place: 0 }, closeness = "0.5", frame = 0, seen = false;

const find = (query) => element.querySelector(query);
const pads = () => [...element.querySelectorAll("button.pad")];
const take = () => Number(find(".board")?.dataset.take || 0);

function sound(source) {
  if (!sounds.has(source)) {
    sounds.set(source, fetch(source)
      .then((answer) => { if (!answer.ok) throw new Error(answer.status); return answer.arrayBuffer(); })
      .then((bytes) => context.decodeAudioData(bytes))
      .then((decoded) => { state.decoded += 1; return decoded; })
      .catch((error) => { state.failed += 1; sounds.delete(source); throw error; }));
    if (sounds.size > 96) sounds.delete(sounds.keys().next().value);
  }
  return sounds.get(source);
}

async function play(pad) {
  context = context || new AudioContext();
  if (context.state === "suspended") context.resume();
  choose(pad);
  pad.classList.remove("hit"); void pad.offsetWidth; pad.classList.add("hit");
  const decoded = await sound(pad.dataset.source);
  if (voice) voice.stop();
  voice = context.createBufferSource();
  voice.buffer = decoded;
  voice.connect(context.destination);
  voice.start();
  state.played += 1;
  state.last = Number(pad.dataset.place);
  follow(context.currentTime, decoded.duration);
}

function follow(start, duration) { // the line that runs over the picture
  cancelAnimationFrame(frame);
  const step = () => {
    const head = find(".head"), share = (context.currentTime - start) / duration;
    if (!head) return;
    head.style.opacity = share < 1 ? 1 : 0;
    head.style.left = `${100 * Math.min(1, share)}%`;
    if (share < 1) frame = requestAnimationFrame(step);
  };
  step();
}

function choose(pad) {
  chosen = { take: take(), place: Number(pad.dataset.place) };
  pads().forEach((each) => each.setAttribute("aria-pressed", each === pad));
  const stage = find(".stage"), screen = find(".screen"), head = find(".head");
  stage.classList.add("filled");
  screen.replaceChildren(pad.querySelector("img").cloneNode(), pad.querySelector("svg").cloneNode(true), head);
  find(".number").textContent = `Sound ${String(chosen.place + 1).padStart(2, "0")}`;
  find(".facts").textContent = pad.dataset.facts;
  find("audio").src = pad.dataset.source;
  const save = find(".save");
  save.href = pad.dataset.source;
  save.download = `take_${chosen.take}_sound_${String(chosen.place).padStart(3, "0")}.wav`;
}

function refresh() { // after the server has drawn the board anew
  const range = find(".closeness");
  if (range) { range.value = closeness; find("output").textContent = Number(closeness).toFixed(2); }
  const work = element.querySelector(".waiting");
  if (work && !seen && window.innerWidth < 720) element.scrollIntoView({ behavior: "smooth" }); // on a phone it is below
  seen = Boolean(work);
  const same = chosen.take === take() ? pads()[chosen.place] : null;
  const pad = same || pads()[0];
  if (pad) choose(pad);
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !element.contains(button)) return;
  if (button.classList.contains("pad")) play(button).catch(() => {});
  else if (button.dataset.deed === "more") trigger("more", { ...chosen, strength: Number(closeness) });
  else if (button.dataset.deed === "use") trigger("use", chosen);
  else if (button.dataset.back) trigger("back", { take: Number(button.dataset.back) });
});
element.addEventListener("input", (event) => {
  if (!event.target.classList.contains("closeness")) return;
  closeness = event.target.value;
  find("output").textContent = Number(closeness).toFixed(2);
});

if (window.tinyKeys) document.removeEventListener("keydown", window.tinyKeys);
window.tinyKeys = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const target = event.target;
  const writes = target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)
    || (target.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(target.type));
  if (writes) return;
  const pad = pads().find((each) => Number(each.dataset.place) === KEYS.indexOf(event.code));
  if (!pad) return;
  event.preventDefault();
  play(pad).catch(() => {});
};
document.addEventListener("keydown", window.tinyKeys);
watch("value", refresh);
refresh();
