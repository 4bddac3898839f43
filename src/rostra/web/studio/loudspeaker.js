// What the others are heard through: one of the device's outputs, where a browser lets pages choose (setSinkId).

import { follow } from './devices.js';

/** Events: `devices`, `moved` (detail: {why, device}), `state`. `paused`: the system stopped the sound, and play() did not help. */
export class Loudspeaker extends EventTarget {
  wanted = '';
  known = [];
  paused = false;
  #element;

  constructor(element) {
    super();
    this.#element = element;
    navigator.mediaDevices?.addEventListener('devicechange', () => this.#listChanged());
    // Nobody here pauses it: a call does, or a headset that was taken off.
    element.addEventListener('pause', () => this.#sounds && this.resume());
    element.addEventListener('playing', () => this.#is(false));
    document.addEventListener('visibilitychange', () => !document.hidden && this.paused && this.resume());
  }

  /** Whether there is a choice at all. */
  get possible() {
    return 'setSinkId' in this.#element && this.known.length > 0;
  }

  get device() {
    return this.#element.sinkId ?? '';
  }

  get #sounds() {
    return Boolean(this.#element.srcObject?.active);
  }

  async list() {
    const all = await navigator.mediaDevices.enumerateDevices();
    const outputs = all.filter(({ kind }) => kind === 'audiooutput').map(({ deviceId, label }) => ({ id: deviceId, name: label }));
    this.known = outputs.filter(({ id }) => id !== 'default' && id !== '');
  }

  /** With the system's choice, '', first: some browsers list it as a device and some do not. */
  get choices() {
    return [{ id: '', name: '' }, ...this.known];
  }

  /** Raises what setSinkId raises. */
  async choose(device) {
    await this.#element.setSinkId(device);
    this.wanted = device;
  }

  async resume() {
    try {
      if (this.#sounds) await this.#element.play();
      this.#is(false);
    } catch {
      this.#is(this.#sounds && this.#element.paused); // not when the line was swapped meanwhile
    }
  }

  #is(paused) {
    if (paused === this.paused) return;
    this.paused = paused;
    this.dispatchEvent(new CustomEvent('state'));
  }

  async #listChanged() {
    const before = this.known;
    if (!before.length) return;
    await this.list();
    this.dispatchEvent(new CustomEvent('devices'));
    if (!this.possible) return;
    const using = this.device;
    const found = follow({ wanted: this.wanted, using, before, after: this.known });
    if (found.use !== null) await this.#element.setSinkId(found.use).catch(() => {});
    if (found.use !== null || this.paused) this.resume();
    if (found.why) this.dispatchEvent(new CustomEvent('moved', { detail: found }));
  }
}
