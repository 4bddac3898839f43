// A guest's test, days before: microphone, noise, echo, both ways to the server, five seconds heard back, a verdict.
// What is judged is judged by the studio (rostra/studio/checks.py); this page measures, asks, and says what came of it.

import { $, announce, h, show } from '/static/shared/dom.js';
import { spelled } from '/static/shared/clock.js';
import { label, say, t } from '/static/shared/words.js';
import { button, choice, field } from '/static/studio/fields.js';
import { ADVICE, SUM } from '/static/studio/checks.js';
import { listenTo, meter } from '/static/studio/meter.js';
import { Microphone } from '/static/studio/microphone.js';
import { clear, complain, tell } from '/static/studio/notice.js';
import { Connection, iceServers, only, Unreachable } from './connection.js';
import { chirp, CHIRP_S, echoIn, middle, NONE_DB } from './echo.js';
import { steps } from './steps.js';

const POLL_MS = 400;
const NETWORK_S = 10;
const CHIRPS = 3;
const PATIENCE = 10;
const WINDOW = 32_768; // samples that an analyser keeps: 0.68 s

const REFUSED = { NotAllowedError: 'denied', NotFoundError: 'none', NotReadableError: 'busy', OverconstrainedError: 'none' };
const MICROPHONE = {
  denied: 'microphone.denied',
  none: 'microphone.none',
  busy: 'microphone.busy',
  insecure: 'microphone.insecure',
  failed: 'microphone.failed',
};

// The word of a step by the grade that the studio gave: of the level there are three to be had, the worst one counts.
const LEVEL = [
  ['clipping', { usable: 'check.level.clipping', poor: 'check.level.clipping' }],
  ['level_high', { usable: 'check.level.high', poor: 'check.level.high' }],
  ['level_low', { usable: 'check.level.low', poor: 'check.level.very_low', good: 'check.level.good' }],
];
const NOISE = { good: 'check.noise.good', usable: 'check.noise.usable', poor: 'check.noise.poor' };
const ECHO = { good: 'check.echo.good', usable: 'check.echo.usable', poor: 'check.echo.poor' };

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Raised to end a run early: the test was interrupted, or another was begun. */
class Ended extends Error {}

