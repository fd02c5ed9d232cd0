// What happens when: speaking, stopping, listening again, saving. Ties the other parts together.
let sound = null;
let player = null;
let making = null;             // AbortController of what is being made
let asked = null;              // the request, when it was made, and the figures of its answer
const reader = new Reader(at("spoken"), seek);

// Speaking ---------------------------------------------------------------------------------------

function findMistake() {
  const count = countCharacters();
  if (!at("text").value.trim()) return t("There is nothing to speak; write a text.");
  if (count <= MOST_CHARACTERS) return "";
  return t("The text has {count} characters, but at most {most} can be spoken at once; divide it.",
    { count: sayNumber(count), most: sayNumber(MOST_CHARACTERS) });
}

async function speak() {
  stop();
  at("state").textContent = "";
  at("mistake").textContent = findMistake();
  if (at("mistake").textContent) return at("text").focus();
  openContext((currentVoice().audio || {}).sample_rate || 22050);
  const own = new AbortController();
  making = own;
  asked = { speed: chosen.speed, at: performance.now(), first: null, took: null };
  beginShowing();
  showState();
  try {
    if (!defaultVoice) await loadVoices();  // the server did not answer, or wanted a key
    own.signal.throwIfAborted();
    asked.request = { text: at("text").value, ...readChoices() };
    await make(asked.request, own.signal);
    if (!sound || !sound.length) throw new Error(t("There is nothing to speak; write a text."));
    asked.took = performance.now() - asked.at;
  } catch (error) {
    if (error.name !== "AbortError") at("mistake").textContent = error.message;
  }
  if (own !== making) return;  // another one has begun
  making = null;
  if (sound && sound.length) {
    sound.isWhole = true;
    player.endIfDone();
  } else {
    showNothing();
  }
  showState();
}

// Resolves when all has come.
async function make(request, signal) {
  const on = {
    ready: beginSound,
    sentence: sentence => reader.add(sentence),
    samples: addSamples,
  };
  try {
    await speakLive(request, on, signal);
  } catch (error) {
    if (error instanceof RefusedError && await hasNewKey()) return make(request, signal);
    if (!(error instanceof NoWebSocketError)) throw error;
    asked.isPlain = true;
    reader.showPlain(request.text);
    await speakPlainly(request, on, signal);
  }
}

function beginShowing() {
  sound = null;
  player = null;
  reader.clear(at("text").lang);
  at("player").hidden = true;
  fill(true);
}

function showNothing() {
  sound = player = null;
  fill(false);
}

function fill(isFilled) {
  at("result").classList.toggle("filled", isFilled);
  at("empty").hidden = isFilled;
  at("spoken").hidden = !isFilled;
  if (!isFilled) at("player").hidden = true;
}

function beginSound(sampleRate) {
  sound = new Sound(sampleRate);
  player = new Player(sound);
  player.play(0);
  at("player").hidden = false;
  // On a phone what is spoken lies below; the button that stops it stays in sight.
  if (matchMedia("(max-width: 56rem)").matches) at("speak").scrollIntoView({ block: "start" });
  follow();
}

function addSamples(samples) {
  sound.add(samples);
  player.feed();
  if (asked.first === null && player.firstAt !== null) {
    asked.first = player.firstAt - asked.at;
    showState();
  }
  showPlace();
}

function stop() {
  const isBusy = runsOrMakes();
  if (making) making.abort();
  making = null;
  if (player) player.stop();
  if (sound) sound.isWhole = true;
  if (asked && asked.took === null && isBusy) asked.isStopped = true;
  if (isBusy && !(sound && sound.length)) showNothing();
  if (player) showPlace();
  showState();
}

// Showing ----------------------------------------------------------------------------------------

let frame = 0;
function follow() {
  cancelAnimationFrame(frame);  // one that another sound or place has begun
  if (!player) return;
  if (player.isPlaying) frame = requestAnimationFrame(follow);
  else showState();
  showPlace();
}

