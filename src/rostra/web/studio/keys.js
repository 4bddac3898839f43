// Keys and buttons that are held. A hold ends with the key, the finger, the window's focus or the page's visibility:
// whatever takes the end of it away must not leave a microphone open.

import { asked, goesTo } from './talk.js';

/**
 * `did('talk' | 'cough', held)` and `did('mute')`; `on()` says whether the keys are wanted now, `push()` whether to talk
 * means to hold. `buttons` are {talk, cough}.
 */
export function keys(buttons, { did, on, push }) {
  let by_keyboard = false; // how the focus came to where it is
  let key_held = null;

  addEventListener('pointerdown', () => (by_keyboard = false), true);
  addEventListener('keydown', (event) => {
    if (event.key === 'Tab' || event.key.startsWith('Arrow')) by_keyboard = true;
    const what = on() && !plainOf(event) ? asked(pressed(event), { push: push(), ...place(event.target, by_keyboard) }) : null;
    // The space bar scrolls, and presses what has the focus: neither is meant, however long it is held.
    if (what || event.code === key_held?.code) event.preventDefault();
    if (!what || key_held) return;
    if (what === 'mute') return did('mute');
    key_held = { code: event.code, what };
    did(what, true);
  }, true);
  addEventListener('keyup', (event) => {
    if (event.code !== key_held?.code) return;
    event.preventDefault();
    letGo();
  }, true);
  addEventListener('blur', letGo);
  document.addEventListener('visibilitychange', () => document.hidden && letGo());

  function letGo() {
    if (!key_held) return;
    const { what } = key_held;
    key_held = null;
    did(what, false);
  }

  for (const [what, button] of Object.entries(buttons)) holdable(button, (held) => did(what, held));
}

const plainOf = ({ ctrlKey, metaKey, altKey, isComposing }) => ctrlKey || metaKey || altKey || isComposing;
const pressed = ({ key, code, repeat }) => ({ key, code, held: repeat });

function place(target, chosen) {
  const tag = target.tagName?.toLowerCase() ?? '';
  return { to: goesTo({ tag, type: target.type, editable: target.isContentEditable }), chosen };
}

/** A button that acts for as long as it is pressed: by finger, mouse, space bar or Enter. */
function holdable(button, tell) {
  let held = false;
  const set = (now) => {
    if (now === held) return;
    held = now;
    tell(now);
  };
  button.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    button.setPointerCapture(event.pointerId);
    set(true);
  });
  for (const end of ['pointerup', 'pointercancel', 'lostpointercapture', 'blur']) button.addEventListener(end, () => set(false));
  button.addEventListener('contextmenu', (event) => event.preventDefault()); // a long press is what it is for
  button.addEventListener('keydown', (event) => {
    if ((event.key !== ' ' && event.key !== 'Enter') || plainOf(event)) return;
    event.preventDefault();
    set(true);
  });
  button.addEventListener('keyup', (event) => {
    if (event.key !== ' ' && event.key !== 'Enter') return;
    event.preventDefault();
    set(false);
  });
  // Assistive tools can only click: then one click begins and the next one ends.
  button.addEventListener('click', (event) => event.detail === 0 && set(!held));
  addEventListener('blur', () => set(false));
  document.addEventListener('visibilitychange', () => document.hidden && set(false));
}
