// Does the microphone return what the loudspeaker plays, and how loud? A chirp is played, and looked for in what comes
// back: the highest normalised cross-correlation over all delays. A chirp, because its autocorrelation is a single peak,
// so that neither a voice nor a fan looks like it. No page and no clock in here: tests run it without either.

export const CHIRP_S = 0.25;
export const NONE_DB = -100;
const SEEN = 0.2; // voices, noise and hums are less like the chirp than that, an echo in a room with many reflections more
const LOW_HZ = 500;
const HIGH_HZ = 2500; // every telephone and laptop plays and hears this band
const REDUCED_HZ = 8000; // enough for the band, and little enough to correlate in a few milliseconds
const LEVEL = 0.25;

/** The chirp at `rate_hz`, Float32Array, faded at both ends. */
export function chirp(rate_hz) {
  const length = Math.round(CHIRP_S * rate_hz);
  const slope = (HIGH_HZ - LOW_HZ) / CHIRP_S;
  return Float32Array.from({ length }, (_, i) => {
    const s = i / rate_hz;
    const fade = Math.min(1, 20 * Math.sin((Math.PI * i) / (length - 1)));
    return LEVEL * fade * Math.sin(2 * Math.PI * (LOW_HZ + (slope * s) / 2) * s);
  });
}

/** Means of neighbours, so that about `REDUCED_HZ` are left. */
function reduced(samples, rate_hz) {
  const step = Math.max(1, Math.round(rate_hz / REDUCED_HZ));
  return Float32Array.from({ length: Math.floor(samples.length / step) }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < step; k += 1) sum += samples[i * step + k];
    return sum / step;
  });
}

/** How loud the chirp is in `heard`, dBFS (RMS): NONE_DB when nothing there is like it. */
export function echoIn(heard, rate_hz) {
  const said = reduced(chirp(rate_hz), rate_hz);
  const line = reduced(heard, rate_hz);
  const energy = said.reduce((sum, sample) => sum + sample * sample, 0);
  let best = SEEN;
  let level_db = NONE_DB;
  let window = 0;
  for (let i = 0; i < said.length - 1; i += 1) window += line[i] * line[i];
  for (let lag = 0; lag + said.length <= line.length; lag += 1) {
    window += line[lag + said.length - 1] ** 2;
    let product = 0;
    for (let i = 0; i < said.length; i += 1) product += said[i] * line[lag + i];
    // Below -80 dBFS there is nothing but rounding.
    const like = window > said.length * 1e-8 ? Math.abs(product) / Math.sqrt(energy * window) : 0;
    if (like > best) [best, level_db] = [like, 10 * Math.log10(window / said.length)];
    window -= line[lag] ** 2;
  }
  return level_db;
}

/** Of several tries the middle one: a word or a door in one of them is no echo. */
export function middle(tries) {
  return [...tries].sort((a, b) => a - b)[Math.floor(tries.length / 2)];
}
