// Levels as bars: from -60 dB, which is silence, to 0 dB.

import { h } from '/static/shared/dom.js';

const FLOOR_DB = -60;

/** A bar; `set(level_db)` moves it. Decorative: whoever listens needs no numbers read out five times a second. */
export function meter() {
  const bar = h('span', { class: 'meter-bar' });
  const element = h('span', { class: 'meter' }, bar);
  element.setAttribute('aria-hidden', 'true');
  return {
    element,
    set(level_db) {
      const share = Number.isFinite(level_db) ? Math.min(1, Math.max(0, 1 - level_db / FLOOR_DB)) : 0;
      bar.style.setProperty('--level', share.toFixed(3));
    },
  };
}

/** Calls `told(level_db)` some 15 times a second with the level of `stream`; returns a function that stops it. */
export function listenTo(context, stream, told) {
  const source = context.createMediaStreamSource(stream);
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  source.connect(analyser); // and to nothing else: nobody hears themself here
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    told(10 * Math.log10(power + 1e-12));
  }, 66);
  return () => {
    clearInterval(timer);
    source.disconnect();
  };
}
