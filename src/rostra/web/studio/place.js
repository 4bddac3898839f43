// One's own place: agree to being recorded, choose a microphone and see it move, join, be told "you are live".

import { announce, h, icon, show, swapIcon } from '/static/shared/dom.js';
import { say, t } from '/static/shared/words.js';
import { chime } from './chime.js';
import { button, choice, field } from './fields.js';
import { Line } from './line.js';
import { listenTo, meter } from './meter.js';
import { Microphone } from './microphone.js';
import { clear, complain, tell } from './notice.js';

const OVER = new Set(['ended', 'replay', 'cancelled']);
const HEARD_DB = -45; // a voice at arm's length is well above, a quiet room below
const FORGOTTEN_MS = 1500;

const REFUSED = {
  NotAllowedError: 'microphone.denied',
  NotFoundError: 'microphone.none',
  NotReadableError: 'microphone.busy',
  OverconstrainedError: 'microphone.gone',
};

export function place(api, id, me, may, back, changeSeat) {
  const microphone = new Microphone();
  const line = new Line(api, id, back);
  const view = build(me);
  let context = null;
  let stopMeter = () => {};
  let quiet = false; // muted here, at once, whatever the studio says and even when it is away
  let unsent = false; // the studio has not been told yet
  let seat = null;
  let was_live = false;
  let unfed_since = null;
  let seen = false;

  // Opening the microphone

  async function open(device) {
    context ??= new AudioContext();
    context.resume();
    try {
      await microphone.open(device);
    } catch (error) {
      tell(REFUSED[error.name] ?? 'microphone.failed', {}, 'microphone.hint');
    }
  }

  microphone.addEventListener('opened', async () => {
    stopMeter();
    stopMeter = listenTo(context, microphone.stream, (level_db) => {
      view.level.set(muted() ? -Infinity : level_db);
      if (level_db > HEARD_DB) show(view.heard, true);
    });
    microphone.track.enabled = !muted();
    if (line.state !== 'closed') await line.replace(microphone.track);
    await listDevices();
    draw();
  });
  microphone.addEventListener('devices', listDevices);
  microphone.addEventListener('gone', () => tell('microphone.gone', {}, 'microphone.hint'));

  async function listDevices() {
    if (!microphone.stream) return;
    const found = await microphone.devices();
    const names = found.map(({ id: value, name }, i) => h('option', name ? { value, textContent: name } : { value, t: ['microphone.unnamed', { count: i + 1 }] }));
    view.device.replaceChildren(...names);
    view.device.value = microphone.device;
  }

  view.open.addEventListener('click', () => open());
  view.device.addEventListener('change', () => open(view.device.value));
  view.plain.addEventListener('change', () => {
    microphone.plain = view.plain.checked;
    if (microphone.stream) open();
  });
  view.agreed.addEventListener('change', draw);

  // The line

  view.form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!microphone.track) return;
    remember(view.name.value.trim());
    seen = false;
    line.open(microphone.track, view.name.value.trim());
  });
  view.leave.addEventListener('click', close);
  view.mute.addEventListener('click', toggleMute);
  view.volume.addEventListener('input', () => (back.volume = Number(view.volume.value)));
  line.addEventListener('state', draw);
  line.addEventListener('refused', ({ detail }) => complain(detail));
  // On the way in, why it takes long; later the line says by itself that it comes back.
  line.addEventListener('delayed', ({ detail }) => !seen && complain(detail));
  view.arm.addEventListener('click', () => seat && changeSeat(seat.id, { armed: !seat.armed }));

  function close() {
    line.close();
    stopMeter();
    stopMeter = () => {};
    microphone.close();
    draw();
  }

  const muted = () => quiet || Boolean(seat?.muted);

  async function toggleMute() {
    quiet = !muted();
    if (seat) seat = { ...seat, muted: quiet };
    if (microphone.track) microphone.track.enabled = !quiet;
    unsent = true;
    announce(t(quiet ? 'place.muted' : 'place.unmuted'));
    draw();
    await send();
  }

  /** Tell the studio; when it is away, the next word from it is the time to try again. */
  async function send() {
    if (!unsent || !seat) return;
    unsent = false;
    try {
      await api.seatChange(id, seat.id, { muted: quiet });
    } catch (error) {
      if (error.away) unsent = true;
      else complain(error);
    }
  }

  // What the studio tells

  function update(space, stage, own, away) {
    if (own && !unsent) {
      quiet = own.muted;
      seat = own;
    } else if (own) seat = { ...own, muted: quiet };
    else seat = null;
    if (microphone.track) microphone.track.enabled = !muted();
    if (!away) {
      if (unsent) send();
      watchLine(stage, own);
    }
    tellLive(space.state === 'on_air' && Boolean(own?.armed && own.connected));
    if (OVER.has(space.state) && line.state !== 'closed') close();
    view.space = space;
    draw();
  }

  /** The stage may have been restarted, or a host may have taken the seat away: the roster knows first. */
  function watchLine(stage, own) {
    if (line.state !== 'connected' || !stage.connected) {
      unfed_since = null;
      return;
    }
    if (own?.connected) {
      unfed_since = null;
      if (!seen) clear();
      seen = true;
      return;
    }
    unfed_since ??= performance.now();
    if (performance.now() - unfed_since < FORGOTTEN_MS) return;
    unfed_since = null;
    if (own || !seen) return line.forgotten();
    close();
    return tell('place.removed', {}, 'place.removed.hint');
  }

  function tellLive(live) {
    if (live === was_live) return;
    was_live = live;
    announce(t(live ? 'live.on' : 'live.off'));
    if (context) chime(context, live ? 'live' : 'off');
  }

  function draw() {
    const { space } = view;
    if (!space) return;
    const over = OVER.has(space.state);
    const joined = line.state !== 'closed';
    const open = microphone.track !== null;
    const recorded = space.recording !== 'off';
    show(view.element, !over);
    show(view.form, !joined);
    show(view.here, joined);
    show(view.insecure, !Microphone.possible);
    show(view.consent, recorded && !open);
    say(view.consentText, space.recording === 'private' ? 'place.agree.private' : 'place.agree');
    show(view.open, !open);
    view.open.disabled = !Microphone.possible || (recorded && !view.agreed.checked);
    show(view.join, open);
    show(view.tuning, open);
    move(view.tuning, joined ? view.hereTuning : view.formTuning);
    move(view.meterLine, joined ? view.hereMeter : view.formMeter);
    show(view.formTuning, open);
    show(view.formMeter, open);
    show(view.hereMeter, open);
    say(view.mute.lastChild, muted() ? 'place.unmute' : 'place.mute');
    swapIcon(view.mute, muted() ? 'muted' : 'microphone');
    view.mute.setAttribute('aria-pressed', String(muted()));
    show(view.arm, Boolean(seat) && line.state === 'connected' && (may.moderate || seat.armed));
    say(view.arm, seat?.armed ? 'place.disarm' : 'place.arm');
    say(view.status, statusOf(line.state, seat, space));
  }

  return {
    element: view.element,
    update,
    close,
    get muted() {
      return muted();
    },
    get connected() {
      return line.state === 'connected';
    },
  };
}

