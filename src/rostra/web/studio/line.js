// The line to the stage: one WebRTC connection that carries one's voice there and everyone else's back. It is dialled
// through the studio, but runs past it: the studio may restart and nobody on the line notices.
//
// When the network changes under it, the line is dialled anew while the old call still stands: the stage takes the newer
// one for the seat once it is connected, and only then is the old one let go. Where both paths live, nothing is missed.

import { Problem } from './api.js';
import { counted, Window } from './network.js';

const GATHER_MS = 700; // host candidates come at once; later ones follow by trickle
const CONNECT_MS = 8000;
const RETRY_MS = 2000; // a request that a dead network swallowed is not worth waiting for; TCP would, for longer
const LOOK_MS = 500;
const SILENT_MS = 1500; // the stage sends 50 packets a second, whoever talks: without any, the path is dead
const SWAP_MS = 1000; // the stage may end the old call a moment before we see the new one connected
const ICE_LIMIT_MS = 2000;
const ICE_MARGIN_MS = 5 * 60_000; // relay credentials are renewed this long before they end
const ICE_PAUSE_MS = 60_000;
const ICE_KEPT_MS = 15 * 60_000; // of servers that need none: an operator may have changed them

/** One attempt, and the connection that comes of it: `up`, `doubt` (it may come back by itself) and `down` tell. */
class Call {
  peer = null;
  session = '';
  over = false;
  sound = null;
  #api;
  #space;
  #told;
  #limit = 0;

  constructor(api, space, told) {
    this.#api = api;
    this.#space = space;
    this.#told = told;
  }

  async dial(servers, track, name, limit_ms) {
    try {
      const iceServers = await servers;
      if (this.over) return;
      const peer = new RTCPeerConnection({ iceServers });
      this.peer = peer;
      peer.addEventListener('connectionstatechange', () => this.#changed());
      peer.addEventListener('track', ({ track: sound }) => (this.sound = new MediaStream([sound])));
      peer.addTransceiver(track, { direction: 'sendrecv', streams: [new MediaStream([track])] });
      await this.#offer(peer, name, limit_ms);
    } catch (error) {
      this.#end(error);
    }
  }

  async #offer(peer, name, limit_ms) {
    const late = [];
    peer.addEventListener('icecandidate', ({ candidate }) => candidate && late.push(candidate));
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const { length } = late; // these are in the offer already
    const told = await this.#api.offer(this.#space, name, peer.localDescription.sdp, AbortSignal.timeout(limit_ms));
    this.session = told.session;
    if (this.over) return this.#hangUp(); // meanwhile closed, or dialled anew
    await peer.setRemoteDescription({ type: 'answer', sdp: told.answer });
    if (late.length > length) this.#trickle(told, late.slice(length));
    this.#limit = setTimeout(() => peer.connectionState !== 'connected' && this.#end(), limit_ms);
  }

  #trickle({ session, etag }, candidates) {
    const { sdp } = this.peer.localDescription;
    const [ufrag] = sdp.match(/a=ice-ufrag:.*/);
    const [password] = sdp.match(/a=ice-pwd:.*/);
    const lines = [ufrag, password, 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0'];
    const fragment = [...lines, ...candidates.map(({ candidate }) => `a=${candidate}`), ''].join('\r\n');
    this.#api.trickle(session, etag, fragment).catch(() => {}); // without them the line may still connect
  }

  #changed() {
    if (this.over) return;
    const state = this.peer.connectionState;
    if (state === 'connected') this.#told.up(this);
    else if (state === 'disconnected') this.#told.doubt(this);
    else if (state === 'failed' || state === 'closed') this.#end();
  }

  #end(error = null) {
    if (this.over) return;
    this.close();
    this.#told.down(this, error);
  }

  /** Let go. `displaced`: the stage has ended it already, for a newer one. */
  close({ displaced = false } = {}) {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.#limit);
    this.peer?.close();
    if (!displaced) this.#hangUp();
  }

  #hangUp() {
    if (this.session) this.#api.hangUp(this.session).catch(() => {}); // gone already, most often
    this.session = '';
  }
}

/**
 * Events: `state` (closed, dialling, connected, lost), `refused` and `delayed` (detail: Problem), `figures` (detail: what
 * network.js makes of the counters, every half second). `back` gets the others' sound.
 */
export class Line extends EventTarget {
  state = 'closed';
  #api;
  #space;
  #back;
  #track = null;
  #name = '';
  #live = null; // the call that carries the voice, or carried it last
  #next = null; // the one that is being made
  #attempt = 0;
  #swap = 0;
  #redial = 0;
  #look = 0;
  #window = new Window();
  #received = { count: 0, at_ms: 0 };
  #servers = null; // {list, until_ms}
  #asked_ms = -Infinity;

