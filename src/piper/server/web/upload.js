// Adding a voice: its two files are sent as one body, the JSON first. The server decides about them.
const MEGABYTE = 1e6;
let sending = null;            // XMLHttpRequest that is on its way

function findFiles() {
  const files = [...at("files").files];
  const config = files.find(({ name }) => name.toLowerCase().endsWith(".json"));
  const model = files.find(({ name }) => name.toLowerCase().endsWith(".onnx"));
  return files.length === 2 && config && model ? [config, model] : null;
}

function findAddingMistake(files, name) {
  if (!files) return t("Choose two files, NAME.onnx and NAME.onnx.json.");
  if (!name) return t("Give the voice a name.");
  const size = files[0].size + files[1].size;
  const most = SERVER.max_upload_bytes;
  if (size > most) {
    return t("The files have {size} MB, but at most {most} MB can be added.",
      { size: sayNumber(size / MEGABYTE), most: sayNumber(most / MEGABYTE) });
  }
  if (!voices[name] || at("replace").checked) return "";
  return t("There is a voice of this name; take another one, or tick that it is to be replaced.");
}

// fetch() does not say how much of a body is sent.
function send(files, name) {
  return new Promise((resolve, reject) => {
    const request = sending = new XMLHttpRequest();
    const address = `voices/${encodeURIComponent(name)}?replace=${at("replace").checked}`;
    request.open("PUT", address);
    request.setRequestHeader("Authorization", `Bearer ${sessionStorage.getItem(KEY)}`);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => showSent(loaded / total);
    request.onload = () => {
      if (request.status === 201) return resolve(request.response.name);
      reject(new Error(findSentence(request.response || {})
        || t("The server answered with {status}; try again later.", { status: request.status })));
    };
    request.onerror = () => reject(lostServer());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.send(new Blob(files));
  });
}

function showSent(share) {
  at("sent").value = share;
  at("sending").textContent = share < 1
    ? t("{percent} % sent", { percent: sayNumber(Math.floor(100 * share)) })
    : t("The server tries the voice …");
}

async function add() {
  const files = findFiles();
  const name = at("name").value.trim().normalize("NFC");
  at("adding-mistake").textContent = findAddingMistake(files, name);
  if (at("adding-mistake").textContent) return;
  at("send").disabled = true;
  at("sent").hidden = false;
  showSent(0);
  try {
    await ask("info");  // asks for the key where it is not known
    chosen.voice = await send(files, name);
    at("adding").close();
    history.replaceState(null, "", location.pathname);  // what an address named has been heard
    await loadVoices();
    remember();
    at("state").textContent = t("{name} is added.", { name: chosen.voice });
  } catch (error) {
    if (error.name !== "AbortError") at("adding-mistake").textContent = error.message;
  }
  sending = null;
  at("send").disabled = false;
  at("sent").hidden = true;
  at("sending").textContent = "";
}

function watchAdding() {
  at("add").hidden = !SERVER.max_upload_bytes;
  at("add").addEventListener("click", () => {
    at("adding-form").reset();
    at("adding-mistake").textContent = "";
    at("adding").showModal();
  });
  at("files").addEventListener("change", () => {
    const files = findFiles();
    if (files) at("name").value = files[1].name.replace(/\.onnx$/i, "");
  });
  at("no-adding").addEventListener("click", () => at("adding").close());
  at("adding").addEventListener("close", () => { if (sending) sending.abort(); });
  at("adding-form").addEventListener("submit", event => {
    event.preventDefault();
    add();
  });
}
