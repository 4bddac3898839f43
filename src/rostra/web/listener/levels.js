// How loud the sound is at each instant, read from the very bytes that play.
//
// The usual way leads the sound through an AudioContext, which is silent when the browser suspends it. Here fragments
// are decoded a second time, aside: the picture may stop, the sound cannot.

import { joined, rebased } from './mp4.js';

const RATE = 8000; // enough for a level; the browser resamples while it decodes
const STEP_S = 0.02;
const KEEP = 64; // fragments: more than any buffer ahead of the position
const QUIET_DB = -54;

export class Levels {
  #decoder = self.OfflineAudioContext ? new OfflineAudioContext(1, 1, RATE) : null;
  #init = null;
  #known = [];
  #failures = 0;

  start(init) {
    this.#init = init;
  }

  async add({ start_s, bytes }) {
    if (!this.#decoder || !this.#init || this.#failures > 5 || document.hidden) return;
    try {
      const sound = await this.#decoder.decodeAudioData(joined([this.#init, rebased(bytes)]).buffer);
      this.#known.push({ start_s, levels: levelsOf(sound.getChannelData(0), sound.sampleRate) });
      if (this.#known.length > KEEP) this.#known.shift();
      this.#failures = 0;
    } catch {
      this.#failures += 1; // a browser that cannot do this shows a ring at rest
    }
  }

  /** From 0 (quiet) to 1 (as loud as speech gets) at media time `at_s`. */
  at(at_s) {
    for (let i = this.#known.length - 1; i >= 0; i -= 1) {
      const { start_s, levels } = this.#known[i];
      const step = Math.floor((at_s - start_s) / STEP_S);
      if (step >= 0 && step < levels.length) return levels[step];
    }
    return 0;
  }
}

function levelsOf(samples, rate) {
  const width = Math.round(rate * STEP_S);
  const levels = [];
  for (let at = 0; at + width <= samples.length; at += width) {
    let power = 0;
    for (let i = at; i < at + width; i += 1) power += samples[i] * samples[i];
    const level_db = 10 * Math.log10(power / width + 1e-12);
    levels.push(Math.min(1, Math.max(0, (level_db - QUIET_DB) / -QUIET_DB) ** 1.5 * 1.35));
  }
  return levels;
}
