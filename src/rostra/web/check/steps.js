// The column of steps that fill in: what each is called, what it found, and how that is marked (never by colour alone).

import { h, show } from '/static/shared/dom.js';
import { say } from '/static/shared/words.js';

const TITLE = {
  microphone: 'check.microphone',
  direct: 'check.direct',
  relay: 'check.relay',
  noise: 'check.noise',
  echo: 'check.echo',
  recording: 'check.recording',
  level: 'check.level',
  network: 'check.network',
};

const SIGN = { waiting: '', working: '…', good: '✓', told: '✓', usable: '!', poor: '×', failed: '×', skipped: '–' };

/** One step; `become(state, key, params)` says what it found. `body` holds what one does there. */
function step(name) {
  const sign = h('span', { class: 'check-sign' });
  sign.setAttribute('aria-hidden', 'true');
  const word = h('p', { class: 'check-word', hidden: true });
  const body = h('div', { class: 'form check-body', hidden: true });
  const element = h('li', { class: 'check-step' }, sign, h('div', { class: 'check-about' }, h('h2', { t: TITLE[name] }), word, body));
  element.dataset.step = name;
  element.dataset.state = 'waiting';
  return {
    element,
    body,
    become(state, key = null, params = {}) {
      element.dataset.state = state;
      sign.textContent = SIGN[state];
      if (key) say(word, key, params);
      show(word, Boolean(key));
    },
    get state() {
      return element.dataset.state;
    },
  };
}

/** All of them, in order, by name; `element` is the list. */
export function steps() {
  const all = Object.fromEntries(Object.keys(TITLE).map((name) => [name, step(name)]));
  const element = h('ol', { class: 'check-steps' }, ...Object.values(all).map((each) => each.element));
  return { ...all, element, reset: () => Object.values(all).forEach((each) => each.become('waiting')) };
}