/** Only when it is elsewhere: whoever is choosing a microphone would lose the focus. */
function move(element, to) {
  if (element.parentNode !== to) to.append(element);
}

function statusOf(line, seat, space) {
  if (line === 'dialling') return 'place.dialling';
  if (line === 'lost') return 'place.lost';
  if (!seat?.armed) return 'place.green_room';
  return space.state === 'on_air' ? 'place.on_air' : 'place.armed';
}

function build(me) {
  const level = meter();
  const name = h('input', { type: 'text', id: 'name', maxLength: 60, autocomplete: 'name', value: recall() || me.name || '' });
  const agreed = h('input', { type: 'checkbox', id: 'agreed' });
  const consentText = h('span', { t: 'place.agree' });
  const consent = h('label', { class: 'check' }, agreed, consentText);
  const open = button('place.open', 'open-microphone', () => {}, { class: 'primary' });
  const join = h('button', { type: 'submit', class: 'primary large', t: 'place.join' });
  join.dataset.act = 'join';
  const device = choice([], '');
  const plain = h('input', { type: 'checkbox', id: 'plain' });
  const heard = h('p', { class: 'soft', t: 'microphone.heard', hidden: true });
  const tuning = h('div', { class: 'form' },
    field('microphone', device),
    h('label', { class: 'check' }, plain, h('span', { t: 'microphone.plain' })));
  const meterLine = h('div', { class: 'meter-line' }, level.element, heard);
  const insecure = h('p', { class: 'why', t: 'microphone.insecure', hidden: true });
  const formTuning = h('div', {});
  const formMeter = h('div', {});
  const hereMeter = h('div', {});
  const form = h('form', { class: 'form' }, insecure, field('place.name', name, 'place.name.help'), consent, open, formTuning, formMeter, join);
  const status = h('p', { class: 'place-status' });
  const mute = h('button', { type: 'button', class: 'large with-icon' }, icon('microphone'), h('span', {}));
  mute.dataset.act = 'mute-self';
  const arm = button('place.arm', 'arm-self', () => {});
  const leave = button('place.leave', 'leave', () => {}, { class: 'quiet' });
  const volume = h('input', { type: 'range', min: '0', max: '1', step: '0.05', value: '1' });
  const hereTuning = h('div', {});
  const here = h('div', { class: 'form', hidden: true }, status, hereMeter, h('div', { class: 'acts' }, mute, arm, leave),
    h('details', {}, h('summary', { t: 'place.sound' }), field('place.volume', volume), hereTuning));
  const element = h('section', { class: 'panel place', id: 'place' }, h('h2', { t: 'place.title' }), form, here);
  return { element, form, here, name, agreed, consent, consentText, open, join, device, plain, heard, tuning, insecure, formTuning, hereTuning, formMeter, hereMeter, meterLine, status, mute, arm, leave, volume, level, space: null };
}

function recall() {
  try {
    return localStorage.getItem('rostra.name') ?? '';
  } catch {
    return ''; // Storage may be forbidden.
  }
}

function remember(name) {
  try {
    localStorage.setItem('rostra.name', name);
  } catch {
    // As above.
  }
}
