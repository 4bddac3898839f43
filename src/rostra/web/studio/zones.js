// Wall-clock times in a chosen zone, to instants and back; the browser knows the rules of every zone.

const parts = (zone) =>
  new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  });

/** The reader's own zone. */
export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** All zones the browser knows, with the reader's own among them in any case. */
export function allZones() {
  const known = Intl.supportedValuesOf?.('timeZone') ?? [];
  return [...new Set([ownZone(), 'UTC', ...known])].sort();
}

/** "2026-11-23T20:00" as `zone` has it at `instant_ms`: the value of a datetime-local field. */
export function wallTime(instant_ms, zone) {
  const found = Object.fromEntries(parts(zone).formatToParts(instant_ms).map(({ type, value }) => [type, value]));
  return `${found.year}-${found.month}-${found.day}T${found.hour}:${found.minute}`;
}

/** The instant (ms) at which clocks in `zone` show `wall`; an hour that a clock change skips is the one after it. */
export function instant(wall, zone) {
  const as_utc = Date.parse(`${wall}Z`);
  let guess = as_utc;
  for (let i = 0; i < 2; i += 1) guess += as_utc - Date.parse(`${wallTime(guess, zone)}Z`);
  return guess;
}
