// How the guests' tests went, for those who look after the stage; and the words of a verdict, which the guest's own page
// says too.

import { clock } from '/static/shared/clock.js';
import { h, put, show } from '/static/shared/dom.js';
import { say } from '/static/shared/words.js';

/** The verdict in a sentence, to the guest. */
export const SUM = {
  good: 'check.sum.good',
  usable: 'check.sum.usable',
  poor: 'check.sum.poor',
  failed: 'check.sum.failed',
};

/** The verdict in a word, to the host. */
const VERDICT = {
  good: 'check.verdict.good',
  usable: 'check.verdict.usable',
  poor: 'check.verdict.poor',
  failed: 'check.verdict.failed',
};

/** What to do about it, by the studio's codes (rostra/studio/checks.py). */
export const ADVICE = {
  microphone_denied: 'check.advice.microphone_denied',
  microphone_none: 'check.advice.microphone_none',
  microphone_busy: 'check.advice.microphone_busy',
  microphone_insecure: 'check.advice.microphone_insecure',
  microphone_failed: 'check.advice.microphone_failed',
  connection_none: 'check.advice.connection_none',
  nothing_heard: 'check.advice.nothing_heard',
  relay_only: 'check.advice.relay_only',
  relay_unreachable: 'check.advice.relay_unreachable',
  level_low: 'check.advice.level_low',
  level_high: 'check.advice.level_high',
  clipping: 'check.advice.clipping',
  noise: 'check.advice.noise',
  echo: 'check.advice.echo',
  loss: 'check.advice.loss',
  delay: 'check.advice.delay',
  jitter: 'check.advice.jitter',
};

const REFRESH_MS = 10_000;
const DONE = new Set(['ended', 'replay', 'cancelled']);

/** The address of the test that belongs to a link. */
export function testAddress(link) {
  const address = new URL(link);
  address.searchParams.set('check', '');
  return address.href.replace('check=', 'check'); // an address that people are sent: nothing in it that they wonder at
}

/** The panel of a room, and the line beside a link: `row(link_id)` is made once and keeps up to date. */
export function guests(api, space) {
  const list = h('ul', { class: 'checks' });
  const none = h('p', { class: 'soft', t: 'check.none' });
  const element = h('section', { class: 'panel' }, h('h2', { t: 'check.guests' }), none, list);
  const rows = new Map();
  let known = [];
  let over = false;

  async function refresh() {
    if (over || document.hidden) return;
    known = (await api.checks(space).catch(() => null))?.checks ?? known;
    draw();
  }

  function draw() {
    show(none, known.length === 0);
    const here = new Map([...list.children].map((row) => [row.dataset.seat, row]));
    const wanted = known.map((check) => {
      const row = here.get(check.seat);
      return row?.dataset.at === check.at ? row : guest(check);
    });
    if (wanted.length !== list.children.length || wanted.some((row, i) => row !== list.children[i])) list.replaceChildren(...wanted);
    for (const [link, line] of rows) fill(line, known.find((check) => check.link === link));
  }

  function row(link) {
    const line = h('span', { class: 'check-line' });
    rows.set(link, line);
    fill(line, known.find((check) => check.link === link));
    return line;
  }

  refresh();
  setInterval(refresh, REFRESH_MS);
  addEventListener('language', () => {
    list.replaceChildren();
    draw();
  });
  return {
    element,
    row,
    update(now) {
      over = DONE.has(now.state);
      show(element, !over);
    },
  };
}

function fill(line, check) {
  line.dataset.verdict = check?.verdict ?? '';
  say(line, check ? VERDICT[check.verdict] : 'check.untested');
}

function guest(check) {
  const verdict = h('span', { class: 'check-line', t: VERDICT[check.verdict] });
  verdict.dataset.verdict = check.verdict;
  const name = h('bdi', { class: 'seat-name' });
  if (check.name) put(name, check.name);
  else say(name, 'check.unnamed');
  const advice = h('ul', { class: 'check-advice soft' }, ...check.advice.map((code) => h('li', { t: ADVICE[code] ?? 'check.advice.unknown' })));
  show(advice, check.advice.length > 0);
  const element = h('li', {}, h('p', { class: 'check-who' }, name, verdict, h('time', { class: 'soft', dateTime: check.at, textContent: clock(check.at) })), advice);
  element.dataset.seat = check.seat;
  element.dataset.at = check.at;
  element.dataset.verdict = check.verdict;
  return element;
}