function showPlace() {
  const place = player.position;
  const isAtEnd = sound.isWhole && place >= sound.seconds;
  if (isAtEnd) reader.lightNothing();
  else reader.light(place);
  const seconds = sound.seconds;
  at("seek").max = seconds;
  at("seek").value = place;
  const clock = { at: sayClock(place), all: sayClock(seconds) };
  at("clock").textContent = `${clock.at} / ${clock.all}`;
  at("seek").setAttribute("aria-valuetext", t("{at} of {all}", clock));
  drawWave(at("wave"), sound, seconds ? place / seconds : 0);
}

function showState() {
  const isPlaying = Boolean(player && player.isPlaying);
  const isBusy = runsOrMakes();
  at("speak").classList.toggle("busy", isBusy);
  at("speak-name").textContent = t(isBusy ? "Stop" : "Speak");
  at("play").classList.toggle("busy", isPlaying);
  at("play").setAttribute("aria-label", t(isPlaying ? "Pause" : "Play"));
  for (const button of document.querySelectorAll("[data-format]")) {
    button.disabled = making !== null || !sound || !sound.length;
  }
  at("state").textContent = describeState();
}

function describeState() {
  if (!asked || (!making && !sound)) return "";
  const said = [];
  if (asked.first !== null) {
    said.push(t("First sound after {first}", { first: saySeconds(asked.first / 1000, 2) }));
  }
  if (asked.took !== null) {
    said.push(t("{all} of speech, made in {took}",
      { all: saySeconds(sound.seconds), took: saySeconds(asked.took / 1000) }));
  } else if (making) {
    said.push(t("Being made …"));
  } else if (asked.isStopped) {
    said.push(t("Stopped."));
  }
  if (asked.isPlain) {
    said.push(t("Without lit words: the server cannot be reached by WebSocket."));
  }
  return said.join(" · ");
}

// Listening again --------------------------------------------------------------------------------

function togglePlay() {
  if (player.isPlaying) {
    player.stop();
    showPlace();  // what the last frame showed is before it
  } else begin(sound.isWhole && player.place >= sound.seconds ? 0 : player.place);
  showState();
}

function begin(seconds) {
  reader.isFollowing = true;
  player.play(seconds);
  follow();
}

function seek(seconds) {
  if (!player) return;
  if (player.isPlaying) begin(seconds);
  else player.place = seconds;
  showPlace();
}

// Saving -----------------------------------------------------------------------------------------

// Other formats than WAV are spoken anew.
async function fetchAs(format) {
  const { text, voice, speaker } = asked.request;
  const body = {
    input: text,
    voice: speaker === undefined ? voice : `${voice}:${speaker}`,
    speed: asked.speed,
    response_format: format,
  };
  return (await post("v1/audio/speech", body)).blob();
}

async function save(format) {
  at("mistake").textContent = "";
  if (format !== "wav") at("state").textContent = t("Being made …");
  const name = `${asked.request.voice}.${format}`;
  try {
    const blob = format === "wav" ? sound.toWav() : await fetchAs(format);
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    at("state").textContent = t("Saved as {name}.", { name });
  } catch (error) {
    at("mistake").textContent = error.message;
    showState();
  }
}

// Beginning --------------------------------------------------------------------------------------

function runsOrMakes() { return making !== null || Boolean(player && player.isPlaying); }

at("form").addEventListener("submit", event => {
  event.preventDefault();
  if (runsOrMakes()) stop();
  else speak();
});
document.addEventListener("keydown", event => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    speak();
  } else if (event.key === "Escape" && runsOrMakes()) {
    event.preventDefault();
    stop();
  }
});
at("play").addEventListener("click", togglePlay);
// While the bar is drawn nothing is heard: each step would begin the whole rest anew.
let isDrawn = false;
at("seek").addEventListener("input", () => {
  const seconds = Number(at("seek").value);
  isDrawn = isDrawn || player.isPlaying;
  player.stop();
  seek(seconds);
});
at("seek").addEventListener("change", () => {
  if (isDrawn) begin(player.place);
  isDrawn = false;
  showState();
});
for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => save(button.dataset.format));
}
for (const change of [matchMedia("(prefers-color-scheme: dark)"), window]) {
  change.addEventListener(change === window ? "resize" : "change", () => {
    if (player) showPlace();
  });
}

translatePage();
recall();
watchControls();
watchAdding();
showCounter();
showSliders();
showState();
loadVoices().catch(error => { at("mistake").textContent = error.message; });
