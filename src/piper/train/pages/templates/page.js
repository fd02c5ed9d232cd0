"use strict";
// What pages with a script share: their words, in Russian in a browser that prefers it.
const at = id => document.getElementById(id);
const isRussian = navigator.language.toLowerCase().split("-")[0] === "ru";
const RUSSIAN = JSON.parse(at("dictionary").textContent);

function tell(english, ...values) {
  const words = (isRussian && RUSSIAN[english]) || english;
  return words.replace(/\{(\d)\}/g, (_, place) => values[place]);
}

if (isRussian) {
  document.documentElement.lang = "ru";
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const words = RUSSIAN[text.data.trim().replace(/\s+/g, " ")];
    if (words) text.data = text.data.replace(text.data.trim(), () => words);
  }
  for (const label of ["aria-label", "alt"]) {
    for (const element of document.querySelectorAll(`[${label}]`)) {
      element.setAttribute(label, tell(element.getAttribute(label)));
    }
  }
}

