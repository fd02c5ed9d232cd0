// The choices: voice, speaker, speed, liveliness; remembered from visit to visit. Speaks nothing.
const MEMORY = "piper-try";
const MANY = 12;               // speakers that are still found without searching
const PIPERS_OWN = { length_scale: 1, noise_scale: 0.667, noise_w_scale: 0.8, pitch: 0 };
const SLIDERS = { noise: "noise_scale", rhythm: "noise_w_scale", pitch: "pitch" };
const SERVER = JSON.parse(document.body.dataset.server);  // what it was told at its start

const at = id => document.getElementById(id);

function element(name, className = "", content = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = content;
  return made;
}

let voices = {};
let defaultVoice = "";
let chosen = { voice: null, speakers: {}, speed: 1, noise: null, rhythm: null, pitch: null };

function remember() {
  try { localStorage.setItem(MEMORY, JSON.stringify(chosen)); } catch { /* not kept */ }
}

function recall() {
  try { chosen = { ...chosen, ...JSON.parse(localStorage.getItem(MEMORY)) }; } catch { /* new */ }
}

function currentVoice() { return voices[chosen.voice] || {}; }

function findLanguage(voice) {
  return (voice.language && voice.language.code) || (voice.espeak && voice.espeak.voice) || "";
}

// What counts where nothing is chosen: the server's word, then the voice's, then Piper's.
function findDefault(name) {
  const own = currentVoice().inference || {};
  return SERVER[name] ?? own[name === "noise_w_scale" ? "noise_w" : name] ?? PIPERS_OWN[name];
}

// What the server is asked for; null leaves a choice to the server and its voice.
function readChoices() {
  const scale = chosen.speed === 1 ? null : findDefault("length_scale") / chosen.speed;
  const request = { voice: chosen.voice, length_scale: scale };
  const speaker = at("speaker").value;
  if (listSpeakers().length) request.speaker = /^\d+$/.test(speaker) ? Number(speaker) : speaker;
  for (const [id, name] of Object.entries(SLIDERS)) request[name] = chosen[id];
  if (!hasPitch()) request.pitch = null;  // chosen for another voice
  return request;
}

function hasPitch() { return (currentVoice().audio || {}).quality === "quick"; }

// Voices -----------------------------------------------------------------------------------------

async function loadVoices() {
  const [listed, info] = await Promise.all(
    ["voices", "info"].map(path => ask(path).then(answer => answer.json())));
  voices = listed;
  defaultVoice = info.voice.name;
  const wanted = new URLSearchParams(location.hash.slice(1));
  const named = [wanted.get("voice"), chosen.voice, defaultVoice];
  chosen.voice = named.find(name => name && voices[name]) || Object.keys(voices)[0];
  showVoices();
  showVoice();
  at("text").value = at("text").value || wanted.get("text")
    || SAMPLES[findLanguage(currentVoice()).slice(0, 2).toLowerCase()] || "";
  showCounter();
}

function showVoices() {
  const groups = new Map();
  for (const [name, voice] of Object.entries(voices)) {
    const language = sayLanguage(findLanguage(voice)) || t("Other languages");
    if (!groups.has(language)) groups.set(language, element("optgroup"));
    const group = groups.get(language);
    group.label = language;
    const quality = (voice.audio || {}).quality;
    const label = quality && !name.endsWith(quality) ? `${name} (${quality})` : name;
    group.append(new Option(label, name, false, name === chosen.voice));
  }
  const sorted = [...groups].sort(([a], [b]) => a.localeCompare(b, LANGUAGE));
  at("voice").replaceChildren(...sorted.map(([, group]) => group));
}

function showVoice() {
  const voice = currentVoice();
  const audio = voice.audio || {};
  const speakers = listSpeakers();
  at("about-voice").textContent = [
    sayLanguage(findLanguage(voice)),
    audio.quality,
    audio.sample_rate && `${sayNumber(audio.sample_rate / 1000)} ${LANGUAGE === "ru" ? "кГц" : "kHz"}`,
    speakers.length && t("{number} speakers", { number: speakers.length }),
  ].filter(Boolean).join(" · ");
  at("text").lang = findLanguage(voice).replaceAll("_", "-");
  at("speakers").hidden = !speakers.length;
  at("pitches").hidden = !hasPitch();
  at("find").hidden = speakers.length <= MANY;
  at("find").value = "";
  showSpeakers();
  showSliders();
}

