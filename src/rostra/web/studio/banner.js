// The state in large letters, with the clock, and whether one's own voice is on the air.

import { clock, countdown, now_ms } from '/static/shared/clock.js';
import { announce, h, put, show } from '/static/shared/dom.js';
import { headline } from '/static/shared/status.js';
import { say, t } from '/static/shared/words.js';

const HEARS = {
  scheduled: 'hears.nothing',
  doors_open: 'hears.music',
  on_air: 'hears.talk',
  holding: 'hears.music',
  ended: 'hears.over',
  replay: 'hears.recording',
  postponed: 'hears.nothing',
  cancelled: 'hears.over',
};
const WHY = {
  nobody_armed: 'why.nobody_armed',
  waiting_for_go: 'why.waiting_for_go',
  speakers_lost: 'why.speakers_lost',
  stage_lost: 'why.stage_lost',
};

/** What whoever is live reads, by why their microphone is closed. */
export const LIVE = { muted: 'live.muted', push: 'live.push', taken: 'live.taken' };

export function banner() {
  const running = h('bdi', { class: 'figures' });
  const words = h('span', {});
  const hears = h('p', { class: 'hears' });
  const why = h('p', { class: 'why', hidden: true });
  const count = h('p', { class: 'soft', hidden: true });
  const live = h('p', { class: 'you-live', hidden: true });
  const element = h('section', { class: 'banner' },
    h('p', { class: 'banner-state' }, h('span', { class: 'lamp' }), words), hears, why, count, live);
  let was = null;

  /** `closed`: why one's own microphone is, or null. */
  function update(space, own, closed) {
    const left_ms = Date.parse(space.starts_at) - now_ms();
    put(running, countdown(left_ms));
    say(words, headline(space, left_ms), { countdown: running });
    say(hears, HEARS[space.state] ?? 'hears.nothing');
    drawWhy(space);
    show(count, Number.isInteger(space.listeners));
    if (Number.isInteger(space.listeners)) say(count, 'listeners', { count: space.listeners });
    const on = Boolean(space.state === 'on_air' && own?.armed && own.connected);
    show(live, on);
    if (on) say(live, LIVE[closed] ?? 'live.on');
    live.dataset.muted = String(Boolean(closed));
    if (was !== null && was !== space.state && !own?.armed) announce(t(headline(space, 0)));
    was = space.state;
  }

  function drawWhy(space) {
    const key = space.state === 'holding' ? WHY[space.cause] : null;
    const resume = space.state === 'holding' && space.resume_at;
    if (resume) say(why, 'why.resume_at', { time: clock(space.resume_at) });
    else if (key) say(why, key);
    show(why, Boolean(resume || key));
  }
  return { element, update };
}
