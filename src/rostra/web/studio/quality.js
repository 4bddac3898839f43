// How well somebody is connected: bars for the eye, a sentence for everyone, figures in small print.

import { h, icon, show, swapIcon } from '/static/shared/dom.js';
import { say } from '/static/shared/words.js';
import { Steady } from './network.js';

const WORDS = {
  good: { null: 'network.good' },
  fair: { mine: 'network.fair.mine', theirs: 'network.fair.theirs', late: 'network.fair.late' },
  poor: { mine: 'network.poor.mine', theirs: 'network.poor.theirs' },
};
const OF_A_SEAT = { good: 'network.seat.good', fair: 'network.seat.fair', poor: 'network.seat.poor' };

/** The key of a grade's sentence, or null. */
export const words = ({ grade, why }) => WORDS[grade]?.[why] ?? null;

/** One's own connection; `set(shown, figures)`. */
export function bars() {
  const text = h('span', {});
  const trip = h('span', {});
  const loss = h('span', {});
  const small = h('small', { class: 'soft' }, trip, loss);
  const picture = icon('link-good');
  const element = h('div', { class: 'link', hidden: true }, picture, h('p', {}, text, small));
  const ms = (value) => Math.max(1, Math.round(value));
  const percent = (value) => Math.round(value * 1000) / 10;
  return {
    element,
    set(shown, { rtt_ms, mine, theirs }) {
      const grade = shown.grade ?? 'good';
      show(element, true); // from the start: what lies below should not move when the first figures come
      say(text, words(shown) ?? 'network.measured');
      element.dataset.grade = grade;
      swapIcon(element, `link-${grade}`);
      show(trip, rtt_ms !== null);
      if (rtt_ms !== null) say(trip, 'network.trip', { ms: ms(rtt_ms) });
      show(loss, mine !== null || theirs !== null);
      if (mine !== null || theirs !== null) say(loss, 'network.loss', { mine: percent(mine ?? 0), theirs: percent(theirs ?? 0) });
    },
    hide: () => show(element, false),
  };
}

/** Another's, for hosts: a mark with a name, and words as soon as something is wrong. `set(network, now_ms)`. */
export function mark() {
  const steady = new Steady();
  const picture = icon('link-good');
  const text = h('span', {});
  const element = h('span', { class: 'seat-link', hidden: true }, picture, text);
  return {
    element,
    set(network, now_ms) {
      const { grade } = steady.judge({ grade: network?.quality ?? null, why: null }, now_ms);
      show(element, grade !== null);
      if (grade === null) return;
      element.dataset.grade = grade;
      swapIcon(element, `link-${grade}`);
      say(text, OF_A_SEAT[grade]);
      text.className = grade === 'good' ? 'unseen' : '';
    },
  };
}
