// The listener's page: one state (`space`), one `render`, and the few things that change them — the state when it is
// asked for, the notices that come with the sound, the clock, and the reader.

import { clock, countdown, duration, heard, now_ms, spelled, zone } from '/static/shared/clock.js';
import { $, announce, put, show, swapIcon } from '/static/shared/dom.js';
import { label, language, languageSwitch, say, t, useLanguage } from '/static/shared/words.js';
import { Levels } from './levels.js';
import { describe, handle, playback } from './media_session.js';
import { Player, playable } from './player.js';
import { poll_s } from './pace.js';
import { Replay, STEP_S } from './replay.js';
import { Ring } from './ring.js';
import { detail, headline, spoken } from '/static/shared/status.js';

const BASE = location.pathname.replace(/\/+$/, '');
const LIVE = new Set(['doors_open', 'on_air', 'holding']);

const ui = Object.fromEntries(
  [
    'space', 'headline', 'title', 'detail', 'when', 'when-time', 'when-zone', 'speaking', 'recorded', 'sound', 'play',
    'hint', 'transport', 'place', 'place-now', 'place-end', 'volume', 'volume-row', 'mute', 'listeners', 'delay',
  ].map((id) => [id.replace(/-(\w)/g, (_, letter) => letter.toUpperCase()), $(id)]),
);
const running = document.createElement('bdi'); // the clock inside the headline
running.className = 'figures';

let space = { state: 'loading' };
let missing = false; // there is no such Space
let waiting = false; // the reader pressed play before the doors opened
let ending = false; // the end was told in-band
let lost = false; // the worker said that the programme is away
let poll = 0;
let failures = 0;
let asked_ms = 0;

const player = new Player($('live'), BASE, { over, refused });
const replay = new Replay($('recording'));
const levels = new Levels();

// The state: asked for while no request for sound is held, told in-band while one is

async function ask() {
  clearTimeout(poll);
  asked_ms = now_ms();
  try {
    const answer = await fetch(`${BASE}/state.json`, { cache: 'no-cache' });
    if (answer.status === 404) missing = true;
    else if (answer.ok) update(await answer.json());
    failures = answer.ok || missing ? 0 : failures + 1;
  } catch {
    failures += 1; // offline, or everything restarts: what is on the page stays, and the next question comes later
  }
  render();
  askLater();
}

function askLater() {
  clearTimeout(poll);
  if (missing || player.state !== 'stopped') return;
  const until_doors_s = (Date.parse(space.doors_at) - now_ms()) / 1000;
  const since_s = (now_ms() - Date.parse(space.since)) / 1000 || 0;
  const calm = document.hidden && space.state !== 'scheduled' ? 4 : 1;
  const wait_s = ending ? 1 + 3 * Math.random() : poll_s(space.state, until_doors_s, since_s, Math.random());
  poll = setTimeout(ask, 1000 * wait_s * calm * 2 ** Math.min(failures, 4));
}

// Whoever comes back to the page wants to know now.
addEventListener('visibilitychange', () => {
  if (!document.hidden && player.state === 'stopped' && now_ms() - asked_ms > 5000) ask();
});

function update(told) {
  if (told.server_time) heard(told.server_time);
  const changed = told.state && (told.state !== space.state || (told.cause ?? space.cause) !== space.cause);
  const known = space.state !== 'loading';
  space = { ...space, ...told };
  if (space.state === 'replay' || (ending && space.state !== 'ended')) ending = false;
  if (changed && known) {
    const { headline: first, detail: second, params } = spoken(space, clock);
    announce([t(first), second && t(second, params)].filter(Boolean).join('. '));
  }
  if (waiting && LIVE.has(space.state) && player.state === 'stopped') listen();
}

player.addEventListener('notice', ({ detail: told }) => {
  const { type, ...facts } = told;
  if (type === 'state') update(facts);
  else if (type === 'speaking') update({ speaking: facts.name ? facts : null });
  else if (type === 'count') update({ listeners: facts.listeners });
  else if (type === 'programme_lost' || type === 'programme_back') lost = type === 'programme_lost';
  else if (type === 'end') {
    ending = true;
    update({ state: facts.state });
  }
  render();
});

/** The response ended cleanly: come back, unless the Space is over. */
async function over() {
  if (ending || !LIVE.has(space.state)) return false;
  await ask();
  return LIVE.has(space.state);
}

