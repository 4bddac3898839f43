// One connection of a test: WHIP to the check instead of the stage, by one way only, so that each way is told apart.

const GATHER_MS = 1500; // one's own addresses come at once, those that STUN tells a round trip later
const GATHER_RELAY_MS = 6000; // over TLS a relay takes some five round trips, and a packet lost among them a second
const CONNECT_MS = 8000; // as the page of the speakers has it

/** Raised when no datagram came through: not a fault, a finding. */
export class Unreachable extends Error {}

/** What the studio hands out for STUN and TURN; none where it has nothing to hand out. */
export async function iceServers(api, space) {
  try {
    const told = await (await api.call(`/api/v1/spaces/${space}/ice`)).json();
    return told.ice_servers ?? [];
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

const urls = (server) => [server.urls].flat();
const isTurn = (url) => /^turns?:/.test(url);

/** `servers`, only those for the straight way (STUN) or only those for the relayed one (TURN). */
export function only(servers, turn) {
  return servers
    .map((server) => ({ ...server, urls: urls(server).filter((url) => isTurn(url) === turn) }))
    .filter((server) => server.urls.length);
}

/** Events: `lost`, once it was made. */
export class Connection extends EventTarget {
  session = '';
  track = null; // what the server sends
  #api;
  #peer = null;
  #address = '';

  constructor(api) {
    super();
    this.#api = api;
  }

  /** Connect `track`; raises Unreachable, or what the studio refuses. */
  async open(space, track, servers, relay) {
    const peer = new RTCPeerConnection({ iceServers: servers, iceTransportPolicy: relay ? 'relay' : 'all' });
    this.#peer = peer;
    peer.addEventListener('track', (event) => { this.track = event.track; });
    peer.addTransceiver(track, { direction: 'sendrecv', streams: [new MediaStream([track])] });
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer, relay ? GATHER_RELAY_MS : GATHER_MS);
    if (relay && !peer.localDescription.sdp.includes(' typ relay')) throw new Unreachable();
    const query = new URLSearchParams({ seat: this.#api.seat });
    const answer = await this.#api.call(`/whip/${space}/check?${query}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp' },
      body: peer.localDescription.sdp,
    });
    this.#address = new URL(answer.headers.get('Location'), location.origin).pathname;
    this.session = this.#address.split('/').at(-1);
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    await connected(peer);
    peer.addEventListener('connectionstatechange', () => {
      if (this.#peer === peer && peer.connectionState === 'failed') this.dispatchEvent(new Event('lost'));
    });
  }

  /** {rtt_ms, received, lost}, as the browser counts; null what it does not know (yet). */
  async count() {
    const stats = [...(await this.#peer.getStats()).values()];
    const pair = stats.find(({ type, state, nominated }) => type === 'candidate-pair' && state === 'succeeded' && nominated);
    const incoming = stats.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio');
    const remote = stats.find(({ type, kind }) => type === 'remote-inbound-rtp' && kind === 'audio');
    const rtt_s = pair?.currentRoundTripTime ?? remote?.roundTripTime ?? null;
    return {
      rtt_ms: rtt_s === null ? null : rtt_s * 1000,
      received: incoming?.packetsReceived ?? 0,
      lost: incoming?.packetsLost ?? 0,
    };
  }

  /** Another microphone on the same connection. */
  replace(track) {
    return this.#peer?.getSenders()[0]?.replaceTrack(track);
  }

  close() {
    const [peer, address] = [this.#peer, this.#address];
    this.#peer = null;
    this.#address = '';
    peer?.close();
    if (address) this.#api.hangUp(address).catch(() => {}); // gone already, most often
  }
}

function gathered(peer, most_ms) {
  if (peer.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, most_ms);
    peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && resolve());
  });
}

function connected(peer) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Unreachable()), CONNECT_MS);
    const look = () => {
      if (peer.connectionState === 'connected') resolve();
      else if (['failed', 'closed'].includes(peer.connectionState)) reject(new Unreachable());
      else return;
      clearTimeout(late);
    };
    peer.addEventListener('connectionstatechange', look);
    look();
  });
}