  constructor(api, space, back) {
    super();
    this.#api = api;
    this.#space = space;
    this.#back = back;
    addEventListener('online', () => this.renew());
    watchNetwork(() => this.renew());
    addEventListener('pagehide', () => this.#hangUp());
  }

  open(track, name) {
    this.#track = track;
    this.#name = name;
    this.#attempt = 0;
    this.#become('dialling');
    this.#dial();
    clearInterval(this.#look);
    this.#look = setInterval(() => this.#watch(), LOOK_MS);
  }

  close() {
    this.#hangUp();
    this.#become('closed');
  }

  /** Another microphone on the same line. */
  async replace(track) {
    this.#track = track;
    const senders = [this.#live, this.#next].map((call) => call?.peer?.getSenders()[0]).filter(Boolean);
    await Promise.all(senders.map((sender) => sender.replaceTrack(track).catch(() => {}))); // one that was just closed
  }

  /** The network has changed: make another call, and let the old one go when it stands. */
  renew() {
    if (this.state !== 'closed' && !this.#next) this.#dial();
  }

  /** The roster says that nobody feeds our seat: the stage was restarted and knows this session no more. */
  forgotten() {
    if (this.state === 'connected') this.#doubt();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state'));
  }

  #dial() {
    clearTimeout(this.#redial);
    this.#next?.close();
    const told = { up: (call) => this.#up(call), doubt: (call) => this.#shaky(call), down: (call, error) => this.#down(call, error) };
    const call = (this.#next = new Call(this.#api, this.#space, told));
    const first = this.state === 'dialling' && this.#attempt === 0;
    const limit_ms = first ? CONNECT_MS : Math.min(CONNECT_MS, RETRY_MS * 1.4 ** Math.max(0, this.#attempt - 2));
    call.dial(this.#iceServers(), this.#track, this.#name, limit_ms);
  }

  #up(call) {
    clearTimeout(this.#swap);
    if (call === this.#next) {
      this.#live?.close({ displaced: true });
      this.#live = call;
      this.#next = null;
      this.#hear(call);
      if (call.peer.getSenders()[0]?.track !== this.#track) this.replace(this.#track); // changed while it was dialled
    }
    if (call !== this.#live) return;
    this.#settle();
  }

  /** The call in use carries sound: a successor is not needed, unless the stage has it already and may prefer it. */
  #settle() {
    this.#attempt = 0;
    this.#received = { count: this.#received.count, at_ms: performance.now() };
    if (!this.#next?.session) {
      this.#next?.close();
      this.#next = null;
    }
    clearTimeout(this.#redial);
    this.#become('connected');
  }

  #hear(call) {
    this.#window = new Window();
    this.#received = { count: 0, at_ms: performance.now() };
    this.#back.srcObject = call.sound;
    this.#back.play().catch(() => {});
  }

  #shaky(call) {
    if (call === this.#live) this.#doubt();
  }

  /** The call in use may be dead, or come back by itself: whichever is first, it or its successor. */
  #doubt() {
    this.#become('lost');
    this.renew();
  }

  #down(call, error) {
    if (call === this.#next) {
      this.#next = null;
      return this.#failed(error);
    }
    if (call !== this.#live) return;
    this.#live = null;
    clearTimeout(this.#swap);
    if (!this.#next) return this.#doubt();
    this.#swap = setTimeout(() => this.#next && this.#become('lost'), SWAP_MS);
  }

  #failed(error) {
    const final = error instanceof Problem && !error.away && error.status < 500 && error.name !== 'AbortError';
    if (final && this.state !== 'connected') {
      this.close();
      this.dispatchEvent(new CustomEvent('refused', { detail: error }));
      return;
    }
    if (error instanceof Problem && error.message) this.dispatchEvent(new CustomEvent('delayed', { detail: error }));
    this.#attempt += 1;
    if (this.#live && this.state === 'connected') return; // the old call holds: the next change will ask again
    if (this.state !== 'dialling' || this.#attempt > 1) this.#become('lost');
    const most_ms = Math.min(1500, 250 * 1.7 ** this.#attempt);
    this.#redial = setTimeout(() => this.#dial(), 100 + Math.random() * most_ms);
  }

  async #watch() {
    const call = this.#live;
    if (!call || call.over) return;
    const now_ms = performance.now();
    const counters = counted(await call.peer.getStats().catch(() => new Map()), now_ms);
    if (call !== this.#live || call.over) return;
    this.dispatchEvent(new CustomEvent('figures', { detail: this.#window.add(counters) }));
    if (counters.received !== this.#received.count) {
      this.#received = { count: counters.received, at_ms: now_ms };
      if (this.state === 'lost' && call.peer.connectionState === 'connected') this.#settle();
    } else if (this.state === 'connected' && now_ms - this.#received.at_ms > SILENT_MS) this.#doubt();
    if (this.state === 'connected') this.#refresh(now_ms);
  }

  /** How to be reached behind a router, and relays, as the studio gives them. */
  async #iceServers() {
    if (!this.#servers || this.#servers.until_ms < Date.now()) await this.#askServers();
    return this.#servers?.list ?? [];
  }

  async #askServers() {
    this.#asked_ms = performance.now();
    try {
      const { ice_servers: list, expires_at } = await this.#api.iceServers(this.#space, AbortSignal.timeout(ICE_LIMIT_MS));
      this.#servers = { list, until_ms: expires_at ? Date.parse(expires_at) : Date.now() + ICE_KEPT_MS };
    } catch {
      // Old ones are better than none; and without any, a stage with an address of its own is reached all the same.
    }
  }

  /** Credentials are asked for again before they expire, so that a call that has to be made at once need not wait. */
  #refresh(now_ms) {
    const soon = (this.#servers?.until_ms ?? 0) - ICE_MARGIN_MS < Date.now();
    if (soon && now_ms - this.#asked_ms > ICE_PAUSE_MS) this.#askServers();
  }

  #hangUp() {
    clearTimeout(this.#swap);
    clearTimeout(this.#redial);
    clearInterval(this.#look);
    const calls = [this.#live, this.#next];
    this.#live = this.#next = null;
    for (const call of calls) call?.close();
  }
}

/** A phone that goes from Wi-Fi to the mobile network. Browsers that tell of mere speed (no `type`) are not listened to. */
function watchNetwork(changed) {
  let type = navigator.connection?.type;
  navigator.connection?.addEventListener?.('change', () => {
    const before = type;
    type = navigator.connection.type;
    if (type && type !== 'none' && before !== type) changed();
  });
}

function gathered(peer) {
  if (peer.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && resolve());
  });
}