export function check(main, api, me, id) {
  const microphone = new Microphone();
  const view = build(me);
  const state = { context: null, stop: () => {}, run: null };
  main.dataset.state = 'check';
  main.replaceChildren(view.element);
  label(main, 'check.title');
  api.space(id).then((space) => {
    introduce(space);
    addEventListener('language', () => introduce(space));
  }, complain);

  function introduce(space) {
    document.title = t('page', { title: space.title });
    say(view.about, 'check.about', { title: space.title, time: spelled(space.starts_at) });
  }

  view.start.addEventListener('click', begin);
  view.again.addEventListener('click', begin);
  view.record.addEventListener('click', () => state.run?.record());
  view.device.addEventListener('change', () => choose(view.device.value));
  view.plain.addEventListener('change', () => {
    microphone.plain = view.plain.checked;
    choose(view.device.value);
  });
  microphone.addEventListener('opened', opened);
  addEventListener('pagehide', () => state.run?.close());

  async function begin() {
    state.run?.close();
    clear();
    view.steps.reset();
    show(view.verdict, false);
    show(view.again, false);
    show(view.beginning, false);
    show(view.record, false);
    show(view.steps.recording.body, false);
    state.context ??= new AudioContext();
    state.context.resume();
    const run = newRun();
    state.run = run;
    try {
      await run.go();
    } catch (error) {
      if (state.run !== run || error instanceof Ended) return;
      run.close();
      for (const step of Object.values(view.steps)) if (step.state === 'working') step.become('skipped', 'check.not_tested');
      if (error.code === 'check.busy') tell('check.busy', {}, 'check.busy.hint');
      else if (['check.away', 'session.unknown', 'check.unready'].includes(error.code) || error.away) interrupted();
      else complain(error);
      offerAgain();
    }
  }

  function interrupted() {
    tell('check.interrupted', {}, 'check.interrupted.hint');
  }

  function offerAgain() {
    show(view.record, false);
    show(view.progress, false);
    show(view.again, true);
    view.again.focus();
  }

  async function choose(device) {
    try {
      await microphone.open(device);
    } catch (error) {
      tell(MICROPHONE[REFUSED[error.name] ?? 'failed'], {}, 'microphone.hint');
    }
  }

  async function opened() {
    state.stop();
    state.stop = listenTo(state.context, microphone.stream, (level_db) => view.meters.forEach((meter) => meter.set(level_db)));
    state.run?.replace(); // once it runs: chosen by the guest, or by the system when one was pulled out
    const found = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === 'audioinput');
    const names = found.map(({ deviceId: value, label: name }, i) => h('option', name ? { value, textContent: name } : { value, t: ['microphone.unnamed', { count: i + 1 }] }));
    view.device.replaceChildren(...names);
    view.device.value = microphone.device;
  }

  /** One test, from the click to the verdict. */
  function newRun() {
    const direct = new Connection(api);
    const relayed = new Connection(api);
    const found = { microphone: 'failed', way: null, relay: null, echo_db: null, rtt_ms: null, loss_out: null };
    const step = view.steps;
    let line = null;
    let closed = false;
    let stopped = null; // why the run cannot go on
    let last = null;
    let measured = Promise.resolve();

    const alive = () => {
      if (stopped) throw stopped;
      if (closed) throw new Ended();
    };
    direct.addEventListener('lost', lost);
    relayed.addEventListener('lost', lost);

    function lost({ target }) {
      if (target === line) stopped ??= Object.assign(new Error(), { code: 'session.unknown' });
    }

    async function go() {
      if (!(await openMicrophone())) return conclude();
      await connect();
      if (!line) return conclude();
      measured = count();
      measured.catch(() => {}); // raised again where it is awaited
      poll();
      await quiet();
      await asked();
      await measured;
      return conclude();
    }

    async function openMicrophone() {
      step.microphone.become('working', 'check.microphone.asking');
      try {
        if (!Microphone.possible) throw Object.assign(new Error(), { name: 'insecure' });
        await microphone.open();
        found.microphone = 'open';
      } catch (error) {
        found.microphone = error.name === 'insecure' ? 'insecure' : (REFUSED[error.name] ?? 'failed');
        step.microphone.become('failed', MICROPHONE[found.microphone]);
        return false;
      }
      alive();
      step.microphone.become('good', 'check.microphone.open');
      show(step.microphone.body, true);
      show(step.level.body, true);
      return true;
    }

    /** Both ways at once, each alone; the straight one is kept where it works. */
    async function connect() {
      const servers = await iceServers(api, id);
      const turn = only(servers, true);
      step.direct.become('working', 'check.connecting');
      step.relay.become(turn.length ? 'working' : 'skipped', turn.length ? 'check.connecting' : 'check.relay.none');
      const ways = [way(direct, only(servers, false), false)];
      if (turn.length) ways.push(way(relayed, turn, true));
      const [straight, relay] = await Promise.all(ways);
      alive();
      step.direct.become(straight ? 'good' : 'poor', straight ? 'check.direct.good' : 'check.direct.none');
      if (turn.length) {
        found.relay = relay;
        step.relay.become(relay ? 'good' : 'poor', relay ? 'check.relay.good' : 'check.relay.failed');
      }
      found.way = straight ? 'udp' : relay ? 'relay' : 'none';
      line = straight ? direct : relay ? relayed : null;
      if (straight) relayed.close();
      if (line) hear(line.track);
    }

    function hear(track) {
      $('return').srcObject = new MediaStream([track]);
      $('return').play().catch(() => {});
    }

    async function way(connection, servers, relay) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await connection.open(id, microphone.track, servers, relay);
          return true;
        } catch (error) {
          connection.close();
          if (error instanceof Unreachable) return false;
          if (error.code !== 'check.away' || attempt === PATIENCE) throw error;
        }
        await wait(1000); // whoever listens to guests is being restarted
        alive();
      }
    }

    /** Loss and round trip over ten seconds, beside everything else. */
    async function count() {
      step.network.become('working', 'check.network.counting');
      const before = await line.count();
      const trips = [];
      let now = before;
      for (let s = 0; s < NETWORK_S; s += 1) {
        await wait(1000);
        alive();
        now = await line.count();
        if (now.rtt_ms !== null) trips.push(now.rtt_ms);
      }
      const lost = Math.max(0, now.lost - before.lost);
      const all = lost + now.received - before.received;
      found.loss_out = all > 0 ? lost / all : null;
      found.rtt_ms = trips.length ? middle(trips) : null;
      step.network.become('told', ...networkWords());
    }

    function networkWords() {
      const loss = Math.max(found.loss_out ?? 0, last?.heard.loss_in ?? 0);
      const params = { ms: Math.round(found.rtt_ms ?? 0), percent: Math.round(loss * 1000) / 10 };
      if (found.rtt_ms === null) return ['check.network.unknown', {}];
      return [loss < 0.001 ? 'check.network.whole' : 'check.network.lossy', params];
    }

    /** Be quiet: the room is measured by the server, and the loudspeaker's chirp is looked for by us. */
    async function quiet() {
      step.noise.become('working', 'check.quiet');
      step.echo.become('working', 'check.echo.listening');
      announce(t('check.quiet'));
      await wait(800);
      const tries = [];
      for (let i = 0; i < CHIRPS; i += 1) {
        alive();
        tries.push(await echoOf(state.context, microphone.stream));
      }
      alive();
      found.echo_db = middle(tries);
      step.echo.become('told', found.echo_db > NONE_DB ? 'check.echo.usable' : 'check.echo.good');
      step.noise.become('told', 'check.noise.measured');
    }

    /** Five seconds of the guest, when they are ready. */
    async function asked() {
      step.level.become('working', 'check.level.speak');
      step.recording.become('working', 'check.recording.ask');
      show(step.recording.body, true);
      show(view.record, true);
      view.record.focus({ preventScroll: true });
      step.recording.element.scrollIntoView({ block: 'center' });
      announce(t('check.recording.ask'));
      while (!last?.recordings || last.phase !== 'listening') {
        await wait(100);
        alive();
      }
      show(step.recording.body, false);
      step.recording.become('told', 'check.recording.done');
    }

    async function record() {
      show(view.record, false);
      try {
        follow(await api.checkRecord(id, line.session));
      } catch (error) {
        stopped ??= error;
      }
    }

    async function poll() {
      while (!closed && !stopped) {
        try {
          follow(await api.checkSession(id, line.session));
        } catch (error) {
          stopped ??= error;
        }
        await wait(POLL_MS);
      }
    }

    let phase = '';
    function follow(told) {
      if (closed) return;
      last = told;
      const [recording, playing] = [told.phase === 'recording', told.phase === 'playing'];
      show(view.progress, recording || playing);
      view.progress.value = told.progress;
      if (recording) step.recording.become('working', 'check.recording.speak');
      if (playing) step.recording.become('working', 'check.recording.play');
      if (recording || told.recordings) tellLevel(told.grades, recording);
      if (told.phase === phase) return;
      phase = told.phase;
      if (recording) announce(t('check.recording.speak'));
      if (playing) announce(t('check.recording.play'));
    }

    function tellLevel(grades, running) {
      const worst = LEVEL.find(([code, words]) => grades[code] && words[grades[code]]);
      if (worst) step.level.become(running ? 'working' : grades[worst[0]], worst[1][grades[worst[0]]]);
      else if (!running) step.level.become('failed', 'check.level.none');
    }

    async function conclude() {
      const report = { ...found, name: view.name.value.trim() };
      if (line) report.session = line.session;
      const result = await api.checkReport(id, report);
      alive();
      close();
      mark(result);
      tellVerdict(result);
    }

    function mark({ grades }) {
      if (!line) return;
      tellLevel(grades, false);
      if (grades.noise) step.noise.become(grades.noise, NOISE[grades.noise]);
      else step.noise.become('skipped', 'check.not_tested');
      if (grades.echo) step.echo.become(grades.echo, ECHO[grades.echo]);
      step.network.become(worst([grades.loss, grades.delay, grades.jitter]), ...networkWords());
      step.recording.become('good', 'check.recording.done');
    }

    function close() {
      if (closed) return;
      closed = true;
      direct.close();
      relayed.close();
      state.stop();
      microphone.close();
      view.meters.forEach((each) => each.set(-Infinity));
      show(step.microphone.body, false);
      show(step.level.body, false);
    }

    /** Another microphone, also while the connections are only being made. */
    function replace() {
      for (const connection of [direct, relayed]) connection.replace(microphone.track);
    }

    return { go, close, record, replace };
  }

  function tellVerdict({ verdict, advice }) {
    for (const step of Object.values(view.steps)) if (step.state === 'waiting') step.become('skipped', 'check.not_tested');
    show(view.record, false);
    show(view.progress, false);
    view.verdict.dataset.verdict = verdict;
    say(view.sum, SUM[verdict]);
    view.advice.replaceChildren(...advice.map((code) => h('li', { t: ADVICE[code] })));
    show(view.advice, advice.length > 0);
    show(view.verdict, true);
    show(view.again, true);
    view.sum.focus();
    announce(t(SUM[verdict]));
  }
}

