// Moving the announcement: another start, postponed without one, or cancelled. Tucked away, because it is rare.

import { h, show } from '/static/shared/dom.js';
import { button, startField } from './fields.js';

const MOVABLE = new Set(['scheduled', 'doors_open', 'postponed']);
const NOT_BEGUN = new Set(['scheduled', 'doors_open', 'holding']);
const HOUR_MS = 3_600_000;

export function timing(command) {
  const body = h('div', { class: 'form' });
  const element = h('details', { class: 'panel', hidden: true }, h('summary', { t: 'timing.title' }), body);
  const sure = h('div', { class: 'confirm', hidden: true }, h('p', { t: 'timing.cancel.ask' }), h('div', { class: 'acts' },
    button('timing.cancel.yes', 'cancel-yes', () => { show(sure, false); command('cancel'); }, { class: 'danger' }),
    button('timing.cancel.no', 'cancel-no', () => show(sure, false))));
  const postpone = button('timing.postpone', 'postpone', () => command('postpone'));
  const cancel = button('timing.cancel', 'cancel', () => {
    show(sure, true);
    sure.querySelector('[data-act="cancel-no"]').focus();
  });
  let start = null;
  const move = h('form', { class: 'form' });
  move.addEventListener('submit', (event) => {
    event.preventDefault();
    command('reschedule', { starts_at: start.iso() });
  });
  body.append(move, h('div', { class: 'acts' }, postpone, cancel), sure);

  function update(space) {
    if (!start) {
      start = startField(Math.max(Date.parse(space.starts_at), Date.now() + HOUR_MS), space.time_zone);
      move.append(start.element, h('button', { type: 'submit', t: 'timing.move' }));
    }
    // Once the talk was on air it can end, but no longer be moved.
    const begun = space.on_air_offset_ms !== null && space.on_air_offset_ms !== undefined;
    show(move, MOVABLE.has(space.state));
    show(postpone, NOT_BEGUN.has(space.state) && !begun);
    show(cancel, (NOT_BEGUN.has(space.state) || space.state === 'postponed') && !begun);
    show(element, MOVABLE.has(space.state) || (NOT_BEGUN.has(space.state) && !begun));
  }
  return { element, update };
}
