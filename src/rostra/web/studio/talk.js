// Whether the microphone is open, and what a key asks for: a switch, a mode and two things that are held. No page here.

/** `push`: closed until one holds to talk, whatever the switch says. A cough closes it in any case. */
export const opens = ({ push, muted, talking, coughing }) => !coughing && (push ? talking : !muted);

const TYPED = new Set(['text', 'search', 'email', 'url', 'tel', 'password', 'number', 'date', 'time', 'datetime-local', 'month', 'week']);
const PRESSED = new Set(['button', 'a', 'summary', 'input', 'audio']);

/** Where a key goes: `typed` (a field takes it), `pressed` (the space bar presses it), or `free`. */
export function goesTo({ tag, type = '', editable = false }) {
  if (editable || tag === 'textarea' || tag === 'select' || (tag === 'input' && TYPED.has(type))) return 'typed';
  return PRESSED.has(tag) ? 'pressed' : 'free';
}

/**
 * `talk`, `cough`, `mute`, or null for a key that is none of ours. `to`: where it goes; `chosen`: the focus came there by
 * keyboard, and then the space bar presses what has it. What was only clicked with a mouse is left to the talker.
 */
export function asked({ key, code, held = false }, { push, to, chosen }) {
  if (held || to === 'typed') return null;
  if (key === ' ') return push && !(to === 'pressed' && chosen) ? 'talk' : null;
  if (push) return null;
  return { KeyM: 'mute', KeyC: 'cough' }[letter(key, code)] ?? null;
}

/** The key by what is printed on it; in scripts without these letters, by where it lies. */
function letter(key, code) {
  return /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : code;
}
