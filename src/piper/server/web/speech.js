// Asks the server: voices, speech while it is made, speech in other formats. Shows nothing but the
// question for a key.
const CONNECT_MS = 5000;       // a proxy that swallows the upgrade would let us wait for ever
const KEY = "piper-api-key";
const POLICY_VIOLATION = 1008;   // how a WebSocket closes after a mistake of ours, RFC 6455
const WAV_HEADER_BYTES = 44;

class NoWebSocketError extends Error {}
class RefusedError extends Error {}

function lostServer() {
  return new Error(t("The server does not answer; see whether it runs, and try again."));
}

function brokenOff() {
  return new Error(
    t("The connection to the server broke off; what came so far can be played. Try again."));
}

// Returns the answer to a request; asks the reader for a key where the server wants one.
async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers };
    if (key) headers.Authorization = `Bearer ${key}`;
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw lostServer();
    }
    if (answer.ok) return answer;
    const body = await answer.json().catch(() => ({}));
    const sentence = findSentence(body)
      || t("The server answered with {status}; try again later.", { status: answer.status });
    // Another request may have brought the right key meanwhile.
    if (answer.status !== 401) throw new Error(sentence);
    if (key === sessionStorage.getItem(KEY)) await askKey(key ? sentence : "");
  }
}

// OpenAI's endpoints answer {"error": {"message": …}}, the others {"detail": …}.
function findSentence(body) {
  return typeof body.detail === "string" ? body.detail : body.error && body.error.message;
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

let asking = null;
function askKey(mistake) {
  asking = asking || new Promise((resolve, reject) => {
    const dialog = at("ask-key");
    at("key-mistake").textContent = mistake;
    at("key").value = "";
    dialog.showModal();
    at("key-form").onsubmit = event => {
      event.preventDefault();
      const key = at("key").value.trim();
      if (!key) {
        at("key-mistake").textContent = t("Enter the key.");
        return;
      }
      sessionStorage.setItem(KEY, key);
      dialog.close("given");
    };
    at("no-key").onclick = () => dialog.close("");
    dialog.oncancel = () => { dialog.returnValue = ""; };
    dialog.onclose = () => {
      asking = null;
      if (dialog.returnValue === "given") resolve();
      else reject(new Error(mistake || t("This server wants an API key")));
      dialog.returnValue = "";
    };
  });
  return asking;
}

// Speaks by WebSocket. `on` is told what comes: ready(sampleRate), sentence(…), samples(…).
function speakLive(request, on, signal) {
  const { text, ...settings } = request;
  const address = new URL("live", document.baseURI);
  address.protocol = address.protocol.endsWith("s:") ? "wss:" : "ws:";
  const start = { type: "start", ...settings };
  const key = sessionStorage.getItem(KEY);
  if (key) start.api_key = key;
  return new Promise((resolve, reject) => {
    let hasAnswered = false;
    let mistake = "";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    const tell = message => socket.send(JSON.stringify(message));
    const timer = setTimeout(() => socket.close(), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(timer);
      tell(start);
      tell({ type: "text", text });
      tell({ type: "end" });
    };
    socket.onmessage = ({ data }) => {
      hasAnswered = true;
      if (signal.aborted) return;
      if (data instanceof ArrayBuffer) return on.samples(new Int16Array(data));
      const message = JSON.parse(data);
      if (message.type === "ready") on.ready(message.sample_rate);
      else if (message.type === "sentence") on.sentence(message);
      else if (message.type === "end") resolve();
      else if (message.type === "error") mistake = message.detail;
    };
    socket.onclose = ({ code }) => {
      clearTimeout(timer);
      if (!hasAnswered) reject(new NoWebSocketError());
      else if (!mistake) reject(brokenOff());
      else reject(code === POLICY_VIOLATION ? new RefusedError(mistake) : new Error(mistake));
    };
    signal.addEventListener("abort", () => {
      if (socket.readyState === WebSocket.OPEN) tell({ type: "cancel" });
      socket.close();
      reject(new DOMException("", "AbortError"));
    });
  });
}

// Asks for a key if that is why the server refuses; returns whether there is another one now.
async function hasNewKey() {
  const before = sessionStorage.getItem(KEY);
  await ask("info");
  return sessionStorage.getItem(KEY) !== before;
}

// The same where no WebSocket is to be had: without sentences and times.
async function speakPlainly(request, on, signal) {
  const answer = await post("synthesize", request, signal);
  const reader = answer.body.getReader();
  let bytes = new Uint8Array();
  let isReady = false;
  for (;;) {
    const { done, value } = await reader.read().catch(error => {
      throw signal.aborted ? error : brokenOff();
    });
    if (done || signal.aborted) return;
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
    if (!isReady && bytes.length >= WAV_HEADER_BYTES) {
      isReady = true;
      on.ready(new DataView(bytes.buffer).getUint32(24, true));
      bytes = bytes.slice(WAV_HEADER_BYTES);
    }
    const whole = bytes.length - bytes.length % 2;
    if (isReady && whole) {
      on.samples(new Int16Array(bytes.slice(0, whole).buffer));
      bytes = bytes.slice(whole);
    }
  }
}