const WORSE = ['good', 'usable', 'poor'];
const worst = (grades) => WORSE[Math.max(...grades.map((grade) => WORSE.indexOf(grade ?? 'good')))];

/** Play one chirp and listen for it: how loud it came back, dBFS. */
async function echoOf(context, stream) {
  const source = context.createMediaStreamSource(stream);
  const analyser = context.createAnalyser();
  analyser.fftSize = WINDOW;
  source.connect(analyser);
  const samples = chirp(context.sampleRate);
  const buffer = context.createBuffer(1, samples.length, context.sampleRate);
  buffer.copyToChannel(samples, 0);
  const player = context.createBufferSource();
  player.buffer = buffer;
  player.connect(context.destination);
  player.start();
  const heard = new Float32Array(WINDOW);
  const window_ms = (1000 * WINDOW) / context.sampleRate;
  let most_db = NONE_DB;
  // Two windows that overlap by a chirp: whatever comes back within a second, wireless headphones' delay included.
  for (const ms of [window_ms, window_ms - 1000 * CHIRP_S]) {
    await wait(ms);
    analyser.getFloatTimeDomainData(heard);
    most_db = Math.max(most_db, echoIn(heard, context.sampleRate));
  }
  source.disconnect();
  return most_db;
}

function build(me) {
  const meters = [meter(), meter()]; // where a microphone is chosen, and below what is read aloud
  const device = choice([], '');
  const plain = h('input', { type: 'checkbox', id: 'check-plain' });
  const name = h('input', { type: 'text', maxLength: 60, autocomplete: 'name', value: recall() || me.name || '' });
  const start = button('check.start', 'check-start', () => {}, { class: 'primary large' });
  const again = button('check.again', 'check-again', () => {}, { hidden: true });
  const record = button('check.record', 'check-record', () => {}, { class: 'primary large', hidden: true });
  const progress = h('progress', { max: 1, value: 0, hidden: true });
  label(progress, 'check.recording');
  const column = steps();
  column.microphone.body.append(
    field('microphone', device),
    h('label', { class: 'check' }, plain, h('span', { t: 'microphone.plain' })),
    meters[0].element);
  column.level.body.append(meters[1].element);
  const sentence = h('p', { class: 'check-sentence', t: 'check.sentence' });
  column.recording.body.append(sentence, record, progress);
  const about = h('p', { class: 'soft' });
  const sum = h('h2', { tabIndex: -1 });
  const advice = h('ul', { class: 'check-advice' });
  const verdict = h('section', { class: 'panel check-verdict', hidden: true }, sum, advice, h('p', { class: 'soft', t: 'check.seen' }));
  const place = new URL(location.href);
  place.searchParams.delete('check');
  const back = h('a', { href: place.href, t: 'check.back' });
  const beginning = h('div', { class: 'acts' }, start);
  const element = h('div', { class: 'check-page' },
    h('header', { class: 'form' }, h('h1', { t: 'check.title' }), about, h('p', { t: 'check.what' })),
    field('place.name', name, 'check.name.help'), beginning,
    column.element, verdict, h('div', { class: 'acts' }, again, back));
  return { element, about, name, start, beginning, again, record, progress, device, plain, meters, steps: column, verdict, sum, advice };
}

function recall() {
  try {
    return localStorage.getItem('rostra.name') ?? '';
  } catch {
    return ''; // Storage may be forbidden.
  }
}
