// What one's own place consists of: the form before joining, and what is at hand on the stage.

import { h, icon } from '/static/shared/dom.js';
import { button, choice, field } from './fields.js';
import { bars } from './quality.js';
import { meter } from './meter.js';

const KEYS = { mute: 'M', cough: 'C' }; // what is printed on them; the space bar has a name

export function view(me) {
  return { ...entrance(me), ...controls(), ...sound(), space: null };
}

/** Before joining: who, with what, and whether being recorded is agreed to. */
function entrance(me) {
  const name = h('input', { type: 'text', id: 'name', maxLength: 60, autocomplete: 'name', value: me.kept || me.name || '' });
  const agreed = h('input', { type: 'checkbox', id: 'agreed' });
  const consentText = h('span', { t: 'place.agree' });
  const join = h('button', { type: 'submit', class: 'primary large', t: 'place.join' });
  join.dataset.act = 'join';
  return {
    name,
    agreed,
    consentText,
    join,
    consent: h('label', { class: 'check' }, agreed, consentText),
    open: button('place.open', 'open-microphone', () => {}, { class: 'primary' }),
    insecure: h('p', { class: 'why', t: 'microphone.insecure', hidden: true }),
    formSound: h('div', {}),
    formMeter: h('div', {}),
  };
}

/** On the stage: what the thumb needs, and sentences that come and go above it. */
function controls() {
  const mute = held('place.mute', 'mute-self', 'microphone', h('kbd', { textContent: KEYS.mute }), { class: 'large with-icon switch' });
  const cough = held('talk.cough', 'cough', 'cough', h('kbd', { textContent: KEYS.cough }), { class: 'with-icon hold' });
  const talk = held('talk.hold', 'talk', 'microphone', h('kbd', { t: 'talk.space' }), { class: 'large with-icon hold' });
  const dockState = h('p', { class: 'dock-state' });
  return {
    mute,
    cough,
    talk,
    dockState,
    dock: h('div', { class: 'dock' }, dockState, h('div', { class: 'dock-keys' }, mute, talk, cough)),
    arm: button('place.arm', 'arm-self', () => {}),
    leave: button('place.leave', 'leave', () => {}, { class: 'quiet' }),
    status: h('p', { class: 'place-status' }),
    trouble: remark('trouble', 'mend'),
    unheard: remark('unheard'),
    moved: remark('moved', 'use-device'),
    link: bars(),
    hereSound: h('div', {}),
    hereMeter: h('div', {}),
  };
}

function held(t, act, picture, key, more) {
  const element = h('button', { type: 'button', ...more }, icon(picture), h('span', { t }), key);
  key.setAttribute('aria-hidden', 'true'); // said by aria-keyshortcuts
  element.dataset.act = act;
  element.setAttribute('aria-pressed', 'false');
  return element;
}

/** A sentence that comes and goes, with a button if something can be done about it. */
function remark(kind, act = null) {
  const text = h('span', {});
  const act_on = act && button('close', act, () => {});
  const element = h('p', { class: `remark ${kind}`, hidden: true }, text, act_on);
  return { element, text, button: act_on };
}

/** Devices and habits: the same fields before joining and on the stage. */
function sound() {
  const level = meter();
  const heard = h('span', { class: 'soft', t: 'microphone.speak' });
  const device = choice([], '');
  device.dataset.act = 'microphone';
  const output = choice([], '');
  output.dataset.act = 'loudspeaker';
  const outputField = field('loudspeaker', output);
  const plain = h('input', { type: 'checkbox', id: 'plain' });
  const push = h('input', { type: 'checkbox', id: 'push' });
  const keys = h('input', { type: 'checkbox', id: 'keys' });
  const volume = h('input', { type: 'range', min: '0', max: '1', step: '0.05', value: '1' });
  const volumeField = field('place.volume', volume);
  const checks = [[plain, 'microphone.plain'], [push, 'talk.push'], [keys, 'talk.keys']];
  return {
    level,
    heard,
    device,
    output,
    outputField,
    plain,
    push,
    keys,
    volume,
    volumeField,
    meterLine: h('div', { class: 'meter-line' }, level.element, heard),
    fields: h('div', { class: 'form' },
      h('div', { class: 'fields' }, field('microphone', device), outputField),
      volumeField,
      ...checks.map(([input, t]) => h('label', { class: 'check' }, input, h('span', { t })))),
  };
}

/** Put together. */
export function assemble(v) {
  v.form = h('form', { class: 'form' },
    v.insecure, field('place.name', v.name, 'place.name.help'), v.consent, v.open, v.formMeter, v.join, v.formSound);
  v.here = h('div', { class: 'form', hidden: true },
    v.status, v.hereMeter,
    h('div', { class: 'remarks' }, v.trouble.element, v.unheard.element, v.moved.element),
    v.link.element,
    v.dock, h('div', { class: 'acts' }, v.arm, v.leave),
    h('details', {}, h('summary', { t: 'place.sound' }), v.hereSound));
  v.element = h('section', { class: 'panel place', id: 'place' }, h('h2', { t: 'place.title' }), v.form, v.here);
  return v;
}
