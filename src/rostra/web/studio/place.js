// One's own place: agree to being recorded, choose a microphone and see it move, join, be told "you are live".

import { announce, h, show, swapIcon } from '/static/shared/dom.js';
import { say, t } from '/static/shared/words.js';
import { LIVE } from './banner.js';
import { chime } from './chime.js';
import { keys } from './keys.js';
import { Line } from './line.js';
import { words } from './quality.js';
import { Loudspeaker } from './loudspeaker.js';
import { listenTo } from './meter.js';
import { Microphone } from './microphone.js';
import { graded, joined as together, Steady } from './network.js';
import { clear, complain, tell } from './notice.js';
import { assemble, view as makeView } from './place_view.js';
import { presence } from './presence.js';
import { opens } from './talk.js';
import { Unheard } from './unheard.js';

const OVER = new Set(['ended', 'replay', 'cancelled']);
const HEARD_DB = -45; // a voice at arm's length is well above, a quiet room below
const FORGOTTEN_MS = 1500;
const SETTLE_MS = 1000; // a roster that was looked up before a change may arrive that much after its answer
const MOVED_MS = 20_000; // how long it is said that a device came or went
const PAIR_MS = 3000; // what a headset takes to be both a microphone and a loudspeaker
const ECHO_DB = -30; // while others are heard aloud, only a voice close by is one's own

const REFUSED = {
  NotAllowedError: 'microphone.denied',
  NotFoundError: 'microphone.none',
  NotReadableError: 'microphone.busy',
  OverconstrainedError: 'microphone.gone',
};
const MOVED = {
  microphone: { gone: 'device.microphone.gone', back: 'device.microphone.back', new: 'device.new' },
  loudspeaker: { gone: 'device.loudspeaker.gone', back: 'device.loudspeaker.back', new: 'device.new' },
};