/** The edge said no: whether, and why not, is in the state. */
async function refused(_problem, status) {
  if (status === 404 || status === 410 || status === 503) await ask();
  if (missing) return false;
  if (LIVE.has(space.state)) return true;
  waiting = space.state === 'scheduled' || space.state === 'postponed';
  return false;
}

// The reader

function listen() {
  waiting = false;
  lost = false;
  player.play();
}

function press() {
  if (space.state === 'replay') replay.toggle();
  else if (player.state !== 'stopped') player.stop();
  else if (LIVE.has(space.state)) listen();
  else waiting = !waiting;
  render();
}

player.addEventListener('state', () => {
  if (player.state === 'stopped') {
    space.listeners = null; // nobody tells any more
    askLater();
    if (ending) ask();
  } else clearTimeout(poll);
  playback(player.state === 'stopped' ? 'paused' : 'playing');
  render();
});

player.addEventListener('fragment', ({ detail: fragment }) => {
  levels.start(player.init);
  levels.add(fragment);
});

ui.play.addEventListener('click', press);
replay.addEventListener('change', () => {
  playback(replay.playing ? 'playing' : 'paused');
  render();
});
ui.place.addEventListener('input', () => replay.seek(Number(ui.place.value)));
$('step-back').addEventListener('click', () => replay.step(-1));
$('step-forward').addEventListener('click', () => replay.step(1));

// The space bar works wherever it means nothing else.
addEventListener('keydown', (event) => {
  if (event.key !== ' ' || event.target.closest('button, input, a, select') || ui.sound.hidden) return;
  event.preventDefault();
  press();
});

function setVolume(volume, muted) {
  for (const audio of [$('live'), $('recording')]) Object.assign(audio, { volume, muted });
  ui.volume.value = muted ? 0 : volume;
  ui.mute.setAttribute('aria-pressed', String(muted));
  swapIcon(ui.mute, muted || volume === 0 ? 'silent' : 'sound');
  // iPhones leave the volume to their buttons; a slider that does nothing is worse than none.
  show(ui.volume, $('live').volume === volume);
  try {
    localStorage.setItem('rostra.volume', String(volume));
  } catch {
    // Storage may be forbidden.
  }
}

function startVolume() {
  let volume = NaN;
  try {
    volume = parseFloat(localStorage.getItem('rostra.volume'));
  } catch {
    // As above.
  }
  setVolume(volume >= 0.05 && volume <= 1 ? volume : 1, false);
}

ui.volume.addEventListener('input', () => setVolume(Number(ui.volume.value), false));
ui.mute.addEventListener('click', () => setVolume($('live').volume || 1, !$('live').muted));

// The page

function render() {
  ui.space.dataset.state = missing ? 'missing' : space.state;
  ui.space.dataset.sound = space.state === 'replay' ? (replay.playing ? 'playing' : 'stopped') : player.state;
  if (missing) return renderMissing();
  if (space.state === 'loading') return say(ui.headline, failures ? 'state.unreachable' : 'state.loading');
  renderAbout();
  renderSound();
  if (space.state === 'replay') renderReplay();
  return undefined;
}

function renderMissing() {
  say(ui.headline, 'state.missing');
  say(ui.detail, 'detail.missing');
  show(ui.detail, true);
  show(ui.sound, false);
}

function renderAbout() {
  const left_ms = Date.parse(space.starts_at) - now_ms();
  put(running, countdown(left_ms));
  say(ui.headline, headline(space, left_ms), { countdown: running });
  put(ui.title, space.title ?? '');
  document.title = t(space.state === 'on_air' ? 'page.on_air' : 'page', { title: space.title });
  const below = lost && LIVE.has(space.state) ? ['detail.programme_lost', {}] : detail(space, clock);
  if (below) say(ui.detail, ...below);
  show(ui.detail, Boolean(below));
  renderWhen();
  const speaker = space.state === 'on_air' ? space.speaking?.name : '';
  if (speaker) say(ui.speaking, 'speaking', { name: speaker });
  show(ui.speaking, Boolean(speaker));
  const recorded = LIVE.has(space.state) || space.state === 'scheduled' ? space.recording : 'off';
  if (recorded !== 'off') say(ui.recorded, recorded === 'private' ? 'recorded.private' : 'recorded');
  show(ui.recorded, Boolean(recorded) && recorded !== 'off');
}

