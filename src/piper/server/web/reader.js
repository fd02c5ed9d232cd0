// Shows the text that is spoken, and lights word and phoneme of a moment. Knows no sound.
const MARKS = ["^", "$", "_"];                     // begin, end and padding: nothing to read
const JOINED = /^(?:\p{M}|ː|ˑ|ʲ|ʰ|ʷ|ˤ)+$/u;       // belongs to the sign before it
const STRESS = /[ˈˌ]$/u;                           // belongs to the sign after it

class Reader {
  constructor(box, onChosen) {
    this.box = box;
    this.onChosen = onChosen;   // told the seconds of a word that was clicked
    this.clear();
    // Whoever scrolls by hand wants to read elsewhere.
    for (const kind of ["wheel", "touchmove", "keydown"]) {
      box.addEventListener(kind, () => { this.isFollowing = false; }, { passive: true });
    }
  }

  clear(language = "") {
    this.box.replaceChildren();
    this.box.classList.remove("plain");
    this.box.lang = language;
    this.box.scrollTop = 0;
    this.sentences = [];
    this.lit = [];
    this.isFollowing = true;
  }

  showPlain(text) {
    this.clear(this.box.lang);
    this.box.classList.add("plain");
    this.box.textContent = text;
  }

  add(sentence) {
    const block = element("div", "sentence");
    const words = element("p", "words");
    const phonemes = element("p", "phonemes");
    phonemes.lang = "und-fonipa";
    phonemes.dir = "ltr";
    const shown = {
      start: sentence.start_seconds,
      block,
      // Without times the sentence is lit as a whole.
      words: this.showWords(words, sentence) || [{ start: -Infinity, end: Infinity, node: words }],
      phonemes: showPhonemes(phonemes, sentence.phonemes || []),
    };
    block.append(words);
    if (shown.phonemes.length) block.append(phonemes);
    this.box.append(block);
    this.sentences.push(shown);
  }

  // Returns the words with their times, null where there are none.
  showWords(line, sentence) {
    const spoken = [];
    let place = 0;
    for (const word of sentence.words || []) {
      const found = sentence.text.indexOf(word.text, place);
      if (found < 0) continue;  // spoken otherwise than it is written
      line.append(sentence.text.slice(place, found));
      const node = element("span", "", word.text);
      node.addEventListener("click", () => this.onChosen(word.start_seconds));
      line.append(node);
      place = found + word.text.length;
      spoken.push({ start: word.start_seconds, end: word.end_seconds, node });
    }
    line.append(sentence.text.slice(place));
    return spoken.length ? spoken : null;
  }

  light(seconds) {
    const sentence = this.sentences.findLast(other => other.start <= seconds);
    const isNow = item => item.start <= seconds && seconds < item.end;
    const lit = sentence
      ? [sentence.words.find(isNow), sentence.phonemes.find(isNow)]
        .filter(Boolean).map(item => item.node)
      : [];
    for (const node of this.lit) if (!lit.includes(node)) node.classList.remove("lit");
    for (const node of lit) if (!this.lit.includes(node)) node.classList.add("lit");
    if (lit.length && lit[0] !== this.lit[0] && this.isFollowing) this.follow(lit[0], sentence);
    this.lit = lit;
  }

  lightNothing() {
    for (const node of this.lit) node.classList.remove("lit");
    this.lit = [];
  }

  // Only the box scrolls, not the page; the line below the word stays in sight.
  follow(node, sentence) {
    const [box, word] = [this.box, node].map(other => other.getBoundingClientRect());
    const end = Math.min(sentence.block.getBoundingClientRect().bottom, word.bottom + box.height / 4);
    if (word.top < box.top || end > box.bottom) {
      this.box.scrollTop += word.top - box.top - box.height / 4;
    }
  }
}

// A span a word, which is not broken at a line's end, and in it one a sound.
function showPhonemes(line, phonemes) {
  const shown = [];
  let word = null;
  for (const { phoneme, start_seconds: start, end_seconds: end } of phonemes) {
    if (MARKS.includes(phoneme)) continue;
    const last = shown.at(-1);
    if (phoneme === " ") {
      word = null;
      line.append(" ");
    } else if (word && (JOINED.test(phoneme) || STRESS.test(last.node.textContent))) {
      last.node.textContent += phoneme;
      last.end = end;
    } else {
      if (!word) line.append(word = element("span"));
      const node = element("span", "", phoneme);
      word.append(node);
      shown.push({ start, end, node });
    }
  }
  return shown;
}
