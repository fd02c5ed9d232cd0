const BORDER_SECONDS = 0.7;    // heard before and after a border
const LEAST_SECONDS = 0.1;     // of a clip, as the server has it
const STEP_SECONDS = 0.01;
const WIDE_STEP_SECONDS = 0.1;
const SAVE_MS = 300;           // after the last letter or shift
const SIGNS = { undecided: "○", kept: "✓", changed: "✎", dropped: "✕" };
const STATES = {
  undecided: tell("undecided"), kept: tell("kept"), changed: tell("changed"),
  dropped: tell("dropped"),
};

const audio = at("audio");
const text = at("text");
let clips = [];
let current = 0;
let stopAt = null;             // seconds of the audio at which playing ends
let pending = null;            // what is not saved yet: a timer, and whether it is the text
let isWriting = false;         // a text of this clip was saved since the field got the focus
let requests = Promise.resolve();

// Words ------------------------------------------------------------------------------------------

// What the server has to say it says in both languages.
const told = (data, key) => (isRussian && data.ru && data.ru[key]) || data[key];

// Asking -----------------------------------------------------------------------------------------

async function ask(path, body, options = {}) {
  const request = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...options,
  };
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error(tell("The review has ended; start it again, and reload this page."));
  }
  const data = await answer.json();
  if (!answer.ok) throw new Error(told(data, "detail"));
  return data;
}

function inOrder(work) {
  // Decisions are saved in the order in which they were made.
  requests = requests.then(work).catch(error => {
    at("saved").textContent = "";
    at("mistake").textContent = error.message;
  });
  return requests;
}

function say(sentence) {
  at("mistake").textContent = "";
  at("saved").textContent = sentence;
}

// What is saved ----------------------------------------------------------------------------------

function save(choice, isLast = false) {
  const isText = pending !== null && pending.isText;
  if (pending) clearTimeout(pending.timer);
  pending = null;
  const clip = clips[current];
  const isContinued = isWriting && isText;
  isWriting = isText;
  const body = {
    choice, text: clip.text, start: clip.start, end: clip.end, is_continued: isContinued,
  };
  return inOrder(async () => {
    const answer = await ask(`clips/${clip.index}/decision`, body, { keepalive: isLast });
    accept(answer);
    const saved = clips[clip.index];
    say(tell("Saved: {0} is {1}.", saved.name, STATES[saved.state]));
  });
}

function accept(answer) {
  if (answer.clip) {
    const old = clips[answer.clip.index];
    const isOpen = answer.clip.index === current;
    // What was typed since the question is not thrown away.
    const typed = isOpen && pending ? { text: old.text, start: old.start, end: old.end } : {};
    clips[answer.clip.index] = { ...keepSaved(answer.clip), ...typed };
    showItem(answer.clip.index);
    if (isOpen) showDecision();
  }
  at("undo").disabled = !answer.can_undo;
  at("redo").disabled = !answer.can_redo;
  showProgress();
}

function keepSaved(clip) {
  return { ...clip, saved: { text: clip.text, start: clip.start, end: clip.end } };
}

function saveSoon(isText) {
  if (pending) clearTimeout(pending.timer);
  pending = { isText, timer: setTimeout(() => save("keep"), SAVE_MS) };
}

function flush(isLast = false) {
  if (pending) save("keep", isLast);
}

function decide(choice) {
  const clip = clips[current];
  if (choice === "keep" && clip.obstacle) {
    at("mistake").textContent = tell("It cannot be kept. {0}", told(clip, "obstacle"));
    return;
  }
  const from = current;
  flush();  // a step of its own, to be taken back by itself
  save(choice).then(() => {
    if (choice !== "undecided" && current === from && !at("mistake").textContent) {
      goToUndecided(`${at("saved").textContent} `);
    }
  });
}

function step(verb, done) {
  flush();
  isWriting = false;
  inOrder(async () => {
    const answer = await ask(verb, {});
    if (!answer.key) return say(tell("There is nothing more to take back or to repeat."));
    accept(answer);
    if (answer.clip) openClip(answer.clip.index);
    say(answer.clip ? tell("{0}: {1} is {2}.", done, answer.clip.name, STATES[answer.clip.state])
      : tell("{0}: a clip that is not shown here.", done));
  });
}

// What is shown ----------------------------------------------------------------------------------

