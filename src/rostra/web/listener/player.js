// Plays the push surface: bytes from the connection into a MediaSource, at the pace that `pace.js` decides.
// A reconnection goes on in the same SourceBuffer: fragments already there are dropped by their media time, so that
// nothing is heard twice, and the seam makes no click.

import { Connection } from './connection.js';
import { Gatherer } from './mp4.js';
import { FRAGMENT_S, Pace, START_S, patience_s, skip_s } from './pace.js';

const KEEP_S = 30; // sound behind the position that stays in memory
const TICK_MS = 200;
const FAILURES_MAX = 4; // in a row: then it is not the stream's fault, and trying goes on only by hand
const HEALED_S = 10;
const NEW_TIMELINE_S = 60; // a fragment this far in the past belongs to a new timeline, not to a repetition
const RENDITIONS = { opus: 'audio/mp4; codecs="opus"', aac: 'audio/mp4; codecs="mp4a.40.2"' };

// iPhones have the managed one only.
const Source = self.MediaSource ?? self.ManagedMediaSource;

/** The renditions this browser plays, best first. */
export function playable() {
  return Object.keys(RENDITIONS).filter((name) => Source?.isTypeSupported(RENDITIONS[name]));
}

const monotonic_s = () => performance.now() / 1000;

/**
 * Events: `state` (connecting, playing, waiting, reconnecting, stopped), `notice` (detail: what was told), `fragment`.
 * `hooks`: over() and refused(problem, status) decide whether to come back, as promises of a boolean.
 */
export class Player extends EventTarget {
  state = 'stopped';
  fault = false; // this browser cannot play it: no sound device, no decoder
  init = null; // the init segment of what plays, for those who decode it aside
  #audio;
  #hooks;
  #base;
  #renditions = playable();
  #connection = null;
  #gatherer = new Gatherer();
  #pace = new Pace();
  #source = null;
  #buffer = null;
  #queue = [];
  #end_s = null; // media time up to which fragments came
  #wall_ms = null; // server's wall clock at media time 0
  #age_s = 0; // how long ago the fragment that greeted us ended, by this machine's clock
  #skew_ms = Infinity; // this machine's clock minus the server's, at most
  #starting = false; // the first sound is there
  #begun = false; // the position stands in what is buffered
  #moved = { to_s: 0, at_s: 0 }; // when the position last changed
  #clicked_ms = 0;
  #lost = false; // the worker said that the programme is away
  #failures = 0; // in a row
  #failed_s = 0;
  #healing = 0; // timer of the next attempt after a failure
  #timer = 0;
  #pending = []; // notices whose instant has not been heard
  #counts = { fragments: 0, gaps: 0, gap_ms: 0, stalls: 0, reconnects: 0, duplicates: 0, errors: 0, first_audio_ms: null };

