// The recording, at the same address: an ordinary file with ranges, our own controls, and the system's.

export const STEP_S = 15;

export class Replay extends EventTarget {
  #audio;

  constructor(audio) {
    super();
    this.#audio = audio;
    for (const event of ['play', 'pause', 'timeupdate', 'durationchange', 'seeked', 'ended', 'error', 'waiting']) {
      audio.addEventListener(event, () => this.dispatchEvent(new CustomEvent('change')));
    }
  }

  load(url) {
    if (this.#audio.getAttribute('src') === url) return;
    this.#audio.preload = 'metadata';
    this.#audio.src = url;
  }

  get loaded() {
    return this.#audio.getAttribute('src') !== null;
  }

  get playing() {
    return this.loaded && !this.#audio.paused && !this.#audio.ended;
  }

  get place_s() {
    return this.#audio.currentTime;
  }

  get length_s() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : null;
  }

  toggle() {
    if (this.playing) this.#audio.pause();
    else this.#audio.play().catch(() => {}); // an error is an event, and shown from there
  }

  seek(to_s) {
    this.#audio.currentTime = Math.min(Math.max(0, to_s), this.length_s ?? 0);
  }

  step(direction) {
    this.seek(this.place_s + direction * STEP_S);
  }
}