// Speakers ---------------------------------------------------------------------------------------

function listSpeakers() {
  const { num_speakers: count = 1, speaker_id_map: map } = currentVoice();
  if (count < 2) return [];
  const names = new Map(Object.entries(map || {}).map(([name, id]) => [id, name]));
  const speakers = Array.from({ length: count },
    (_, id) => ({ id: String(id), name: names.get(id) || String(id) }));
  const own = findServersSpeaker();
  const isMixture = own && !speakers.some(({ id, name }) => [id, name].includes(own));
  return isMixture ? [{ id: own, name: own }, ...speakers] : speakers;
}

// The server's speaker, a number, a name or a mixture, is that of its default voice.
function findServersSpeaker() {
  return chosen.voice === defaultVoice ? SERVER.speaker : null;
}

function showSpeakers() {
  const speakers = listSpeakers();
  const wanted = at("find").value.trim().toLowerCase();
  const found = speakers.filter(({ name }) => name.toLowerCase().includes(wanted));
  const shown = found.length ? found : speakers;
  const order = new Intl.Collator(LANGUAGE, { numeric: true });
  shown.sort((a, b) => order.compare(a.name, b.name));
  // Of the names that are found, those that begin so come first.
  const rank = ({ name }) => Number(!name.toLowerCase().startsWith(wanted));
  if (wanted) shown.sort((a, b) => rank(a) - rank(b));
  at("speaker").replaceChildren(...shown.map(({ id, name }) => new Option(name, id)));
  const own = speakers.find(({ id, name }) => [id, name].includes(findServersSpeaker()));
  const kept = chosen.speakers[chosen.voice] ?? (own ? own.id : "0");
  if (shown.some(({ id }) => id === kept)) at("speaker").value = kept;
  at("found").textContent = !wanted ? "" : found.length
    ? t("{found} of {all} found", { found: found.length, all: speakers.length })
    : t("Nobody of that name");
}

function keepSpeaker() {
  chosen.speakers = { ...chosen.speakers, [chosen.voice]: at("speaker").value };
  remember();
}

// Speed and liveliness ---------------------------------------------------------------------------

function showSliders() {
  at("speed").value = chosen.speed;
  at("speed-value").textContent = `${sayNumber(chosen.speed, 2)}×`;
  at("speed").setAttribute("aria-valuetext", at("speed-value").textContent);
  for (const [id, name] of Object.entries(SLIDERS)) {
    const value = chosen[id] ?? findDefault(name);
    at(id).value = value;
    at(`${id}-value`).textContent = sayNumber(value, id === "pitch" ? 1 : 2);
  }
}

function watchControls() {
  at("voice").addEventListener("change", () => {
    const isSample = Object.values(SAMPLES).includes(at("text").value);
    chosen.voice = at("voice").value;
    remember();
    showVoice();
    // A text that nobody wrote follows the language of the voice.
    const sample = SAMPLES[findLanguage(currentVoice()).slice(0, 2).toLowerCase()];
    if (isSample && sample) at("text").value = sample;
    showCounter();
  });
  at("speaker").addEventListener("change", keepSpeaker);
  at("find").addEventListener("input", () => {
    showSpeakers();
    keepSpeaker();
  });
  for (const id of ["speed", ...Object.keys(SLIDERS)]) {
    at(id).addEventListener("input", () => {
      chosen[id] = Number(at(id).value);
      remember();
      showSliders();
    });
  }
  at("reset").addEventListener("click", () => {
    chosen = { ...chosen, speed: 1, noise: null, rhythm: null, pitch: null };
    remember();
    showSliders();
  });
  at("text").addEventListener("input", showCounter);
}

// Text -------------------------------------------------------------------------------------------

const MOST_CHARACTERS = SERVER.most_characters;

function countCharacters() { return [...at("text").value].length; }

function showCounter() {
  const count = countCharacters();
  at("counter").textContent = t("{count} of {most} characters",
    { count: sayNumber(count), most: sayNumber(MOST_CHARACTERS) });
  at("counter").classList.toggle("over", count > MOST_CHARACTERS);
  at("text").setAttribute("aria-invalid", String(count > MOST_CHARACTERS));
}
