// The one place where the studio page says that something went wrong, calmly, and what to do.

import { $, announce, show } from '/static/shared/dom.js';
import { say, t } from '/static/shared/words.js';
import { Problem } from './api.js';

const box = $('problem');
const text = $('problem-text');
const hint = $('problem-hint');

$('problem-close').addEventListener('click', clear);

export function clear() {
  show(box, false);
}

/** A sentence of ours, from the catalogue. */
export function tell(key, params = {}, hint_key = null) {
  say(text, key, params);
  show(hint, Boolean(hint_key));
  if (hint_key) say(hint, hint_key);
  show(box, true);
  announce(t(key, params));
}

/** What the studio refused, in its words; anything else is a fault of ours and goes to the console as well. */
export function complain(error) {
  if (!(error instanceof Problem)) console.error(error);
  if (error instanceof Problem && error.message) {
    tell('problem.told', { detail: error.message });
    if (error.hint) say(hint, 'problem.told', { detail: error.hint });
    show(hint, Boolean(error.hint));
  } else if (error instanceof Problem && error.away) tell('problem.away', {}, 'problem.away.hint');
  else tell('problem.unknown', {}, 'problem.unknown.hint');
}

/** Run `act`; a refusal is shown, and the result is then undefined. */
export async function attempt(act) {
  try {
    const result = await act();
    clear();
    return result;
  } catch (error) {
    complain(error);
    return undefined;
  }
}
