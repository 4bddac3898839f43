// The owner's page: the Spaces there are, and a form for a new one.

import { clock, spelled } from '/static/shared/clock.js';
import { h, put } from '/static/shared/dom.js';
import { relabel, say } from '/static/shared/words.js';
import { choice, field, startField } from './fields.js';
import { keep } from './links.js';
import { attempt } from './notice.js';

const STATE = {
  scheduled: 'state.scheduled',
  doors_open: 'state.doors_open',
  on_air: 'state.on_air',
  holding: 'state.holding',
  ended: 'state.ended',
  replay: 'state.replay',
  postponed: 'state.postponed',
  cancelled: 'state.cancelled',
};
const REFRESH_MS = 5000;
const ROUND_MS = 300_000;
const HOUR_MS = 3_600_000;

export async function owner(main, api, link) {
  const list = h('ul', { class: 'spaces' });
  const none = h('p', { class: 'soft', t: 'owner.none', hidden: true });
  main.replaceChildren(
    h('div', { class: 'columns' },
      h('section', { class: 'panel' }, h('h2', { t: 'owner.new' }), form(api, link)),
      h('section', {}, h('h2', { t: 'owner.spaces' }), none, list)),
  );
  const refresh = async () => {
    const { spaces } = (await api.spaces().catch(() => null)) ?? {};
    if (!spaces) return;
    none.hidden = spaces.length > 0;
    redraw(list, spaces, link);
  };
  addEventListener('language', () => {
    list.replaceChildren();
    refresh();
  });
  await refresh();
  setInterval(refresh, REFRESH_MS);
}

const address = (id, link) => `/?space=${encodeURIComponent(id)}#${link}`;

function redraw(list, spaces, link) {
  const rows = new Map([...list.children].map((row) => [row.dataset.space, row]));
  list.replaceChildren(
    ...spaces.map((space) => {
      const row = rows.get(space.id) ?? newRow(space, link);
      row.dataset.state = space.state;
      put(row.querySelector('a'), space.title);
      put(row.querySelector('time'), spelled(space.starts_at));
      say(row.querySelector('.badge-words'), STATE[space.state] ?? 'state.unknown');
      return row;
    }),
  );
}

function newRow(space, link) {
  const row = h('li', { class: 'space-row' },
    h('span', { class: 'badge' }, h('span', { class: 'lamp' }), h('span', { class: 'badge-words' })),
    h('a', { href: address(space.id, link) }),
    h('time', { class: 'soft', dateTime: space.starts_at, title: clock(space.starts_at) }));
  row.dataset.space = space.id;
  return row;
}

function form(api, link) {
  const title = h('input', { type: 'text', required: true, maxLength: 200, autocomplete: 'off' });
  const start = startField(Math.ceil((Date.now() + HOUR_MS) / ROUND_MS) * ROUND_MS);
  const doors = choice(
    [['0', 'new.doors.0'], ['300', 'new.doors.5'], ['900', 'new.doors.15'], ['1800', 'new.doors.30'], ['3600', 'new.doors.60']],
    '1800',
  );
  const how = choice([['automatic', 'new.start.automatic'], ['on_go', 'new.start.on_go']], 'automatic');
  const recording = choice(
    [
      ['after_approval', 'recording.after_approval'],
      ['public', 'recording.public'],
      ['private', 'recording.private'],
      ['off', 'recording.off'],
    ],
    'after_approval',
  );
  const element = h('form', { class: 'form' },
    field('new.title', title),
    start.element,
    field('new.doors', doors),
    field('new.start', how, 'new.start.help'),
    field('new.recording', recording),
    h('button', { class: 'primary', type: 'submit', t: 'new.create' }));
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    const made = await attempt(() => api.create({
      title: title.value.trim(),
      starts_at: start.iso(),
      time_zone: start.zone(),
      doors_s: Number(doors.value),
      start: how.value,
      recording: recording.value,
    }));
    if (!made) return;
    for (const [role, url] of Object.entries(made.links ?? {})) keep(made.id, `first-${role}`, { role, url });
    location.assign(address(made.id, link));
  });
  relabel(element);
  return element;
}
