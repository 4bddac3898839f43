// Every word comes from a catalogue: a flat object of key → text, or of key → one text per plural category.
// Elements remember what they say, so that the language can change while the sound goes on.

const LANGUAGES = { en: 'ltr', ar: 'rtl' };
const said = new WeakMap();
const labelled = new WeakMap();

let catalogue = {};
let plural = new Intl.PluralRules('en');

/** The page's language, and the reader's own variety of it (en-GB, ar-EG) for numbers and times. */
export const language = { name: 'en', locale: 'en', dir: 'ltr' };

function preferred() {
  const asked = new URLSearchParams(location.search).get('lang') ?? stored();
  const wishes = [asked, ...navigator.languages].filter(Boolean);
  const wish = wishes.find((tag) => tag.split('-')[0].toLowerCase() in LANGUAGES);
  return wish ? wish.split('-')[0].toLowerCase() : 'en';
}

function stored() {
  try {
    return localStorage.getItem('rostra.language');
  } catch {
    return null; // Storage may be forbidden; the page works without it.
  }
}

/** What every page says, and what only this kind of page does: the listener's loads nothing that it does not say. */
async function loadAll(name) {
  const own = document.documentElement.dataset.catalogue;
  return Object.assign({}, ...(await Promise.all([name, ...(own ? [`${own}/${name}`] : [])].map(load))));
}

/** Until it is there: in a crowd, a request may fail, and a page without words is of no use. */
async function load(name) {
  for (;;) {
    const answer = await fetch(`/static/catalogues/${name}.json`).catch(() => null);
    if (answer?.ok) return answer.json();
    await new Promise((resolve) => setTimeout(resolve, 1000 + 2000 * Math.random()));
  }
}

/** Load the catalogue of `name` (default: what the reader prefers) and say everything on the page in it. */
export async function useLanguage(name = preferred()) {
  catalogue = await loadAll(name);
  const own = navigator.languages.find((tag) => tag.split('-')[0] === name);
  Object.assign(language, { name, locale: own ?? name, dir: LANGUAGES[name] });
  plural = new Intl.PluralRules(language.locale);
  document.documentElement.lang = name;
  document.documentElement.dir = language.dir;
  relabel(document);
}

/** Change the language, remember the choice, and keep it in the address for whoever is sent it. */
export async function changeLanguage(name) {
  await useLanguage(name);
  const here = new URL(location.href);
  here.searchParams.set('lang', name);
  history.replaceState(history.state, '', here);
  try {
    localStorage.setItem('rostra.language', name);
  } catch {
    // As above: the choice then holds for this page.
  }
}

function message(key, params) {
  const entry = catalogue[key];
  if (entry === undefined) return key;
  if (typeof entry === 'string') return entry;
  return entry[plural.select(params.count)] ?? entry.other;
}

function shown(value) {
  return typeof value === 'number' ? new Intl.NumberFormat(language.locale).format(value) : value;
}

/** The text of `key` with its {placeholders} filled in; numbers are written the reader's way. */
export function t(key, params = {}) {
  return message(key, params).replace(/\{(\w+)\}/g, (_, name) => shown(params[name]) ?? '');
}

/** Make `element` say `key`, now and after a change of language. A parameter may be an element (a running clock). */
export function say(element, key, params = {}) {
  const before = said.get(element);
  if (before && before.key === key && same(before.params, params)) return;
  said.set(element, { key, params });
  element.dataset.t = key;
  write(element, key, params);
}

function same(a, b) {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

function write(element, key, params) {
  const parts = message(key, params).split(/\{(\w+)\}/);
  const nodes = parts.map((part, i) => (i % 2 ? filled(params[part]) : part)).filter((part) => part !== '');
  element.replaceChildren(...nodes);
}

function filled(value) {
  const live = typeof value === 'function' ? value() : value;
  if (live instanceof Node) return live;
  // Isolated, so that a name or a number in the other direction does not reorder the sentence around it.
  const isolate = document.createElement('bdi');
  isolate.textContent = shown(live) ?? '';
  return isolate;
}

/** Name `element` for those who do not see it. */
export function label(element, key, params = {}) {
  labelled.set(element, params);
  element.dataset.tLabel = key;
  const name = t(key, params);
  if (element.getAttribute('aria-label') !== name) element.setAttribute('aria-label', name);
}

/** Say everything below `root` again, in the language of now. */
export function relabel(root) {
  for (const element of root.querySelectorAll('[data-t]')) {
    const { key, params } = said.get(element) ?? { key: element.dataset.t, params: {} };
    write(element, key, params);
  }
  for (const element of root.querySelectorAll('[data-t-label]')) {
    label(element, element.dataset.tLabel, labelled.get(element));
  }
  for (const element of root.querySelectorAll('[data-t-placeholder]')) {
    element.placeholder = t(element.dataset.tPlaceholder);
  }
}

/** Wire a button that offers the other language. */
export function languageSwitch(button, changed = () => {}) {
  button.addEventListener('click', async () => {
    await changeLanguage(language.name === 'ar' ? 'en' : 'ar');
    button.lang = language.name === 'ar' ? 'en' : 'ar';
    changed();
  });
  button.lang = language.name === 'ar' ? 'en' : 'ar';
}
