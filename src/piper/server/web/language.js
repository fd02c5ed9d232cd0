// The page's own words in the reader's language: English, which is in the sources, and Russian.
const RUSSIAN = {
  "Write something and hear it": "Напишите текст и послушайте",
  "What to speak": "Что озвучить",
  "Text": "Текст",
  "speaks": "озвучить",
  "stops": "остановить",
  "Voice": "Голос",
  "Speaker": "Диктор",
  "Add a voice": "Добавить голос",
  "A voice is two files, NAME.onnx and NAME.onnx.json. Choose both.":
    "Голос — это два файла: ИМЯ.onnx и ИМЯ.onnx.json. Выберите оба.",
  "Files of the voice": "Файлы голоса",
  "Name": "Имя",
  "Replace the voice of this name": "Заменить голос с таким именем",
  "Sent": "Отправлено",
  "Add": "Добавить",
  "Choose two files, NAME.onnx and NAME.onnx.json.":
    "Выберите два файла: ИМЯ.onnx и ИМЯ.onnx.json.",
  "Give the voice a name.": "Дайте голосу имя.",
  "There is a voice of this name; take another one, or tick that it is to be replaced.":
    "Голос с таким именем уже есть. Возьмите другое имя или отметьте, что его нужно заменить.",
  "The files have {size} MB, but at most {most} MB can be added.":
    "В файлах {size} МБ, а добавить можно не больше {most} МБ.",
  "{percent} % sent": "Отправлено {percent} %",
  "The server tries the voice …": "Сервер пробует голос …",
  "{name} is added.": "Голос {name} добавлен.",
  "Find a speaker": "Найти диктора",
  "Speed": "Скорость",
  "More": "Ещё",
  "Pitch": "Высота",
  "Liveliness of the voice": "Живость голоса",
  "Liveliness of the rhythm": "Живость ритма",
  "As the voice was made": "Как задумано в голосе",
  "Speak": "Озвучить",
  "Stop": "Стоп",
  "Play": "Слушать",
  "Pause": "Пауза",
  "What is spoken": "Что звучит",
  "What is spoken appears here, word by word, with its phonemes.":
    "Здесь будет видно, что звучит: слово за словом, с фонемами.",
  "Spoken text": "Озвученный текст",
  "Place in the speech": "Место в записи",
  "{at} of {all}": "{at} из {all}",
  "Save as": "Скачать",
  "This server wants an API key": "Сервер просит ключ API",
  "Whoever runs the server has it. It is kept until this tab is closed.":
    "Спросите его у владельца сервера. Ключ хранится, пока открыта эта вкладка.",
  "API key": "Ключ API",
  "Go on": "Продолжить",
  "Cancel": "Отмена",
  "Enter the key.": "Введите ключ.",
  "{count} of {most} characters": "{count} / {most} знаков",
  "{found} of {all} found": "Найдено: {found} из {all}",
  "Nobody of that name": "Никого не нашлось",
  "{number} speakers": "дикторов: {number}",
  "Other languages": "Другие языки",
  "{seconds} s": "{seconds} с",
  "Being made …": "Готовлю …",
  "First sound after {first}": "Первый звук через {first}",
  "{all} of speech, made in {took}": "{all} речи, готово за {took}",
  "Stopped.": "Остановлено.",
  "Without lit words: the server cannot be reached by WebSocket.":
    "Без подсветки слов: до сервера не достучаться по WebSocket.",
  "Saved as {name}.": "Сохранено: {name}.",
  "There is nothing to speak; write a text.": "Озвучивать нечего: напишите текст.",
  "The text has {count} characters, but at most {most} can be spoken at once; divide it.":
    "В тексте {count} знаков, а за раз можно озвучить не больше {most}; разделите его.",
  "The server does not answer; see whether it runs, and try again.":
    "Сервер не отвечает. Проверьте, запущен ли он, и попробуйте ещё раз.",
  "The connection to the server broke off; what came so far can be played. Try again.":
    "Связь с сервером прервалась; послушать можно то, что пришло. Попробуйте ещё раз.",
  "The server answered with {status}; try again later.":
    "Сервер ответил кодом {status}; попробуйте позже.",
};
const SAMPLES = {
  en: "Hello! Type something here, and I will read it aloud while you watch every word.",
  ru: "Здравствуйте! Напишите здесь что-нибудь, и я прочитаю это вслух, слово за словом.",
  de: "Guten Tag! Schreiben Sie hier etwas, und ich lese es Ihnen Wort für Wort vor.",
  fr: "Bonjour ! Écrivez quelque chose ici, et je le lirai à voix haute, mot après mot.",
  es: "¡Hola! Escriba algo aquí y lo leeré en voz alta, palabra por palabra.",
};

const LANGUAGE = navigator.language.toLowerCase().startsWith("ru") ? "ru" : "en";

function t(sentence, values = {}) {
  const said = LANGUAGE === "ru" && RUSSIAN[sentence] || sentence;
  return said.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function translatePage() {
  document.documentElement.lang = LANGUAGE;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const words = walker.currentNode.data.trim();
    if (RUSSIAN[words]) walker.currentNode.data = t(words);
  }
  for (const name of ["aria-label", "placeholder"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) {
      element.setAttribute(name, t(element.getAttribute(name)));
    }
  }
}

function sayNumber(number, digits = 0) {
  return number.toLocaleString(LANGUAGE,
    { minimumFractionDigits: digits, maximumFractionDigits: digits || 2 });
}

function saySeconds(seconds, digits = 1) {
  return t("{seconds} s", { seconds: sayNumber(seconds, digits) });
}

function sayClock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function sayLanguage(code) {
  if (!code) return "";
  try {
    const name = new Intl.DisplayNames([LANGUAGE], { type: "language" })
      .of(code.replaceAll("_", "-"));
    return name[0].toUpperCase() + name.slice(1);
  } catch {
    return code;  // espeak-ng has names that are no language tags
  }
}
