// Times as people say them, in the reader's own zone, by the server's clock.

import { language, t } from './words.js';

let offset_ms = null;

/** Take note of the server's time. It is old by what the answer took and was cached, so the smallest offset is truest. */
export function heard(server_time, arrived_ms = Date.now()) {
  const seen = arrived_ms - Date.parse(server_time);
  if (Number.isFinite(seen)) offset_ms = offset_ms === null ? seen : Math.min(offset_ms, seen);
}

/** The server's clock now, in ms. A reader's clock within 3 s counts as right: caches alone make that much. */
export function now_ms() {
  return Date.now() - (offset_ms === null || Math.abs(offset_ms) < 3000 ? 0 : offset_ms);
}

function digits(value) {
  return new Intl.NumberFormat(language.locale, { minimumIntegerDigits: 2, useGrouping: false }).format(value);
}

/** "04:10", "2:04:10", or "3 days" when it is that far. */
export function countdown(left_ms) {
  const s = Math.max(0, Math.ceil(left_ms / 1000));
  if (s >= 172_800) return t('time.days', { count: Math.floor(s / 86_400) });
  const parts = [Math.floor(s / 60) % 60, s % 60];
  if (s >= 3600) parts.unshift(Math.floor(s / 3600));
  return parts.map(digits).join(':');
}

/** "1:04:10" of a recording. */
export function duration(s) {
  const whole = Math.max(0, Math.floor(s));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map(digits).join(':');
}

/** "Monday, 23 November 2026 at 20:00", with the zone spelled out beside it. */
export function spelled(iso, time_zone) {
  const day = new Intl.DateTimeFormat(language.locale, { dateStyle: 'full', timeStyle: 'short', timeZone: time_zone });
  return day.format(new Date(iso));
}

/** "Central European Standard Time" as the reader's own zone calls itself on that day. */
export function zone(iso, time_zone) {
  const format = new Intl.DateTimeFormat(language.locale, { timeZoneName: 'long', timeZone: time_zone });
  return format.formatToParts(new Date(iso)).find((part) => part.type === 'timeZoneName')?.value ?? '';
}

/** "20:00"; with the day when it is another one. */
export function clock(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date(now_ms()).toDateString();
  const style = today ? { timeStyle: 'short' } : { dateStyle: 'medium', timeStyle: 'short' };
  return new Intl.DateTimeFormat(language.locale, style).format(at);
}
