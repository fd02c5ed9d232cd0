// Samples as they come, and a player for them. Knows nothing of servers and of texts.
const LEAD_SECONDS = 0.03;     // from a command to its sound: Web Audio renders some ms ahead
const GAP_SECONDS = 0.25;      // gathered after the server was too slow, lest each piece has a gap
const BLOCK_SAMPLES = 512;     // one peak of the drawing

class Sound {
  constructor(sampleRate) {
    this.sampleRate = sampleRate;
    this.length = 0;
    this.isWhole = false;
    this.peaks = [];
    this.store = new Int16Array(1 << 18);
  }

  get samples() { return this.store.subarray(0, this.length); }

  get seconds() { return this.length / this.sampleRate; }

  add(samples) {
    while (this.length + samples.length > this.store.length) {
      const larger = new Int16Array(2 * this.store.length);
      larger.set(this.store);
      this.store = larger;
    }
    this.store.set(samples, this.length);
    for (let i = 0; i < samples.length; i++) {
      const block = Math.floor((this.length + i) / BLOCK_SAMPLES);
      this.peaks[block] = Math.max(this.peaks[block] || 0, Math.abs(samples[i]) / 32768);
    }
    this.length += samples.length;
  }

  toWav() {
    const header = new DataView(new ArrayBuffer(44));
    const bytes = 2 * this.length;
    const write = (at, word) => [...word].forEach((c, i) => header.setUint8(at + i, c.charCodeAt(0)));
    write(0, "RIFF");
    header.setUint32(4, 36 + bytes, true);
    write(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);   // PCM
    header.setUint16(22, 1, true);   // channels
    header.setUint32(24, this.sampleRate, true);
    header.setUint32(28, 2 * this.sampleRate, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    write(36, "data");
    header.setUint32(40, bytes, true);
    return new Blob([header, this.samples], { type: "audio/wav" });
  }
}

// Browsers want a sound to begin with a click or a key, so this is called before the first await.
// With the voice's own rate nothing is resampled, so that pieces join without a click.
let context = null;
function openContext(sampleRate) {
  if (context === null || context.wantedRate !== sampleRate) {
    if (context) context.close();
    try {
      context = new AudioContext({ sampleRate });
    } catch {
      context = new AudioContext();
    }
    context.wantedRate = sampleRate;
    // Else the switch of an iPhone that silences its bell silences this, too.
    if (navigator.audioSession) navigator.audioSession.type = "playback";
  }
  if (context.state !== "running") context.resume();
}

class Player {
  constructor(sound) {
    this.sound = sound;
    this.isPlaying = false;
    this.place = 0;             // seconds, where it stands while it does not play
    this.nodes = [];
    this.runs = [];             // {at: seconds of the context, from: seconds of the sound}
    this.scheduled = 0;         // samples
    this.free = 0;              // seconds of the context from which nothing is scheduled
    this.firstAt = null;        // performance.now() of the first sound
  }

  // Plays from there, and goes on with what is added until it is whole.
  play(seconds) {
    this.stop();
    openContext(this.sound.sampleRate);
    this.isPlaying = true;
    this.place = seconds;
    this.scheduled = Math.min(this.sound.length, Math.round(seconds * this.sound.sampleRate));
    this.runs = [];
    this.free = 0;
    this.feed();
  }

  feed() {
    const samples = this.sound.samples.subarray(this.scheduled);
    if (!this.isPlaying || !samples.length) return;
    const rate = this.sound.sampleRate;
    const buffer = context.createBuffer(1, samples.length, rate);
    const channel = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) channel[i] = samples[i] / 32768;
    const node = context.createBufferSource();
    node.buffer = buffer;
    node.connect(context.destination);
    if (this.free <= context.currentTime) {
      const wait = this.runs.length ? GAP_SECONDS : LEAD_SECONDS;
      // At a whole sample, so that all that follow begin at one.
      this.free = Math.ceil((context.currentTime + wait) * rate) / rate;
      this.runs.push({ at: this.free, from: this.scheduled / rate });
      if (this.firstAt === null) {
        this.firstAt = performance.now() + 1000 * (this.free - context.currentTime + findLatency());
      }
    }
    node.start(this.free);
    this.nodes.push(node);
    this.scheduled += samples.length;
    const run = this.runs.at(-1);
    this.free = run.at + (this.scheduled / rate - run.from);
    node.onended = () => {
      this.nodes = this.nodes.filter(other => other !== node);
      this.endIfDone();
    };
  }

  // Seconds of the sound that are heard now.
  get position() {
    if (!this.isPlaying) return this.place;
    const now = context.currentTime - findLatency();
    const index = this.runs.findLastIndex(run => run.at <= now);
    if (index < 0) return this.place;
    const next = this.runs[index + 1];
    const end = next ? next.from : this.scheduled / this.sound.sampleRate;
    return Math.min(end, this.runs[index].from + now - this.runs[index].at);
  }

  stop() {
    this.place = this.position;
    this.isPlaying = false;
    for (const node of this.nodes) {
      node.onended = null;
      node.stop();
    }
    this.nodes = [];
  }

  endIfDone() {
    const isDone = this.sound.isWhole && this.scheduled === this.sound.length;
    if (this.isPlaying && isDone && !this.nodes.length) {
      this.isPlaying = false;
      this.place = this.sound.seconds;
    }
  }
}

function findLatency() {
  return context.outputLatency || context.baseLatency || 0;
}

function drawWave(canvas, sound, share) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== size[0]) canvas.width = size[0];
  if (canvas.height !== size[1]) canvas.height = size[1];
  const brush = canvas.getContext("2d");
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  const colours = getComputedStyle(canvas);
  const [heard, rest] = ["--accent", "--rest"].map(name => colours.getPropertyValue(name));
  const loudest = sound.peaks.reduce((most, peak) => Math.max(most, peak), 0.05);
  const bars = Math.max(1, Math.floor(width / 4));
  for (let bar = 0; bar < bars; bar++) {
    const [from, to] = [bar, bar + 1].map(n => Math.floor(n * sound.peaks.length / bars));
    let peak = 0;
    for (let i = from; i < Math.max(to, from + 1); i++) peak = Math.max(peak, sound.peaks[i] || 0);
    const tall = Math.max(2, peak / loudest * (height - 4));
    brush.fillStyle = (bar + 0.5) / bars <= share ? heard : rest;
    brush.beginPath();
    brush.roundRect(bar * 4 + 0.5, (height - tall) / 2, 3, tall, 1.5);
    brush.fill();
  }
}
