// Who is on the stage: one row a seat, made once and then brought up to date several times a second, so that focus
// and a screen reader's place stay where they are.

import { h, icon, put, show, swapIcon } from '/static/shared/dom.js';
import { label, say, t } from '/static/shared/words.js';
import { button } from './fields.js';
import { mark } from './quality.js';
import { meter } from './meter.js';
import { ROLE } from './rights.js';

/** `change(seat, change)` asks the studio; `may` are the rights of this page. */
export function seats(may, change) {
  const list = h('ul', { class: 'seats' });
  const empty = h('p', { class: 'soft', t: 'seats.none' });
  const away = h('p', { class: 'soft', t: 'seats.away', hidden: true });
  const rows = new Map();

  function update(stage) {
    show(away, !stage.connected);
    show(empty, stage.connected && !stage.seats.length);
    const here = new Set(stage.seats.map((seat) => seat.id));
    for (const [id, row] of rows) {
      if (here.has(id)) continue;
      row.element.remove();
      rows.delete(id);
    }
    for (const seat of stage.seats) {
      if (!rows.has(seat.id)) {
        rows.set(seat.id, newSeat(seat, may, change));
        list.append(rows.get(seat.id).element);
      }
      rows.get(seat.id).update(seat, stage.on_air);
    }
  }

  const element = h('section', { class: 'stage' }, h('h2', { t: 'seats.title' }), away, empty, list);
  return { element, update };
}

function newSeat(first, may, change) {
  let seat = first;
  const name = h('bdi', { class: 'seat-name' });
  const about = h('span', { class: 'soft' });
  const badge = h('span', { class: 'badge' });
  const level = meter();
  const link = mark();
  const arm = button('seat.arm', 'arm', () => change(seat.id, { armed: !seat.armed }));
  const mute = h('button', { type: 'button', class: 'round', on: { click: () => seat.muted || change(seat.id, { muted: true }) } }, icon('microphone'));
  mute.dataset.act = 'mute';
  const remove = button('seat.remove', 'remove', () => change(seat.id, { removed: true }), { class: 'quiet' });
  const element = h('li', { class: 'seat' },
    h('span', { class: 'seat-face' }, level.element, h('span', { class: 'seat-initial' })),
    h('span', { class: 'seat-who' }, name, about, link.element, badge),
    h('span', { class: 'seat-acts' }, mute, arm, remove));
  element.dataset.seat = seat.id;
  const initial = element.querySelector('.seat-initial');
  initial.setAttribute('aria-hidden', 'true');

  function update(now, on_air) {
    seat = now;
    const shown = seat.name || t(ROLE[seat.role]);
    put(name, shown);
    put(initial, [...shown][0]?.toLocaleUpperCase() ?? '');
    say(about, seat.you ? 'seat.you' : ROLE[seat.role]);
    element.dataset.speaking = String(seat.speaking && seat.connected && !seat.muted);
    element.dataset.connected = String(seat.connected);
    element.dataset.armed = String(seat.armed);
    element.dataset.live = String(seat.armed && seat.connected && on_air && !seat.muted);
    say(badge, badgeOf(seat, on_air));
    if (may.moderate) link.set(seat.connected ? seat.network : null, performance.now());
    level.set(seat.connected && !seat.muted ? seat.level_db : -Infinity);
    say(arm, seat.armed ? 'seat.disarm' : 'seat.arm');
    label(arm, seat.armed ? 'seat.disarm.named' : 'seat.arm.named', { name: shown });
    label(mute, seat.muted ? 'voice.muted.named' : 'seat.mute.named', { name: shown });
    label(remove, 'seat.remove.named', { name: shown });
    swapIcon(mute, seat.muted ? 'muted' : 'microphone');
    mute.setAttribute('aria-pressed', String(seat.muted));
    mute.setAttribute('aria-disabled', String(seat.muted)); // only they unmute; `disabled` would take the focus away
    // One's own buttons are in "your place".
    show(arm, may.moderate);
    show(mute, may.moderate && !seat.you);
    show(remove, may.moderate && !seat.you);
  }
  return { element, update };
}

function badgeOf(seat, on_air) {
  if (!seat.connected) return 'seat.badge.away';
  if (!seat.armed) return 'seat.badge.green_room';
  if (on_air) return seat.muted ? 'seat.badge.live_muted' : 'seat.badge.live';
  return 'seat.badge.armed';
}