  constructor(audio, base, hooks) {
    super();
    this.#audio = audio;
    this.#base = base;
    this.#hooks = hooks;
    audio.addEventListener('waiting', () => this.#stalled());
    audio.addEventListener('playing', () => this.#sounding());
    audio.addEventListener('error', () => this.#failed());
    // The system may pause us: a call comes in, headphones are pulled. Live has nothing to resume from: begin anew.
    audio.addEventListener('pause', () => this.#connection && this.#begun && this.stop());
  }

  /** Call it from a click: browsers let sound begin only then. */
  play() {
    if (this.#connection || this.#healing) return;
    this.fault = false;
    this.#failures = 0;
    this.#counts.first_audio_ms = null;
    this.#clicked_ms = performance.now();
    this.#open();
    this.#connect();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#become('connecting');
  }

  stop() {
    this.#connection?.stop();
    this.#connection = null;
    clearTimeout(this.#healing);
    this.#healing = 0;
    clearInterval(this.#timer);
    this.#audio.pause();
    this.#close();
    this.#become('stopped');
  }

  /** For support and for tests: what the page knows about the sound. Figures that are not known are null. */
  stats() {
    const lag_s = this.#buffered().at(-1)?.[1] - this.#audio.currentTime;
    return {
      state: this.state,
      rendition: this.#renditions[0] ?? null,
      delay_ms: this.delay_ms(),
      buffer_s: this.#begun && Number.isFinite(lag_s) ? Math.max(0, lag_s) : null,
      target_s: this.#connection ? this.#pace.margin_s(monotonic_s()) : null,
      rate: this.#audio.playbackRate,
      position_s: this.#begun ? this.#audio.currentTime : null,
      ...this.#counts,
    };
  }

  /** From the mixer to this speaker, as far as the page can tell; null while nothing sounds. */
  delay_ms() {
    if (!this.#begun || this.#wall_ms === null || this.state !== 'playing') return null;
    // Clocks within a quarter of a second count as equal: what the network takes is not the clock's fault.
    const skew_ms = Math.abs(this.#skew_ms) < 250 || !Number.isFinite(this.#skew_ms) ? 0 : this.#skew_ms;
    return Math.round(Date.now() - skew_ms - this.#wall_ms - this.#audio.currentTime * 1000);
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state'));
  }

  // The source

  #open() {
    this.#source = new Source();
    this.#source.addEventListener('sourceopen', () => this.#opened(), { once: true });
    this.#audio.disableRemotePlayback = true; // without this a ManagedMediaSource does not open
    this.#audio.src = URL.createObjectURL(this.#source);
    this.#audio.play().catch(() => {}); // refused without a click; `state` then stays at connecting
  }

  #opened() {
    URL.revokeObjectURL(this.#audio.src);
    this.#buffer = this.#source.addSourceBuffer(RENDITIONS[this.#renditions[0]]);
    this.#buffer.addEventListener('updateend', () => this.#appended());
    this.#pump();
  }

  #close() {
    this.#audio.removeAttribute('src');
    this.#audio.load();
    this.#source = this.#buffer = null;
    this.#queue = [];
    this.#pending = [];
    this.#end_s = this.#wall_ms = null;
    this.#starting = this.#begun = false;
    this.#pace = new Pace();
  }

  /** Begin again with an empty source: the timeline is another one, or the browser gave up on this one. */
  #renew() {
    this.#close();
    this.#open();
  }

  /** The browser gave up: another source, and another request, but later each time, and not for ever. */
  #failed() {
    if (!this.#connection || !this.#audio.error) return;
    this.#counts.errors += 1;
    this.#failures += 1;
    this.#failed_s = monotonic_s();
    // A rendition that fails twice is one this browser only claims to play.
    if (this.#failures % 2 === 0 && this.#renditions.length > 1) this.#renditions.push(this.#renditions.shift());
    const connection = this.#connection;
    this.#connection = null;
    connection.stop();
    this.fault = this.#failures >= FAILURES_MAX;
    if (this.fault) return this.stop();
    this.#become('reconnecting');
    this.#healing = setTimeout(() => {
      this.#healing = 0;
      this.#renew();
      this.#connect();
    }, 500 * 2 ** this.#failures);
    return undefined;
  }

  #pump() {
    if (!this.#buffer || this.#buffer.updating || !this.#queue.length || this.#audio.error) return;
    try {
      this.#buffer.appendBuffer(this.#queue[0]);
      this.#queue.shift();
    } catch (error) {
      if (error.name !== 'QuotaExceededError') throw error;
      this.#forget(5); // appending goes on when this has been removed
    }
  }

  #appended() {
    const [range] = this.#buffered();
    if (!this.#starting && range) this.#begin(range[0] + skip_s(this.#age_s));
    if (this.#queue.length) this.#pump();
    else if (range && this.#audio.currentTime - range[0] > 2 * KEEP_S) this.#forget(KEEP_S);
    this.#tick();
  }

  /** Joining in the middle: nothing plays before the position stands in what is buffered. */
  #begin(start_s) {
    const source = this.#source;
    this.#starting = true;
    setTimeout(() => {
      if (this.#source !== source) return;
      this.#audio.currentTime = start_s;
      this.#begun = true;
    }, START_S * 1000);
  }

  #forget(keep_s) {
    const until_s = this.#audio.currentTime - keep_s;
    if (until_s > 0 && !this.#buffer.updating) this.#buffer.remove(0, until_s);
  }

  #buffered() {
    if (!this.#buffer || !this.#source || this.#source.readyState === 'closed') return [];
    const { buffered } = this.#buffer;
    return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
  }

  // The connection

  #connect() {
    const connection = new Connection({
      url: () => `${this.#base}/live?rendition=${this.#renditions[0]}`,
      bytes: (chunk, first) => this.#bytes(chunk, first),
      patience_ms: () => 1000 * patience_s(this.#pace.margin_s(monotonic_s()), this.#lost),
      broken: () => this.#interrupted(),
      over: () => this.#decided(this.#hooks.over()),
      refused: (problem, status) => this.#decided(this.#hooks.refused(problem, status)),
    });
    this.#connection = connection;
    connection.run().finally(() => this.#connection === connection && this.stop());
  }

  async #decided(answer) {
    const again = await answer;
    if (again) this.#interrupted();
    return again;
  }

  #interrupted() {
    this.#counts.reconnects += 1;
    this.#pace.restart();
    // What is buffered still sounds: only an empty buffer makes this visible.
    if (!this.#sounds()) this.#become(this.#begun ? 'reconnecting' : 'connecting');
  }

  #first = true;

  #bytes(chunk, first) {
    if (first) {
      this.#gatherer = new Gatherer();
      this.#first = true;
    }
    for (const { init, fragment, notices } of this.#gatherer.feed(chunk)) {
      if (init) this.#queue.push((this.init = init));
      if (notices) notices.forEach((notice) => this.#told(notice.told));
      if (fragment) this.#take(fragment);
    }
    this.#pump();
  }

  #take(fragment) {
    const { start_s } = fragment;
    if (this.#end_s !== null && start_s < this.#end_s - NEW_TIMELINE_S) return this.#renewWith(fragment);
    if (this.#end_s !== null && start_s < this.#end_s - 0.001) {
      this.#counts.duplicates += 1;
      this.#first = false;
      return undefined;
    }
    if (this.#end_s !== null && start_s > this.#end_s + 0.001) {
      this.#counts.gaps += 1;
      this.#counts.gap_ms += Math.round((start_s - this.#end_s) * 1000);
    }
    this.#end_s = start_s + FRAGMENT_S;
    this.#counts.fragments += 1;
    this.#lost = false;
    this.#time(fragment, this.#first);
    this.#first = false;
    this.#queue.push(fragment.bytes);
    this.#pending.push(...fragment.notices);
    this.dispatchEvent(new CustomEvent('fragment', { detail: fragment }));
    return undefined;
  }

  /** A Space that was postponed has a new timeline, and needs an empty source. */
  #renewWith(fragment) {
    this.#renew();
    this.#queue.push(this.init);
    this.#first = true;
    return this.#take(fragment);
  }

  #time({ captured_ms, start_s }, first) {
    this.#pace.arrived(monotonic_s(), this.#end_s, first);
    if (captured_ms === null) return;
    if (first) this.#age_s = (Date.now() - captured_ms) / 1000 - FRAGMENT_S;
    this.#wall_ms = captured_ms - start_s * 1000;
    if (!first) this.#skew_ms = Math.min(this.#skew_ms, Date.now() - captured_ms - FRAGMENT_S * 1000);
  }

  #told(told) {
    if (told.type === 'cadence') this.#pace.cadence(told.ms);
    if (told.type === 'programme_lost') this.#lost = true;
    if (told.type === 'programme_back') this.#lost = false;
    this.dispatchEvent(new CustomEvent('notice', { detail: told }));
  }

  // The position

  #tick() {
    this.#hear();
    if (!this.#begun || this.#audio.seeking) return;
    const now_s = monotonic_s();
    if (this.state === 'playing' && now_s - this.#failed_s > HEALED_S) this.#failures = 0;
    const position_s = this.#audio.currentTime;
    if (position_s !== this.#moved.to_s) this.#moved = { to_s: position_s, at_s: now_s };
    const { seek_s, rate } = this.#pace.decide(now_s, position_s, this.#buffered(), now_s - this.#moved.at_s);
    if (seek_s !== null) this.#audio.currentTime = seek_s;
    if (this.#audio.playbackRate !== rate) this.#audio.playbackRate = rate;
    if (this.#counts.first_audio_ms === null && this.state === 'playing') this.#sounding();
  }

  /** Tell what belongs to an instant when that instant is heard, or at once when nothing sounds. */
  #hear() {
    const position_s = this.#sounds() ? this.#audio.currentTime : Infinity;
    const due = this.#pending.filter((notice) => notice.time_s <= position_s + TICK_MS / 2000);
    if (!due.length) return;
    this.#pending = this.#pending.filter((notice) => !due.includes(notice));
    due.forEach((notice) => this.#told(notice.told));
  }

  #sounds() {
    const end_s = this.#buffered().at(-1)?.[1] ?? 0;
    return this.#begun && !this.#audio.paused && this.#audio.currentTime < end_s - 0.05;
  }

  #sounding() {
    if (!this.#begun) return;
    this.#counts.first_audio_ms ??= Math.round(performance.now() - this.#clicked_ms);
    this.#become('playing');
  }

  #stalled() {
    if (!this.#begun || this.#audio.seeking || this.state !== 'playing') return;
    this.#counts.stalls += 1;
    this.#become('waiting');
  }
}
