// The microphone: asked for once the reader has agreed, chosen by name, measured before anyone else hears it, and kept
// through what systems do to microphones: headsets that leave and return, calls that take the sound away.

import { follow } from './devices.js';

const SETTLE_MS = 600; // tracks are muted for a moment while a system changes its mind
const RETRY_MS = 3000;

const inputs = async () => {
  const all = await navigator.mediaDevices.enumerateDevices();
  return all.filter(({ kind }) => kind === 'audioinput').map(({ deviceId, label }) => ({ id: deviceId, name: label }));
};

/**
 * Events: `opened` (another stream), `state`, `devices` (the list changed), `moved` (detail: {why, device}, see follow()).
 * `state`: closed; open; interrupted (the system keeps the sound to itself and gives it back); gone (it must be opened
 * anew, which is tried over and over unless `refused`).
 */
export class Microphone extends EventTarget {
  stream = null;
  state = 'closed';
  plain = false; // leave the sound as it is: for studio microphones and music
  wanted = ''; // deviceId, or empty for the system's choice
  refused = null; // why it could not be opened
  known = [];
  #ear = null; // a copy that is never silenced: what the meter measures
  #turn = 0;
  #retry = 0;
  #settle = 0;

  /** Browsers give microphones to secure pages only: HTTPS, or localhost. */
  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', () => this.#listChanged());
    document.addEventListener('visibilitychange', () => !document.hidden && this.#mend());
  }

  /** Open, or open another: raises what getUserMedia raises. The old one goes on until the new one is there. */
  async open(device = this.wanted) {
    const turn = (this.#turn += 1);
    const stream = await this.#ask(device);
    if (turn !== this.#turn) return stream.getTracks().forEach((track) => track.stop()); // another was asked for
    this.#let();
    this.stream = stream;
    this.refused = null;
    this.#watch(stream.getTracks()[0]);
    this.known = await inputs();
    this.#become('open');
    this.dispatchEvent(new CustomEvent('opened'));
  }

  /** What the person chooses is remembered: when it leaves and returns, it is taken up again. */
  async choose(device) {
    await this.open(device);
    this.wanted = device;
  }

  async #ask(device) {
    const clean = !this.plain;
    const audio = { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean, channelCount: 1 };
    if (device) audio.deviceId = { exact: device };
    try {
      return await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      // Some phones have one microphone for one user: then the old one must go before the new one comes.
      if (error.name !== 'NotReadableError' || !this.stream) throw error;
      this.#let();
      return navigator.mediaDevices.getUserMedia({ audio });
    }
  }

  #watch(track) {
    this.#ear = new MediaStream([track.clone()]);
    const mine = (act) => () => this.track === track && act();
    track.addEventListener('ended', mine(() => this.#lost()));
    track.addEventListener('mute', mine(() => this.#silenced(track)));
    track.addEventListener('unmute', mine(() => this.#returned()));
    if (track.muted) this.#silenced(track);
  }

  #silenced(track) {
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.track === track && track.muted && this.#become('interrupted'), SETTLE_MS);
  }

  #returned() {
    clearTimeout(this.#settle);
    if (this.state === 'interrupted') this.#become('open');
  }

  /** Pulled out, or taken away for good: the chosen one again if it is there, else the system's choice. */
  async #lost() {
    const lost = { id: this.device, name: this.name };
    this.known = await inputs().catch(() => []);
    await this.#reopen(this.known.some(({ id }) => id === lost.id) ? lost.id : '');
    if (this.state === 'open' && this.name !== lost.name) this.#tell({ why: 'gone', device: lost });
  }

  async #reopen(device) {
    clearTimeout(this.#retry);
    try {
      await this.open(device);
    } catch (error) {
      this.refused = error.name;
      this.#become('gone');
      // Where the person said no, asking over and over would be rude; anything else may pass.
      if (error.name !== 'NotAllowedError') this.#retry = setTimeout(() => this.#mend(), RETRY_MS);
    }
  }

  /** The page is looked at again, or time has passed: what is still missing is tried again. */
  #mend() {
    if (this.state === 'gone' && !document.hidden) this.again();
  }

  /** Open what was open, after it was taken away. */
  async again() {
    const known = await inputs().catch(() => []);
    await this.#reopen(known.some(({ id }) => id === this.wanted) ? this.wanted : '');
  }

  async #listChanged() {
    if (this.state === 'closed') return;
    const before = this.known;
    this.known = await inputs();
    this.dispatchEvent(new CustomEvent('devices'));
    if (this.state === 'gone') return this.again();
    const found = follow({ wanted: this.wanted, using: this.device, before, after: this.known });
    if (found.use !== null) await this.#reopen(found.use);
    if (found.why && this.state === 'open') this.#tell(found);
  }

  #tell(detail) {
    this.dispatchEvent(new CustomEvent('moved', { detail }));
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state'));
  }

  #let() {
    for (const stream of [this.stream, this.#ear]) stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.#ear = null;
  }

  close() {
    this.#turn += 1;
    clearTimeout(this.#retry);
    this.#let();
    this.#become('closed');
  }

  get track() {
    return this.stream?.getTracks()[0] ?? null;
  }

  /** The sound of it, whether others hear it or not. */
  get ear() {
    return this.#ear;
  }

  get device() {
    return this.track?.getSettings().deviceId ?? '';
  }

  get name() {
    return this.track?.label ?? '';
  }
}
