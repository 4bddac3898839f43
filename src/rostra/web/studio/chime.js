// "You are live", for the ear: two rising notes, made here, quiet enough not to startle. Leaving the air falls.

const NOTES_HZ = { live: [659.3, 987.8], off: [587.3, 440] };
const LENGTH_S = 0.5;
const GAP_S = 0.14;

export function chime(context, name) {
  if (context.state !== 'running') return; // the sentence and the banner say it too
  NOTES_HZ[name].forEach((hz, i) => note(context, hz, context.currentTime + i * GAP_S));
}

function note(context, hz, at) {
  const tone = context.createOscillator();
  const envelope = context.createGain();
  tone.frequency.value = hz;
  envelope.gain.setValueAtTime(0, at);
  envelope.gain.linearRampToValueAtTime(0.09, at + 0.015);
  envelope.gain.exponentialRampToValueAtTime(0.0005, at + LENGTH_S);
  tone.connect(envelope).connect(context.destination);
  tone.start(at);
  tone.stop(at + LENGTH_S);
}