function renderWhen() {
  const dated = ['scheduled', 'doors_open', 'ended', 'replay'].includes(space.state) && space.starts_at;
  show(ui.when, Boolean(dated));
  if (!dated) return;
  ui.whenTime.dateTime = space.starts_at;
  put(ui.whenTime, spelled(space.starts_at));
  put(ui.whenZone, zone(space.starts_at));
}

const HINTS = {
  connecting: 'hint.connecting',
  waiting: 'hint.waiting',
  reconnecting: 'hint.reconnecting',
};

function renderSound() {
  const live = LIVE.has(space.state);
  const early = space.state === 'scheduled';
  show(ui.sound, live || early || space.state === 'replay');
  show(ui.transport, space.state === 'replay');
  const on = player.state !== 'stopped' || waiting || (space.state === 'replay' && replay.playing);
  swapIcon(ui.play, on ? 'pause' : 'play');
  label(ui.play, on ? 'play.stop' : space.state === 'replay' ? 'play.replay' : early ? 'play.early' : 'play.listen');
  say(ui.hint, hint(live, early));
  const counted = live && Number.isInteger(space.listeners);
  if (counted) say(ui.listeners, 'listeners', { count: space.listeners });
  show(ui.listeners, counted);
  const delay_ms = player.delay_ms();
  const timed = live && delay_ms !== null && delay_ms >= 0 && delay_ms < 120_000;
  if (timed) say(ui.delay, 'delay', { seconds: Math.round(delay_ms / 100) / 10 });
  show(ui.delay, timed);
  describe(space.title ?? '', space.speaking?.name ?? t('brand'));
}

function hint(live, early) {
  if (live && !playable().length) return 'hint.unplayable';
  if (live && player.fault) return 'hint.fault';
  if (space.state === 'replay') return replay.playing ? 'hint.replaying' : 'hint.replay';
  if (early) return waiting ? 'hint.armed' : 'hint.early';
  if (player.state === 'playing') return space.state === 'on_air' ? 'hint.listening' : 'hint.music';
  return HINTS[player.state] ?? 'hint.listen';
}

function renderReplay() {
  replay.load(space.replay?.url ?? `${BASE}/recording.m4a`);
  const length_s = replay.length_s ?? space.replay?.duration_s ?? 0;
  ui.place.max = String(Math.max(1, Math.floor(length_s)));
  if (document.activeElement !== ui.place || !ui.place.matches(':active')) ui.place.value = String(replay.place_s);
  ui.place.setAttribute('aria-valuetext', t('replay.at', { now: duration(replay.place_s), end: duration(length_s) }));
  for (const figure of document.querySelectorAll('.step .figures')) put(figure, t('number', { number: STEP_S }));
  put(ui.placeNow, duration(replay.place_s));
  put(ui.placeEnd, duration(length_s));
}

function look() {
  if (space.state === 'replay') return { mode: 'place', share: replay.place_s / (replay.length_s || Infinity) };
  if (player.state === 'playing') {
    const at_s = $('live').currentTime;
    return { mode: 'sound', level: (ago_s) => levels.at(at_s - ago_s) };
  }
  const left_ms = Date.parse(space.starts_at) - now_ms();
  if (left_ms > 0 && ['scheduled', 'doors_open'].includes(space.state)) return { mode: 'seconds', left_ms };
  return { mode: 'rest' };
}

// Beginning

handle({
  play: () => (space.state === 'replay' ? replay.playing || replay.toggle() : player.state === 'stopped' && press()),
  pause: () => (space.state === 'replay' ? replay.playing && replay.toggle() : player.stop()),
  stop: () => player.stop(),
  seekbackward: () => space.state === 'replay' && replay.step(-1),
  seekforward: () => space.state === 'replay' && replay.step(1),
  seekto: ({ seekTime }) => space.state === 'replay' && replay.seek(seekTime),
});

window.rostra = { stats: () => ({ space: space.state, waiting, lang: language.name, ...player.stats() }) };

await useLanguage();
languageSwitch($('language'), render);
show($('language'), true);
startVolume();
new Ring($('ring'), look);
await ask();
setInterval(render, 250);
