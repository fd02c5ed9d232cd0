const PAUSE_MS = 400;          // between A and B
const SIDES = ["left", "right"];
const COLUMNS = ["test", "listener", "pair", "sentence", "left", "right", "choice", "seconds",
  "comment"];

const data = JSON.parse(at("data").textContent);
const pairs = data.pairs;
const store = `piper-listening-${data.test}`;
const audio = at("audio");
let state = { listener: "", answers: {}, current: 0 };
let heard = new Set();         // sides of this pair that began to play
let openedAt = 0;
let playing = 0;               // counts plays, so that a later one ends an earlier one

// What is kept -----------------------------------------------------------------------------------

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (kept) state = kept;
    save();
  } catch {
    at("unkept").hidden = false;
  }
}

function save() {
  try {
    localStorage.setItem(store, JSON.stringify(state));
  } catch {
    at("unkept").hidden = false;
  }
}

function countAnswers() {
  return Object.values(state.answers).filter(answer => answer.choice).length;
}

function answerOf(index) {
  return state.answers[index] || (state.answers[index] = { choice: "", seconds: 0, comment: "" });
}

// What is shown ----------------------------------------------------------------------------------

function show(section) {
  for (const id of ["intro", "trial", "end"]) at(id).hidden = id !== section;
  at("tools").hidden = section === "intro";
  at("again").hidden = section !== "trial";
  at("forward").hidden = section !== "trial";
  const title = { intro: "intro-title", trial: "place", end: "end-title" }[section];
  if (section !== "intro") at(title).focus();
  showProgress();
}

function showProgress() {
  at("progress").max = pairs.length;
  at("progress").value = countAnswers();
  const [done, all] = [countAnswers(), pairs.length];
  at("count").textContent = tell("{0} of {1} answered", done, all);
  at("download").disabled = countAnswers() === 0;
}

function say(sentence, isMistake = false) {
  at("said").textContent = sentence;
  at("said").classList.toggle("mistake", isMistake);
}

function showHeard() {
  SIDES.forEach((side, index) => at(`play-${index}`).classList.toggle("heard", heard.has(side)));
}

function showAnswer() {
  const answer = answerOf(state.current);
  for (const choice of [...SIDES, "none"]) {
    at(`choose-${choice}`).setAttribute("aria-pressed", String(answer.choice === choice));
  }
  at("comment").value = answer.comment;
}

function openPair(index, isHeard = true) {
  stop();
  state.current = index;
  save();
  const answer = answerOf(index);
  heard = new Set(answer.choice ? SIDES : []);
  openedAt = performance.now();
  const [number, all] = [index + 1, pairs.length];
  at("place").textContent = tell("Pair {0} of {1}", number, all);
  at("text").textContent = pairs[index].text;
  at("text").hidden = !pairs[index].text;
  at("back").disabled = index === 0;
  say("");
  showHeard();
  showAnswer();
  show("trial");
  if (isHeard && !answer.choice) playBoth();
}

function openEnd() {
  stop();
  at("back").disabled = false;
  show("end");
}

function goToOpen() {
  for (let by = 1; by <= pairs.length; by++) {
    const index = (state.current + by) % pairs.length;
    if (!answerOf(index).choice) return openPair(index);
  }
  return openEnd();
}

function move(by) {
  if (!at("end").hidden) return by < 0 ? openPair(pairs.length - 1) : undefined;
  const index = state.current + by;
  if (index >= 0 && index < pairs.length) return openPair(index);
  if (by > 0 && countAnswers() === pairs.length) return openEnd();
  return say(by > 0 ? tell("This is the last pair.")
    : tell("This is the first pair."));
}

// Listening --------------------------------------------------------------------------------------

function stop() {
  playing += 1;
  audio.pause();
  for (const side of [0, 1]) at(`play-${side}`).classList.remove("playing");
}

async function play(side) {
  stop();
  const mine = playing;
  audio.src = data.sounds[pairs[state.current].sounds[side]];
  at(`play-${side}`).classList.add("playing");
  try {
    await audio.play();
    if (mine !== playing) return false;
    heard.add(SIDES[side]);
    if (heard.size === SIDES.length) say("");
    showHeard();
    await new Promise(done => {
      audio.onended = done;
      audio.onpause = done;
    });
  } catch {
    // A browser may refuse until the page was touched; the buttons are there.
    if (mine === playing) stop();
    return false;
  }
  if (mine !== playing) return false;
  at(`play-${side}`).classList.remove("playing");
  return true;
}

