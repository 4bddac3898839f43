// The room of one Space: what the studio tells, several times a second, and the parts of the page that show it.

import { heard } from '/static/shared/clock.js';
import { $, h, put, show } from '/static/shared/dom.js';
import { say } from '/static/shared/words.js';
import { banner } from './banner.js';
import { guests, testAddress } from './checks.js';
import { direct } from './direct.js';
import { audience, links } from './links.js';
import { attempt, complain } from './notice.js';
import { place } from './place.js';
import { recording } from './recording.js';
import { rights } from './rights.js';
import { seats } from './seats.js';
import { timing } from './timing.js';

const AWAY_MS = 1200; // a studio that is back within this was not worth a word
const BEFORE = new Set(['scheduled', 'postponed', 'doors_open']);
const OVER = new Set(['ended', 'replay', 'cancelled']);

export function room(main, api, me, id) {
  const may = rights(me.role);
  let view = null;
  let away_since = null;
  const stop = new AbortController();

  const title = h('h1', {});
  const studio_away = h('p', { class: 'away', hidden: true });
  const top = banner();
  const yours = place(api, id, me, may, $('return'), changeSeat);
  const command = (verb, more) => attempt(async () => update({ ...view, space: await api.command(id, verb, more) }));
  const acts = may.direct ? direct(command) : null;
  const table = seats(may, changeSeat);
  const address = audience('');
  const record = may.hear ? recording(api, id, may, command) : null;
  const tests = may.moderate ? guests(api, id) : null;
  const test = h('p', { hidden: true }, h('a', { href: testAddress(location.href), t: 'check.offer' }));
  const times = may.direct ? timing(command) : null;

  main.replaceChildren(
    h('div', { class: 'room' },
      h('div', { class: 'room-head' }, title, top.element, studio_away),
      h('div', { class: 'room-main' }, test, yours.element, acts?.element, record?.element, table.element),
      h('div', { class: 'room-side' }, address.element, may.share ? links(api, id, tests) : null, tests?.element, times?.element)),
  );

  async function changeSeat(seat, change) {
    return attempt(async () => {
      const stage = await api.seatChange(id, seat, change);
      if (view) update({ ...view, stage });
    });
  }

  function update(told) {
    view = told;
    away_since = null;
    if (told.server_time) heard(told.server_time);
    draw();
  }

  function draw() {
    if (!view) return;
    const { space, stage } = view;
    const own = stage.seats.find((seat) => seat.you) ?? null;
    const over = OVER.has(space.state);
    main.dataset.state = space.state;
    document.title = space.title;
    put(title, space.title);
    top.update(space, own, yours.closed);
    yours.update(space, stage, own, away_since !== null);
    acts?.update(space);
    table.update(stage);
    show(table.element, !over);
    address.put(space.audience_url);
    record?.update(space);
    times?.update(space);
    tests?.update(space);
    show(test, BEFORE.has(space.state));
    drawAway(space, own);
  }

  /** The line to the stage does not run through the studio: say so, calmly, instead of an alarm. */
  function drawAway(space, own) {
    const away = away_since !== null && performance.now() - away_since > AWAY_MS;
    if (away) {
      const live = space.state === 'on_air' && own?.armed && yours.connected;
      say(studio_away, live ? 'away.on_air' : yours.connected ? 'away.connected' : 'away');
    }
    show(studio_away, away);
  }

  api.watch(id, {
    told: update,
    away: () => (away_since ??= performance.now()),
    refused: (error) => {
      // The link was revoked, or the Space is gone: nothing here works any more.
      stop.abort();
      yours.close();
      complain(error);
    },
    signal: stop.signal,
  });
  setInterval(draw, 250);
  addEventListener('language', draw);
}
