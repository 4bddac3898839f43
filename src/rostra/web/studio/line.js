// The line to the stage: one WebRTC connection that carries one's voice there and everyone else's back. It is dialled
// through the studio, but runs past it: the studio may restart and nobody on the line notices.

import { Problem } from './api.js';

const GATHER_MS = 700; // host candidates come at once; later ones follow by trickle
const CONNECT_MS = 8000;
const GRACE_MS = 1500; // a line that says "disconnected" often recovers by itself within a second

/** Events: `state` (closed, dialling, connected, lost), `refused` (detail: Problem). `back` gets the others' sound. */
export class Line extends EventTarget {
  state = 'closed';
  #api;
  #space;
  #back;
  #track = null;
  #name = '';
  #peer = null;
  #session = '';
  #attempt = 0;
  #grace = 0;
  #redial = 0;

  constructor(api, space, back) {
    super();
    this.#api = api;
    this.#space = space;
    this.#back = back;
    addEventListener('online', () => this.state === 'lost' && this.#dial());
    addEventListener('pagehide', () => this.#hangUp());
  }

  open(track, name) {
    this.#track = track;
    this.#name = name;
    this.#attempt = 0;
    this.#dial();
  }

  close() {
    clearTimeout(this.#redial);
    this.#hangUp();
    this.#become('closed');
  }

  /** Another microphone on the same line. */
  async replace(track) {
    this.#track = track;
    await this.#peer?.getSenders()[0]?.replaceTrack(track);
  }

  /** The roster says that nobody feeds our seat: the stage was restarted and knows this session no more. */
  forgotten() {
    if (this.state === 'connected') this.#lose();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent('state'));
  }

  async #dial() {
    clearTimeout(this.#redial);
    this.#hangUp();
    this.#become(this.#attempt ? 'lost' : 'dialling');
    const peer = new RTCPeerConnection({ iceServers: [] });
    this.#peer = peer;
    peer.addEventListener('connectionstatechange', () => this.#peer === peer && this.#changed(peer));
    peer.addEventListener('track', ({ track }) => this.#hear(track));
    peer.addTransceiver(this.#track, { direction: 'sendrecv', streams: [new MediaStream([this.#track])] });
    try {
      await this.#offer(peer);
    } catch (error) {
      if (this.#peer === peer) this.#failed(error);
    }
  }

  async #offer(peer) {
    const late = [];
    peer.addEventListener('icecandidate', ({ candidate }) => candidate && late.push(candidate));
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const { length } = late; // these are in the offer already
    const limit = AbortSignal.timeout(CONNECT_MS);
    const told = await this.#api.offer(this.#space, this.#name, peer.localDescription.sdp, limit);
    if (this.#peer !== peer) {
      this.#api.hangUp(told.session).catch(() => {}); // meanwhile closed, or dialled anew
      return;
    }
    this.#session = told.session;
    await peer.setRemoteDescription({ type: 'answer', sdp: told.answer });
    if (late.length > length) this.#trickle(told, peer, late.slice(length));
    setTimeout(() => this.#peer === peer && peer.connectionState !== 'connected' && this.#lose(), CONNECT_MS);
  }

  #trickle({ session, etag }, peer, candidates) {
    const sdp = peer.localDescription.sdp;
    const [ufrag] = sdp.match(/a=ice-ufrag:.*/);
    const [password] = sdp.match(/a=ice-pwd:.*/);
    const lines = [ufrag, password, 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0'];
    const fragment = [...lines, ...candidates.map(({ candidate }) => `a=${candidate}`), ''].join('\r\n');
    this.#api.trickle(session, etag, fragment).catch(() => {}); // without them the line may still connect
  }

  #hear(track) {
    this.#back.srcObject = new MediaStream([track]);
    this.#back.play().catch(() => {});
  }

  #changed(peer) {
    clearTimeout(this.#grace);
    if (peer.connectionState === 'connected') {
      this.#attempt = 0;
      this.#become('connected');
    } else if (peer.connectionState === 'disconnected') {
      this.#grace = setTimeout(() => this.#lose(), GRACE_MS);
    } else if (peer.connectionState === 'failed') this.#lose();
  }

  #failed(error) {
    const final = error instanceof Problem && !error.away && error.status < 500 && error.name !== 'AbortError';
    if (final) {
      this.close();
      this.dispatchEvent(new CustomEvent('refused', { detail: error }));
    } else {
      if (error instanceof Problem && error.message) this.dispatchEvent(new CustomEvent('delayed', { detail: error }));
      this.#lose();
    }
  }

  /** Dial again, soon, then less often; by itself, for as long as the person wants to be on the stage. */
  #lose() {
    if (this.state === 'closed') return;
    this.#attempt += 1;
    this.#become('lost');
    this.#hangUp();
    const most_ms = Math.min(4000, 250 * 1.7 ** this.#attempt);
    this.#redial = setTimeout(() => this.#dial(), 100 + Math.random() * most_ms);
  }

  #hangUp() {
    clearTimeout(this.#grace);
    const [peer, session] = [this.#peer, this.#session];
    this.#peer = null;
    this.#session = '';
    peer?.close();
    if (session) this.#api.hangUp(session).catch(() => {}); // gone already, most often
  }
}

function gathered(peer) {
  if (peer.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && resolve());
  });
}
