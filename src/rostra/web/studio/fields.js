// Form fields with their labels.

import { h } from '/static/shared/dom.js';
import { allZones, instant, ownZone, wallTime } from './zones.js';

let last = 0;

/** A label above a field, with an optional sentence of help. */
export function field(t, input, help = null) {
  input.id ||= `field-${(last += 1)}`;
  const line = help && h('span', { class: 'help', id: `${input.id}-help`, t: help });
  if (line) input.setAttribute('aria-describedby', line.id);
  return h('div', { class: 'field' }, h('label', { t, htmlFor: input.id }), input, line);
}

/** A choice: `options` are [value, key or text data]. */
export function choice(options, chosen, more = {}) {
  const select = h('select', more, ...options.map(([value, t]) => h('option', { value, ...(t ? { t } : { textContent: value }) })));
  select.value = chosen;
  return select;
}

/** Date, time and zone of a start: {element, iso()}; `at_ms` is what it shows first. */
export function startField(at_ms, zone = ownZone()) {
  const when = h('input', { type: 'datetime-local', required: true, value: wallTime(at_ms, zone) });
  const zones = choice(allZones().map((name) => [name, null]), zone);
  const element = h('div', { class: 'fields' }, field('new.when', when), field('new.zone', zones));
  return { element, iso: () => new Date(instant(when.value, zones.value)).toISOString(), zone: () => zones.value };
}

/** A button that does one thing; `act` names it for scripts and tests. */
export function button(t, act, run, more = {}) {
  const element = h('button', { type: 'button', t, on: { click: run }, ...more });
  element.dataset.act = act;
  return element;
}
