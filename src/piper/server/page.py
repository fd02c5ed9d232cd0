"""The page to try a voice in a browser: one file without parts from elsewhere. Table of text."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Piper</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }
label { display: block; margin-top: 1rem; }
textarea, select, input, audio { box-sizing: border-box; width: 100%; font: inherit; }
button { font: inherit; margin-top: 1rem; padding: .5rem 1.5rem; }
#message { color: #b00020; }
</style>
</head>
<body>
<h1>Piper</h1>
<form id="form">
<label>Text <textarea id="text" rows="5" required>Hello! This is a test.</textarea></label>
<label>Voice <select id="voice"></select></label>
<label>Speaker (number or name) <input id="speaker"></label>
<label>Slowness <input id="length" type="number" min="0.1" max="10" step="0.05"></label>
<button id="speak">Speak</button>
</form>
<p id="message" role="alert"></p>
<audio id="audio" controls></audio>
<script>
const at = id => document.getElementById(id);
async function listVoices() {
  const [voices, info] = await Promise.all(
    ["voices", "info"].map(path => fetch(path).then(answer => answer.json())));
  for (const name of Object.keys(voices)) {
    at("voice").add(new Option(name, name, false, name === info.voice.name));
  }
}
at("form").addEventListener("submit", async event => {
  event.preventDefault();
  at("speak").disabled = true;
  at("message").textContent = "";
  const request = { text: at("text").value, voice: at("voice").value };
  if (at("speaker").value) request.speaker = at("speaker").value;
  if (at("length").value) request.length_scale = Number(at("length").value);
  try {
    const answer = await fetch("synthesize", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    URL.revokeObjectURL(at("audio").src);
    at("audio").src = URL.createObjectURL(await answer.blob());
    await at("audio").play();
  } catch (error) {
    at("message").textContent = error.message;
  }
  at("speak").disabled = false;
});
listVoices().catch(error => { at("message").textContent = error.message; });
</script>
</body>
</html>
"""
