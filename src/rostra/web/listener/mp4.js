// Cuts the endless response into boxes (ISO/IEC 14496-12) and gathers them into what a player appends:
//   init       ftyp moov
//   fragment   prft emsg* moof mdat
// Pure: bytes in, values out.

const TIMESCALE = 48_000;
const NTP_EPOCH_S = 2_208_988_800; // 1900 to 1970 (RFC 5905)
const BOX_BYTES_MAX = 16 << 20; // The largest of ours, a coalesced burst, is far below 1 MB.
const NOTICE_SCHEME = 'urn:rostra:notice:1';

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const kind = (bytes, at = 0) => String.fromCharCode(...bytes.subarray(at + 4, at + 8));

/** Feed it bytes as they come; it returns the boxes that are whole now. */
export class Boxes {
  #pending = new Uint8Array(0);

  feed(bytes) {
    this.#pending = this.#pending.length ? joined([this.#pending, bytes]) : bytes;
    const whole = [];
    for (;;) {
      const size = boxSize(this.#pending);
      if (size === null || size > this.#pending.length) return whole;
      whole.push(this.#pending.subarray(0, size));
      this.#pending = this.#pending.subarray(size);
    }
  }
}

/** The size of the box at the front, or null when too little of it is there. Throws on what no box of ours can be. */
function boxSize(bytes) {
  if (bytes.length < 8) return null;
  let size = view(bytes).getUint32(0);
  if (size === 1) {
    if (bytes.length < 16) return null;
    size = Number(view(bytes).getBigUint64(8));
  }
  if (size < 8 || size > BOX_BYTES_MAX) throw new RangeError(`a ${kind(bytes)} box of ${size} bytes`);
  return size;
}

export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** The body of the first box at `path`, or null. */
function find(bytes, path) {
  const [wanted, ...rest] = path;
  for (let at = 8; at + 8 <= bytes.length; ) {
    const size = view(bytes).getUint32(at);
    if (size < 8 || at + size > bytes.length) return null;
    const box = bytes.subarray(at, at + size);
    if (kind(box) === wanted) return rest.length ? find(box, rest) : box.subarray(8);
    at += size;
  }
  return null;
}

/** Gathers boxes: yields {init}, {fragment} and {notices} in the order in which they came. */
export class Gatherer {
  #boxes = new Boxes();
  #head = [];
  #captured_ms = null;
  #notices = [];

  feed(bytes) {
    const found = [];
    for (const box of this.#boxes.feed(bytes)) this.#take(box, found);
    // A worker's own notices come between fragments and wait for nothing.
    const loose = this.#notices.filter((notice) => notice.time_s === null);
    if (loose.length) {
      this.#notices = this.#notices.filter((notice) => notice.time_s !== null);
      found.push({ notices: loose });
    }
    return found;
  }

  #take(box, found) {
    switch (kind(box)) {
      case 'ftyp':
        this.#head = [box];
        break;
      case 'moov':
        found.push({ init: joined([...this.#head, box]) });
        this.#head = [];
        break;
      case 'prft':
        this.#captured_ms = capturedAt(box);
        break;
      case 'emsg':
        this.#keep(box);
        break;
      case 'moof':
        this.#head = [box];
        break;
      case 'mdat':
        if (this.#head.length) found.push({ fragment: this.#fragment(box) });
        this.#head = [];
    }
  }

  #keep(box) {
    const notice = readNotice(box);
    if (notice) this.#notices.push(notice);
  }

  #fragment(mdat) {
    const [moof] = this.#head;
    const fragment = {
      start_s: startOf(moof),
      bytes: joined([moof, mdat]),
      captured_ms: this.#captured_ms,
      notices: this.#notices,
    };
    this.#notices = [];
    this.#captured_ms = null;
    return fragment;
  }
}

/** When the first sample was mixed, in ms since 1970 by the server's clock (`prft`, 14496-12, 8.16.5). */
function capturedAt(box) {
  const data = view(box);
  return (data.getUint32(16) - NTP_EPOCH_S) * 1000 + (data.getUint32(20) / 2 ** 32) * 1000;
}

const CONNECTION = new Set(['count', 'gap', 'cadence', 'programme_lost', 'programme_back', 'end']);

/** A notice from an `emsg` (version 1, ISO/IEC 23009-1, 5.10.3.3), or null when it is somebody else's or unreadable. */
function readNotice(box) {
  const data = view(box);
  if (box[8] !== 1) return null;
  const time_s = Number(data.getBigUint64(16)) / data.getUint32(12);
  const text = new TextDecoder();
  const scheme_end = box.indexOf(0, 32);
  const value_end = box.indexOf(0, scheme_end + 1);
  if (scheme_end < 0 || value_end < 0 || text.decode(box.subarray(32, scheme_end)) !== NOTICE_SCHEME) return null;
  try {
    const told = JSON.parse(text.decode(box.subarray(value_end + 1)));
    // What is about this connection holds at once; what belongs to the programme, when its instant is heard.
    return { told, time_s: CONNECTION.has(told.type) ? null : time_s };
  } catch {
    return null;
  }
}

/** Where a fragment begins, in seconds of media time. Throws when it does not say. */
function startOf(moof) {
  const tfdt = find(moof, ['traf', 'tfdt']);
  if (!tfdt) throw new RangeError('a moof box without a tfdt box');
  const start = tfdt[0] === 1 ? Number(view(tfdt).getBigUint64(4)) : view(tfdt).getUint32(4);
  return start / TIMESCALE;
}

/** A copy whose media time begins at 0: what a decoder of whole files expects. */
export function rebased(bytes) {
  const copy = bytes.slice();
  const size = view(copy).getUint32(0);
  const tfdt = find(copy.subarray(0, size), ['traf', 'tfdt']);
  tfdt.fill(0, 4, tfdt[0] === 1 ? 12 : 8);
  return copy;
}