function element(name, className, content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

function isShown(clip) {
  const [kind, value] = at("filter").value.split(":");
  if (kind === "state") return clip.state === value;
  if (kind === "rule") return clip.issues.some(issue => issue.rule === value);
  if (kind === "severity") return clip.issues.some(issue => issue.severity === value);
  return true;
}

function showProgress() {
  const done = clips.filter(clip => clip.state !== "undecided").length;
  at("progress").max = clips.length;
  at("progress").value = done;
  at("count").textContent = tell("{0} of {1} decided", done, clips.length);
}

function showFilter() {
  const filter = at("filter");
  const rules = new Map();
  for (const clip of clips) {
    for (const rule of new Set(clip.issues.map(issue => issue.rule))) {
      rules.set(rule, (rules.get(rule) || 0) + 1);
    }
  }
  filter.add(new Option(tell("all clips"), "all"));
  for (const state of Object.keys(SIGNS)) filter.add(new Option(STATES[state], `state:${state}`));
  for (const [severity, label] of [["error", tell("with errors")], ["warning", tell("with warnings")]]) {
    const count = clips.filter(clip => clip.issues.some(issue => issue.severity === severity)).length;
    if (count) filter.add(new Option(`${label} (${count})`, `severity:${severity}`));
  }
  for (const [rule, count] of [...rules].sort()) {
    filter.add(new Option(`${rule} (${count})`, `rule:${rule}`));
  }
}

function showList() {
  for (const clip of clips) {
    const item = element("li");
    const button = element("button");
    button.addEventListener("click", () => openClip(clip.index));
    item.append(button);
    at("list").append(item);
    showItem(clip.index);
  }
}

function showItem(index) {
  const clip = clips[index];
  const item = at("list").children[index];
  const button = item.firstChild;
  const sign = element("span", clip.state, SIGNS[clip.state]);
  sign.title = STATES[clip.state];
  sign.setAttribute("role", "img");
  sign.setAttribute("aria-label", STATES[clip.state]);
  const about = element("span", "", `${clip.name} `);
  about.append(element("small", "", clip.issues.map(issue => issue.rule).join(", ") || clip.text));
  button.replaceChildren(sign, about);
  item.hidden = !isShown(clip) && index !== current;
  if (index === current) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
}

function showDoubts(clip) {
  at("doubts").replaceChildren(...clip.issues.map(issue => {
    const item = element("li", issue.severity);
    item.append(element("b", "", issue.rule), ` ${told(issue, "message")}`);
    if (issue.advice) item.append(element("p", "faint", told(issue, "advice")));
    if (issue.text) {
      const fitting = element("p", "", issue.text);
      fitting.dir = "auto";
      const take = element("button", "take", tell("Take this text"));
      take.addEventListener("click", () => takeText(issue.text));
      item.append(fitting, take);
    }
    return item;
  }));
  if (clip.note) at("doubts").append(element("li", "warning", told(clip, "note")));
  at("spans").replaceChildren(...clip.issues.filter(issue => issue.span).map(issue => {
    const span = element("div", "span");
    const [from, to] = issue.span.map(seconds => share(clip, seconds));
    span.style.left = `${from}%`;
    span.style.width = `${to - from}%`;
    return span;
  }));
}

function takeText(fitting) {
  text.value = fitting;
  text.dispatchEvent(new Event("input", { bubbles: true }));
}

function share(clip, seconds) {
  const [low, high] = clip.limits;
  return 100 * Math.min(1, Math.max(0, (seconds - low) / (high - low)));
}

function showDecision() {
  const clip = clips[current];
  at("state").textContent = `${SIGNS[clip.state]} ${STATES[clip.state]}`;
  at("state").className = `state ${clip.state}`;
  if (text.value !== clip.text) {
    text.value = clip.text;
    hearSoon(0);
  }
  const isOther = clip.text !== clip.original.text;
  at("original").textContent = isOther
    ? tell("It was: {0}", clip.original.text || tell("(empty)")) : "";
  showBorders();
}

function showBorders() {
  const clip = clips[current];
  const [from, to] = [share(clip, clip.start), share(clip, clip.end)];
  at("before").style.cssText = `left: 0; width: ${from}%`;
  at("after").style.cssText = `right: 0; width: ${100 - to}%`;
  at("start").style.left = `${from}%`;
  at("end").style.right = `${100 - to}%`;
  for (const border of ["start", "end"]) {
    const slider = at(border);
    slider.setAttribute("aria-valuemin", clip.limits[0].toFixed(2));
    slider.setAttribute("aria-valuemax", clip.limits[1].toFixed(2));
    slider.setAttribute("aria-valuenow", clip[border].toFixed(2));
    slider.setAttribute("aria-valuetext", tell("{0} seconds", clip[border].toFixed(2)));
  }
  const moved = ["start", "end"].map(border => {
    const by = clip[border] - clip.original[border];
    const sign = by > 0 ? "+" : "−";
    const moved = `${sign}${Math.abs(by).toFixed(2)}`;
    if (Math.abs(by) < 0.001) return "";
    return border === "start" ? tell("; start {0} s", moved) : tell("; end {0} s", moved);
  });
  const figures = [clip.start, clip.end, clip.end - clip.start].map(seconds => seconds.toFixed(2));
  at("borders").textContent = tell("{0} to {1} s, {2} s long", ...figures) + moved.join("");
}

function showTimes(clip) {
  const [low, high] = clip.limits;
  at("times").replaceChildren(...[0, 1, 2, 3, 4].map(i =>
    element("span", "", tell("{0} s", (low + (high - low) * i / 4).toFixed(1)))));
}

async function showWave(clip) {
  at("wave").removeAttribute("d");
  at("pitch").textContent = "";
  const outline = await ask(`clips/${clip.index}/outline`);
  if (clip.index !== current) return;
  const peaks = outline.peaks.map(peak => Math.max(0.5, 50 * peak));
  const upper = peaks.map((peak, x) => `${x} ${(50 - peak).toFixed(1)}`);
  const lower = peaks.map((peak, x) => `${x} ${(50 + peak).toFixed(1)}`).reverse();
  at("wave").setAttribute("d", `M${[...upper, ...lower].join("L")}Z`);
  at("pitch").textContent = tell("{0} kHz", outline.top_hertz / 1000);
}

function openClip(index) {
  flush();
  isWriting = false;
  const before = current;
  current = index;
  const clip = clips[index];
  Object.assign(clip, clip.saved);  // what was refused (an empty text) is not shown as if it counted
  showItem(before);
  showItem(index);
  at("list").children[index].scrollIntoView({ block: "nearest" });
  at("name").textContent = clip.name;
  const line = clip.line === null ? tell("in no line yet") : tell("line {0}", clip.line);
  at("place").textContent = clip.speaker ? tell("{0}, speaker {1}", line, clip.speaker) : line;
  showDoubts(clip);
  at("obstacle").textContent = told(clip, "obstacle");
  at("listening").hidden = Boolean(clip.obstacle);
  text.readOnly = Boolean(clip.obstacle);
  text.value = clip.text;
  hearSoon(0);
  showDecision();
  stop();
  if (clip.obstacle) return audio.removeAttribute("src");
  showTimes(clip);
  showWave(clip).catch(error => { at("mistake").textContent = error.message; });
  at("spectrogram").src = `clips/${index}/spectrogram.png`;
  audio.src = `clips/${index}/audio.wav`;
  if (at("autoplay").checked) playClip();
}

let hearing = null;
function hearSoon(delay) {
  clearTimeout(hearing);
  const asked = text.value;
  hearing = setTimeout(async () => {
    try {
      const answer = await ask("phonemes", { text: asked });
      if (asked === text.value) {
        at("heard").textContent = answer.phonemes || told(answer, "mistake") || tell("nothing");
      }
    } catch (error) {
      at("heard").textContent = "";
    }
  }, delay);
}

// Moving between clips ---------------------------------------------------------------------------

function move(by) {
  for (let index = current + by; index >= 0 && index < clips.length; index += by) {
    if (isShown(clips[index])) return openClip(index);
  }
  say(by > 0 ? tell("This is the last clip.") : tell("This is the first clip."));
}

function goToUndecided(said = "") {
  for (let by = 1; by < clips.length; by++) {
    const clip = clips[(current + by) % clips.length];
    if (isShown(clip) && clip.state === "undecided") return openClip(clip.index);
  }
  if (clips[current].state !== "undecided") {
    const rest = clips.some(clip => clip.state === "undecided");
    say(said + (rest ? tell("Nothing undecided is left in this list.")
      : tell("All clips are decided.")));
  }
}

// Listening --------------------------------------------------------------------------------------

function play(from, to) {
  const [low, high] = clips[current].limits;
  stopAt = Math.min(to, high) - low;
  audio.currentTime = Math.max(0, from - low);
  // A browser may refuse until the page was touched; the button is there.
  audio.play().then(follow, () => stop());
}

function playClip() { play(clips[current].start, clips[current].end); }

function togglePlay() { if (audio.paused) playClip(); else stop(); }

function playAround(border) {
  play(clips[current][border] - BORDER_SECONDS, clips[current][border] + BORDER_SECONDS);
}

function stop() {
  audio.pause();
  stopAt = null;
}

function follow() {
  const clip = clips[current];
  if (stopAt !== null && audio.currentTime >= stopAt) stop();
  at("cursor").hidden = audio.paused;
  at("cursor").style.left = `${share(clip, clip.limits[0] + audio.currentTime)}%`;
  if (!audio.paused) requestAnimationFrame(follow);
}
// Frames stop in a page that is not seen.
audio.addEventListener("timeupdate", () => {
  if (stopAt !== null && audio.currentTime >= stopAt) stop();
});
for (const kind of ["play", "pause", "ended"]) {
  audio.addEventListener(kind, () => {
    at("play").firstChild.data = audio.paused ? `${tell("Play")} ` : `${tell("Pause")} `;
    at("cursor").hidden = audio.paused;
  });
}

// Borders ----------------------------------------------------------------------------------------

function moveBorder(border, seconds) {
  if (pending && pending.isText) flush();
  const clip = clips[current];
  const [low, high] = clip.limits;
  const [least, most] = border === "start"
    ? [low, clip.end - LEAST_SECONDS] : [clip.start + LEAST_SECONDS, high];
  clip[border] = Math.min(most, Math.max(least, Math.round(seconds * 1000) / 1000));
  showBorders();
  saveSoon(false);
}

function pointedSeconds(event) {
  const box = at("sight").getBoundingClientRect();
  const [low, high] = clips[current].limits;
  return low + (high - low) * (event.clientX - box.left) / box.width;
}

for (const border of ["start", "end"]) {
  const slider = at(border);
  slider.addEventListener("pointerdown", event => {
    slider.setPointerCapture(event.pointerId);
    slider.focus();
  });
  slider.addEventListener("pointermove", event => {
    if (slider.hasPointerCapture(event.pointerId)) moveBorder(border, pointedSeconds(event));
  });
  slider.addEventListener("click", event => event.stopPropagation());
  slider.addEventListener("keydown", event => {
    const steps = {
      ArrowLeft: event.shiftKey ? -WIDE_STEP_SECONDS : -STEP_SECONDS,
      ArrowRight: event.shiftKey ? WIDE_STEP_SECONDS : STEP_SECONDS,
      PageDown: -WIDE_STEP_SECONDS,
      PageUp: WIDE_STEP_SECONDS,
    };
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    moveBorder(border, clips[current][border] + steps[event.key]);
  });
}
at("sight").addEventListener("click", event => {
  play(pointedSeconds(event), clips[current].limits[1]);
});

// Keys -------------------------------------------------------------------------------------------

const KEYS = [
  [["space"], tell("Space"), tell("play the clip, or pause"), togglePlay],
  [["q"], "Q", tell("listen around the start"), () => playAround("start")],
  [["w"], "W", tell("listen around the end"), () => playAround("end")],
  [["a"], "A", tell("play all that is shown"), () => play(...clips[current].limits)],
  [["s"], "S", tell("the start: then ← → shift it by 10 ms, with Shift by 100 ms"),
    () => at("start").focus()],
  [["e"], "E", tell("the end: likewise"), () => at("end").focus()],
  [["t"], "T", tell("the text"), () => text.focus()],
  [["enter", "k"], "Enter, K", tell("keep, and on to the next undecided one (Ctrl+Enter in the text)"),
    () => decide("keep")],
  [["d"], "D", tell("drop, and on to the next undecided one"), () => decide("drop")],
  [["u"], "U", tell("undecided again, all as it was"), () => decide("undecided")],
  [["z"], "Z", tell("undo"), () => step("undo", tell("Taken back"))],
  [["y"], "Y", tell("redo"), () => step("redo", tell("Made again"))],
  [["arrowdown", "j"], "↓, J", tell("next clip"), () => move(1)],
  [["arrowup", "i"], "↑, I", tell("previous clip"), () => move(-1)],
  [["n"], "N", tell("next undecided clip"), () => goToUndecided()],
  [["f"], "F", tell("which clips the list shows"), () => { at("clips").open = true; at("filter").focus(); }],
  [["c"], "C", tell("write the copy"), () => at("copy").showModal()],
  [["?"], "?", tell("these keys"), () => at("keys").showModal()],
  [["escape"], "Esc", tell("out of the text, or out of the filter"), () => document.activeElement.blur()],
];

function nameKey(event) {
  if (event.key === "?") return "?";
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  // In another alphabet the key counts by its place: `л` is K.
  if (/^Key[A-Z]$/.test(event.code)) return event.code.slice(3).toLowerCase();
  return event.key === " " ? "space" : event.key.toLowerCase();
}

function isMeant(event, name) {
  const target = event.target;
  if (event.ctrlKey && event.altKey || event.metaKey) return false;  // AltGr writes signs
  if (target === text) {
    return event.altKey || name === "escape" || (name === "enter" && event.ctrlKey);
  }
  if (target.closest("select, input")) return name === "escape";
  if (target.closest("button, summary") && ["space", "enter"].includes(name)) return false;
  return !event.ctrlKey || ["z", "y", "enter"].includes(name);
}

document.addEventListener("keydown", event => {
  if (document.querySelector("dialog[open]") || !clips.length) return;
  const name = nameKey(event);
  const key = KEYS.find(([names]) => names.includes(name));
  if (!key || !isMeant(event, name)) return;
  if (name.startsWith("arrow") && event.target.closest("[role=slider]")) {
    if (event.altKey || !event.target.id) return;
  }
  event.preventDefault();
  key[3]();
});

for (const [, label, what] of KEYS) {
  const row = element("tr");
  const cell = element("td");
  cell.append(...label.split(", ").flatMap(part => [element("kbd", "", part), " "]));
  row.append(cell, element("td", "", what));
  at("key-table").append(row);
}

// Beginning --------------------------------------------------------------------------------------

text.addEventListener("input", () => {
  if (pending && !pending.isText) flush();
  clips[current].text = text.value.replace(/\s*\n\s*/g, " ");
  saveSoon(true);
  hearSoon(SAVE_MS);
});
text.addEventListener("blur", () => { flush(); isWriting = false; });
window.addEventListener("pagehide", () => flush(true));
const BUTTONS = {
  play: togglePlay,
  "hear-start": () => playAround("start"),
  "hear-end": () => playAround("end"),
  "hear-all": () => play(...clips[current].limits),
  keep: () => decide("keep"),
  drop: () => decide("drop"),
  reset: () => decide("undecided"),
  previous: () => move(-1),
  next: () => move(1),
  "next-undecided": () => goToUndecided(),
  undo: () => step("undo", tell("Taken back")),
  redo: () => step("redo", tell("Made again")),
  "open-keys": () => at("keys").showModal(),
  "open-copy": () => at("copy").showModal(),
  "close-keys": () => at("keys").close(),
  "close-copy": () => at("copy").close(),
};
for (const [id, work] of Object.entries(BUTTONS)) at(id).addEventListener("click", work);
at("filter").addEventListener("change", () => clips.forEach(clip => showItem(clip.index)));
at("write-copy").addEventListener("click", () => {
  flush();
  at("write-copy").disabled = true;
  at("copied").textContent = tell("Writing …");
  requests = requests.then(async () => {
    const answer = await ask("copy", { folder: at("folder").value });
    at("copied").textContent = `${answer.folder}: ${told(answer, "summary")}.`;
  }).catch(error => { at("copied").textContent = error.message; })
    .then(() => { at("write-copy").disabled = false; });
});
at("folder").addEventListener("keydown", event => {
  if (event.key === "Enter") at("write-copy").click();
});
at("autoplay").addEventListener("change", () => {
  try { localStorage.setItem("review-autoplay", at("autoplay").checked); } catch { /* not kept */ }
});
try { at("autoplay").checked = localStorage.getItem("review-autoplay") === "true"; } catch { /* off */ }
at("clips").open = matchMedia("(min-width: 50.01rem)").matches;

ask("review").then(review => {
  clips = review.clips.map(keepSaved);
  const name = review.dataset.split(/[\\/]/).pop();
  document.title = tell("Review: {0}", name);
  at("title").textContent = document.title;
  at("title").title = review.dataset;
  at("folder").value = review.copy;
  text.lang = review.language;
  showFilter();
  showList();
  accept(review);
  const first = clips.findIndex(clip => clip.state === "undecided");
  openClip(Math.max(0, first));
}).catch(error => { at("mistake").textContent = error.message; });