export function place(api, id, me, may, back, changeSeat) {
  const microphone = new Microphone();
  const loudspeaker = new Loudspeaker(back);
  const line = new Line(api, id, back);
  const view = assemble(makeView({ ...me, kept: recall('name') }));
  const unheard = new Unheard();
  const steady = new Steady();
  const here = presence(() => toggleMute());
  let context = null;
  let stopMeter = () => {};
  let quiet = false; // muted here, at once, whatever the studio says and even when it is away
  let unsent = false; // the studio has not been told yet
  let settles_at = 0; // until then, what the studio tells may be from before it was told
  let by_host = false; // muted, and not by oneself
  const holding = { talk: false, cough: false };
  let others = false; // somebody else speaks
  let was_open = true;
  let speaking_unheard = false;
  let figures = { rtt_ms: null, mine: null, theirs: null };
  let seat = null;
  let was_live = false;
  let unfed_since = null;
  let seen = false;
  let moved_until = 0;
  let offered = { until: 0 };

  // Devices

  async function open(act) {
    context ??= new AudioContext();
    context.resume();
    try {
      await act();
    } catch (error) {
      tell(REFUSED[error.name] ?? 'microphone.failed', {}, 'microphone.hint');
      listDevices(); // the choice shows what is in use, not what was refused
    }
  }

  microphone.addEventListener('opened', async () => {
    stopMeter();
    context ??= new AudioContext();
    unheard.reset();
    stopMeter = listenTo(context, microphone.ear, measured);
    apply();
    if (line.state !== 'closed') await line.replace(microphone.track);
    await loudspeaker.list();
    await listDevices();
    draw();
  });
  microphone.addEventListener('devices', listDevices);
  loudspeaker.addEventListener('devices', listDevices);
  microphone.addEventListener('state', () => {
    if (microphone.state === 'gone' && line.state === 'closed') tell('microphone.gone', {}, 'microphone.hint');
    told(troubleOf());
  });
  loudspeaker.addEventListener('state', () => told(troubleOf()));
  microphone.addEventListener('moved', ({ detail }) => sayMoved('microphone', detail));
  loudspeaker.addEventListener('moved', ({ detail }) => sayMoved('loudspeaker', detail));

  function listDevices() {
    if (!microphone.stream) return;
    fill(view.device, microphone.known, microphone.device, 'microphone.unnamed');
    show(view.outputField, loudspeaker.possible);
    if (loudspeaker.possible) fill(view.output, loudspeaker.choices, loudspeaker.device, 'loudspeaker.unnamed');
  }

  function chooseMicrophone(device) {
    return open(async () => {
      await microphone.choose(device);
      remember('microphone', device);
    });
  }

  async function chooseLoudspeaker(device) {
    try {
      await loudspeaker.choose(device);
      remember('loudspeaker', device);
      await context?.setSinkId?.(device);
    } catch {
      tell('loudspeaker.failed', {}, 'microphone.hint');
    }
    listDevices();
  }

  /** A device came or went: what is in use now, and what could be. */
  function sayMoved(kind, { why, device }) {
    const params = { name: device.name, now: microphone.name };
    say(view.moved.text, MOVED[kind][why], params);
    show(view.moved.button, why === 'new');
    // A headset is both, and arrives as two.
    offered = why !== 'new' || performance.now() > offered.until ? { until: performance.now() + PAIR_MS } : offered;
    if (why === 'new') offered[kind] = device.id;
    moved_until = performance.now() + MOVED_MS;
    announce(t(MOVED[kind][why], params));
    listDevices();
    draw();
  }

  say(view.moved.button, 'device.use');
  view.moved.button.addEventListener('click', async () => {
    const { microphone: input, loudspeaker: output } = offered;
    moved_until = 0;
    draw();
    if (input) await chooseMicrophone(input);
    if (output) await chooseLoudspeaker(output);
  });
  view.open.addEventListener('click', () => open(openFirst));
  view.device.addEventListener('change', () => chooseMicrophone(view.device.value));
  view.output.addEventListener('change', () => chooseLoudspeaker(view.output.value));
  view.plain.addEventListener('change', () => {
    microphone.plain = view.plain.checked;
    if (microphone.stream) open(() => microphone.open(microphone.device));
  });
  view.agreed.addEventListener('change', draw);

  /** The microphone and loudspeaker of last time, if they are there. */
  async function openFirst() {
    const wanted = recall('microphone');
    try {
      await microphone.open(wanted);
      microphone.wanted = wanted;
    } catch (error) {
      if (!wanted || error.name === 'NotAllowedError') throw error;
      await microphone.open('');
    }
    const output = recall('loudspeaker');
    await loudspeaker.list();
    if (output && loudspeaker.known.some(({ id: known }) => known === output)) await chooseLoudspeaker(output);
  }

  // Habits: how to talk, and whether letters do something

  view.push.checked = recall('push') === 'on';
  view.keys.checked = recall('keys') !== 'off';
  for (const name of ['push', 'keys']) {
    view[name].addEventListener('change', () => {
      remember(name, view[name].checked ? 'on' : 'off');
      apply();
    });
  }
  keys({ talk: view.talk, cough: view.cough }, {
    did: (what, held) => (what === 'mute' ? toggleMute() : hold(what, held)),
    on: () => view.keys.checked && line.state !== 'closed',
    push: () => view.push.checked,
  });

  function hold(what, held) {
    holding[what] = held;
    // Whoever holds to talk wants to speak, also after a host has muted them.
    if (what === 'talk' && held && muted()) setMute(false);
    apply();
  }

  const muted = () => quiet || Boolean(seat?.muted);
  const isOpen = () => opens({ push: view.push.checked, muted: muted(), talking: holding.talk, coughing: holding.cough });

  /** Let the microphone be what switch, mode and held keys make of it; before anything is drawn. */
  function apply() {
    const open = isOpen();
    if (microphone.track) microphone.track.enabled = open;
    if (was_open && !open) unheard.closed(performance.now());
    was_open = open;
    draw();
  }

  // The line

  view.form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (!microphone.track) return;
    remember('name', view.name.value.trim());
    seen = false;
    line.open(microphone.track, view.name.value.trim());
  });
  view.leave.addEventListener('click', close);
  view.mute.addEventListener('click', toggleMute);
  view.volume.addEventListener('input', () => (back.volume = Number(view.volume.value)));
  line.addEventListener('state', () => told(troubleOf()));
  line.addEventListener('refused', ({ detail }) => complain(detail));
  // On the way in, why it takes long; later the line says by itself that it comes back.
  line.addEventListener('delayed', ({ detail }) => !seen && complain(detail));
  line.addEventListener('figures', ({ detail }) => judge(detail));
  view.arm.addEventListener('click', () => seat && changeSeat(seat.id, { armed: !seat.armed }));

  function close() {
    line.close();
    stopMeter();
    stopMeter = () => {};
    microphone.close();
    draw();
  }

  function toggleMute() {
    if (line.state === 'closed') return;
    setMute(!muted());
    announce(t(quiet ? 'place.muted' : 'place.unmuted'));
  }

  async function setMute(on) {
    quiet = on;
    by_host = false;
    if (seat) seat = { ...seat, muted: quiet };
    unsent = true;
    apply();
    await send();
  }

  /** Tell the studio; when it is away, the next word from it is the time to try again. */
  async function send() {
    if (!unsent || !seat) return;
    unsent = false;
    settles_at = Infinity;
    try {
      await api.seatChange(id, seat.id, { muted: quiet });
    } catch (error) {
      if (error.away) unsent = true;
      else complain(error);
    }
    settles_at = performance.now() + SETTLE_MS;
  }

  // What the microphone tells

  function measured(level_db) {
    view.level.set(level_db);
    if (level_db > HEARD_DB) say(view.heard, 'microphone.heard');
    const silent = !isOpen() && !holding.cough && line.state === 'connected';
    const talks = unheard.heard(level_db, performance.now(), others && !microphone.plain ? ECHO_DB : undefined) && silent;
    if (talks === speaking_unheard) return;
    speaking_unheard = talks;
    if (talks) announce(t(view.push.checked ? 'talk.unheard.push' : 'talk.unheard'));
    draw();
  }

  /** Systems stop meters too; a page that is used may start them again. */
  function wake() {
    if (context && context.state !== 'running' && context.state !== 'closed') context.resume().catch(() => {});
  }
  for (const event of ['pointerdown', 'keydown']) addEventListener(event, wake, true);
  document.addEventListener('visibilitychange', wake);

  const TROUBLE = {
    interrupted: ['microphone.interrupted', 'microphone.again', () => microphone.again()],
    gone: ['microphone.lost', 'microphone.again', () => microphone.again()],
    denied: ['microphone.lost.denied', 'microphone.again', () => microphone.again()],
    paused: ['loudspeaker.paused', 'loudspeaker.again', () => loudspeaker.resume()],
  };

  /** What the system has taken away, the worst first. */
  function troubleOf() {
    if (line.state === 'closed') return null;
    if (microphone.state === 'gone') return microphone.refused === 'NotAllowedError' ? 'denied' : 'gone';
    if (microphone.state === 'interrupted') return 'interrupted';
    return loudspeaker.paused ? 'paused' : null;
  }

  let trouble = null;

  function told(now) {
    if (now && now !== trouble) announce(t(TROUBLE[now][0]));
    else if (!now && trouble && line.state !== 'closed') announce(t('trouble.over'));
    trouble = now;
    draw();
  }

  function drawTrouble() {
    show(view.trouble.element, trouble !== null);
    if (!trouble) return;
    const [text, act, run] = TROUBLE[trouble];
    say(view.trouble.text, text);
    say(view.trouble.button, act);
    view.trouble.button.onclick = run;
  }

  // What the network tells

  function judge(own) {
    figures = together(own, seat?.network);
    const before = steady.shown;
    const now = steady.judge(graded(figures, before.grade), performance.now());
    if (now !== before && before.grade !== null && words(now)) announce(t(words(now)));
    view.link.set(now, figures);
  }

  // What the studio tells

  function update(space, stage, own, away) {
    const settled = !unsent && performance.now() > settles_at;
    if (own && (settled || own.muted === quiet)) {
      if (own.muted && !quiet && seat) mutedByHost();
      quiet = own.muted;
      by_host = by_host && own.muted;
    }
    seat = own && { ...own, muted: quiet };
    others = stage.seats.some((each) => !each.you && each.speaking);
    if (!away) {
      if (unsent) send();
      watchLine(stage, own);
    }
    tellLive(space.state === 'on_air' && Boolean(own?.armed && own.connected));
    if (OVER.has(space.state) && line.state !== 'closed') close();
    view.space = space;
    apply();
  }

  function mutedByHost() {
    by_host = true;
    announce(t('place.muted.host'));
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
    const on_stage = line.state !== 'closed';
    drawEntrance(space, on_stage);
    drawControls();
    drawTrouble();
    show(view.unheard.element, on_stage && speaking_unheard);
    say(view.unheard.text, view.push.checked ? 'talk.unheard.push' : 'talk.unheard');
    show(view.moved.element, on_stage && performance.now() < moved_until);
    if (line.state === 'connected') view.link.set(steady.shown, figures);
    else view.link.hide();
    show(view.arm, Boolean(seat) && line.state === 'connected' && (may.moderate || seat.armed));
    say(view.arm, seat?.armed ? 'place.disarm' : 'place.arm');
    say(view.status, statusOf(space));
    document.body.classList.toggle('docked', on_stage);
    here.update({ stage: on_stage, on_air: on_stage && was_live, open: on_stage && isOpen(), title: space.title });
  }

  function drawEntrance(space, on_stage) {
    const open = microphone.state !== 'closed';
    const recorded = space.recording !== 'off';
    show(view.element, !OVER.has(space.state));
    show(view.form, !on_stage);
    show(view.here, on_stage);
    show(view.insecure, !Microphone.possible);
    show(view.consent, recorded && !open);
    say(view.consentText, space.recording === 'private' ? 'place.agree.private' : 'place.agree');
    show(view.open, !open);
    view.open.disabled = !Microphone.possible || (recorded && !view.agreed.checked);
    show(view.join, open);
    move(view.fields, on_stage ? view.hereSound : view.formSound);
    move(view.meterLine, on_stage ? view.hereMeter : view.formMeter);
    for (const element of [view.formSound, view.formMeter, view.hereMeter]) show(element, open);
    show(view.volumeField, on_stage);
    view.heard.classList.toggle('unseen', on_stage);
  }

  function drawControls() {
    const push = view.push.checked;
    show(view.mute, !push);
    show(view.cough, !push);
    show(view.talk, push);
    say(view.mute.querySelector('span'), muted() ? 'place.mute.on' : 'place.mute');
    swapIcon(view.mute, muted() ? 'muted' : 'microphone');
    swapIcon(view.talk, isOpen() ? 'microphone' : 'muted');
    press(view.mute, muted());
    press(view.cough, holding.cough);
    press(view.talk, holding.talk);
    view.dock.dataset.keys = String(view.keys.checked);
    for (const [button, key] of [[view.mute, 'M'], [view.cough, 'C'], [view.talk, 'Space']]) {
      if (view.keys.checked) button.setAttribute('aria-keyshortcuts', key);
      else button.removeAttribute('aria-keyshortcuts');
    }
    view.element.dataset.open = String(isOpen());
    view.dock.dataset.live = String(was_live);
    say(view.dockState, dockStateOf());
  }

  function dockStateOf() {
    if (line.state === 'lost') return 'place.lost.short';
    if (!was_live) return 'live.not';
    return LIVE[closedBy()] ?? 'live.on';
  }

  /** Why nobody hears it now: the system (`taken`), the mode (`push`) or the switch (`muted`); null when it is heard. */
  function closedBy() {
    if (line.state !== 'closed' && microphone.state !== 'open') return 'taken';
    return isOpen() ? null : view.push.checked ? 'push' : 'muted';
  }

  function statusOf(space) {
    if (line.state === 'dialling') return 'place.dialling';
    if (line.state === 'lost') return 'place.lost';
    if (microphone.state !== 'open') return 'place.taken';
    if (muted() && by_host) return 'place.muted.host';
    if (muted() && !view.push.checked) return 'place.muted.self';
    if (!seat?.armed) return 'place.green_room';
    if (space.state !== 'on_air') return 'place.armed';
    return view.push.checked ? 'place.on_air.push' : 'place.on_air';
  }

  return {
    element: view.element,
    update,
    close,
    get closed() {
      return closedBy();
    },
    get connected() {
      return line.state === 'connected';
    },
  };
}

/** Bring a choice of devices up to date, without closing it under the reader's finger. */
function fill(select, devices, chosen, unnamed) {
  const key = JSON.stringify(devices);
  if (select.dataset.devices !== key) {
    select.dataset.devices = key;
    select.replaceChildren(...devices.map(({ id: value, name }, i) => h('option', { value, ...(name ? { textContent: name } : { t: value ? [unnamed, { count: i + 1 }] : 'device.system' }) })));
  }
  select.value = chosen;
}

function press(button, on) {
  if (button.getAttribute('aria-pressed') !== String(on)) button.setAttribute('aria-pressed', String(on));
}

/** Only when it is elsewhere: whoever is choosing a microphone would lose the focus. */
function move(element, to) {
  if (element.parentNode !== to) to.append(element);
}

function recall(name) {
  try {
    return localStorage.getItem(`rostra.${name}`) ?? '';
  } catch {
    return ''; // Storage may be forbidden.
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(`rostra.${name}`, value);
  } catch {
    // As above.
  }
}