async function playBoth() {
  if (!await play(0)) return;
  const mine = playing;
  await new Promise(done => setTimeout(done, PAUSE_MS));
  if (mine === playing) await play(1);
}

// Answering --------------------------------------------------------------------------------------

function choose(choice) {
  if (heard.size < SIDES.length) return say(tell("Listen to both first."), true);
  const answer = answerOf(state.current);
  // Of an answer that is changed, the time of the first one stays.
  if (!answer.choice) answer.seconds = (performance.now() - openedAt) / 1000;
  answer.choice = choice;
  save();
  showAnswer();
  return goToOpen();
}

function begin() {
  const dice = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
  state.listener = at("listener").value.trim() || state.listener || `listener-${dice}`;
  save();
  const isOpen = countAnswers() < pairs.length;
  if (!isOpen) return openEnd();
  return answerOf(state.current).choice ? goToOpen() : openPair(state.current);
}

function openDisguise(text) {
  const bytes = Uint8Array.from(atob(text), sign => sign.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function writeResult() {
  const rows = [COLUMNS];
  pairs.forEach((pair, index) => {
    const answer = answerOf(index);
    if (!answer.choice) return;
    rows.push([data.test, state.listener, index + 1, ...openDisguise(pair.about), answer.choice,
      answer.seconds.toFixed(2), answer.comment]);
  });
  const quote = value => `"${String(value).replaceAll('"', '""')}"`;
  return rows.map(row => `${row.map(quote).join(",")}\r\n`).join("");
}

function download() {
  if (countAnswers() === 0) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([writeResult()], { type: "text/csv" }));
  link.download = `listening-${state.listener.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Keys, by their place: on a Russian keyboard A and C are other letters --------------------------

const KEYS = {
  Space: playBoth, KeyA: () => play(0), KeyB: () => play(1),
  Digit1: () => choose("left"), Numpad1: () => choose("left"),
  Digit2: () => choose("right"), Numpad2: () => choose("right"),
  Digit0: () => choose("none"), Numpad0: () => choose("none"),
  ArrowLeft: () => move(-1), ArrowRight: () => move(1),
  KeyC: () => at("comment").focus(), KeyD: download,
};
const KEYS_AT_END = new Set(["ArrowLeft", "KeyD"]);

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const field = event.target;
  if (field === at("listener")) {
    if (event.code === "Enter" || event.code === "NumpadEnter") begin();
    return;
  }
  if (field === at("comment")) {
    if (["Enter", "NumpadEnter", "Escape"].includes(event.code)) at("place").focus();
    return;
  }
  // A button that has the focus is pressed by Space.
  if (field.tagName === "BUTTON" && event.code === "Space") return;
  const isEnd = !at("end").hidden;
  if (!(event.code in KEYS) || at("tools").hidden || (isEnd && !KEYS_AT_END.has(event.code))) return;
  event.preventDefault();
  KEYS[event.code]();
});

function press(id, work) {
  at(id).addEventListener("click", event => {
    work();
    // A press by hand leaves the keys to the page; one by the keyboard keeps its place.
    if (event.detail > 0) at(at("trial").hidden ? "end-title" : "place").focus();
  });
}

press("play-0", () => play(0));
press("play-1", () => play(1));
press("choose-left", () => choose("left"));
press("choose-right", () => choose("right"));
press("choose-none", () => choose("none"));
press("back", () => move(-1));
press("forward", () => move(1));
press("again", playBoth);
press("download", download);
at("begin").addEventListener("click", begin);
at("comment").addEventListener("input", () => {
  answerOf(state.current).comment = at("comment").value;
  save();
});

load();
at("minutes").textContent = tell(data.minutes);
at("listener").value = state.listener;
if (countAnswers() > 0) {
  at("intro-title").textContent = tell("Welcome back");
  at("begin").firstChild.data = `${tell("Go on")} `;
}
show("intro");
at("listener").focus();
