// The studio's API (OpenAPI at /api/v1/openapi.json). The token goes in a header, never in an address.

/** What the studio refused, in its own words: `message` for people, `hint` what to do, `code` stable. */
export class Problem extends Error {
  constructor(status, { detail, title, hint, code } = {}) {
    super(detail || title || '');
    this.status = status;
    this.hint = hint ?? '';
    this.code = code ?? '';
  }

  /** The studio itself could not be reached, or not yet: worth another try. */
  get away() {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export class Api {
  /** `seat` is the key that makes this tab's place on the stage its own. */
  constructor(token, seat) {
    this.token = token;
    this.seat = seat;
  }

  /** A fetch with the token; raises Problem for anything but success. */
  async call(path, { headers, ...options } = {}) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: { Authorization: `Bearer ${this.token}`, ...headers } });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Problem(0);
    }
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
    return answer;
  }

  async #json(method, path, body, headers = {}) {
    const options = { method, headers };
    if (body !== undefined) {
      options.body = JSON.stringify(body);
      headers['Content-Type'] = 'application/json';
    }
    return (await this.call(`/api/v1${path}`, options)).json();
  }

  me = () => this.#json('GET', '/me');
  spaces = () => this.#json('GET', '/spaces');
  create = (space) => this.#json('POST', '/spaces', space);
  space = (id) => this.#json('GET', `/spaces/${id}`);
  command = (id, verb, more = {}) => this.#json('POST', `/spaces/${id}/commands`, { verb, ...more });
  seatChange = (id, seat, change) => this.#json('POST', `/spaces/${id}/seats/${seat}${this.#you()}`, change);
  links = (id) => this.#json('GET', `/spaces/${id}/links`);
  giveLink = (id, role, label) => this.#json('POST', `/spaces/${id}/links`, { role, label });
  checks = (id) => this.#json('GET', `/spaces/${id}/checks`);
  checkSession = (id, session) => this.#json('GET', `/spaces/${id}/check/${session}`);
  checkRecord = (id, session) => this.#json('POST', `/spaces/${id}/check/${session}/record`);
  checkReport = (id, report) => this.#json('POST', `/spaces/${id}/checks${this.#you()}`, report);
  revokeLink = (id, link) => this.#json('DELETE', `/spaces/${id}/links/${link}`);

  /** Change the announcement, of the version that is current now. */
  async edit(id, change) {
    const seen = await this.call(`/api/v1/spaces/${id}`);
    return this.#json('PATCH', `/spaces/${id}`, change, { 'If-Match': seen.headers.get('ETag') });
  }

  /** For an <audio>, which cannot send a header: the one address that takes the token. */
  recordingAddress(id) {
    return `/api/v1/spaces/${id}/recording.m4a?token=${encodeURIComponent(this.token)}`;
  }

  #you() {
    return `?seat=${encodeURIComponent(this.seat)}`;
  }

  /** {ice_servers, expires_at}: what an RTCPeerConnection takes, and until when its relays let us in. */
  iceServers = async (id, signal) => (await this.call(`/api/v1/spaces/${id}/ice`, { signal })).json();

  /** Send an offer (WHIP, RFC 9725): → {session, etag, answer}. */
  async offer(id, name, sdp, signal) {
    const query = new URLSearchParams({ seat: this.seat, name });
    const answer = await this.call(`/whip/${id}?${query}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: sdp,
      signal,
    });
    const session = new URL(answer.headers.get('Location'), location.origin).pathname;
    return { session, etag: answer.headers.get('ETag'), answer: await answer.text() };
  }

  trickle = (session, etag, fragment) =>
    this.call(session, {
      method: 'PATCH',
      headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': etag },
      body: fragment,
    });

  /** `keepalive`: the request outlives the page. */
  hangUp = (session) => this.call(session, { method: 'DELETE', keepalive: true });

  /** The Space and its stage as they change: calls told(view), away() when the studio is gone, over and over. */
  async watch(id, { told, away, refused, signal }) {
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        const answer = await this.call(`/api/v1/spaces/${id}/events${this.#you()}`, { signal });
        await readEvents(answer.body, (view) => {
          attempt = 0;
          told(view);
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && !error.away && error.status < 500) return refused(error);
      }
      away();
      await new Promise((resolve) => {
        setTimeout(resolve, 300 + Math.random() * Math.min(3000, 300 * 1.7 ** attempt));
      });
    }
  }
}

const SILENCE_MS = 4000; // events come every 250 ms: after this, the studio hangs

async function readEvents(body, told) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    const hung = setTimeout(() => reader.cancel().catch(() => {}), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(hung));
    if (done) return;
    pending += value;
    const events = pending.split('\n\n');
    pending = events.pop();
    for (const event of events) if (event.startsWith('data: ')) told(JSON.parse(event.slice(6)));
  }
}
