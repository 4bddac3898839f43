// The lock screen, the headphones' buttons, the keyboard's media keys.

const session = navigator.mediaSession;

/** What is heard, for the system to show. */
export function describe(title, artist) {
  if (!session || !self.MediaMetadata) return;
  const known = session.metadata;
  if (known && known.title === title && known.artist === artist) return;
  session.metadata = new MediaMetadata({
    title,
    artist,
    artwork: [{ src: '/static/shared/mark.svg', type: 'image/svg+xml', sizes: 'any' }],
  });
}

export function playback(state) {
  if (session) session.playbackState = state;
}

/** `acts`: action name → function, or null to withdraw it. */
export function handle(acts) {
  for (const [action, act] of Object.entries(acts)) {
    try {
      session?.setActionHandler(action, act);
    } catch {
      // An action this browser has never heard of.
    }
  }
}
