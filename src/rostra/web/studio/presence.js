// What a device should know while somebody is on the stage: keep the screen on, do not close the page by accident, and
// let the microphone button of a headset or a lock screen do what the page's own does. Where there is none, it does without.

export function presence(toggle) {
  let on_stage = false;
  let live = false;
  let microphone = null;
  let lock = null;

  async function hold() {
    if (!on_stage || document.hidden || (lock && !lock.released)) return;
    lock = await navigator.wakeLock?.request('screen').catch(() => null);
    if (!on_stage) lock?.release();
  }

  // A lock ends with the page's visibility, and has to be asked for again.
  document.addEventListener('visibilitychange', hold);
  addEventListener('beforeunload', (event) => live && event.preventDefault());
  // Not `hangup`: nobody should lose their seat to a button pressed in a pocket.
  handle('togglemicrophone', toggle);

  return {
    /** `open`: whether the microphone is; `title`: what a lock screen shows. */
    update({ stage, on_air, open, title }) {
      live = on_air;
      if (stage !== on_stage) {
        on_stage = stage;
        if (stage) hold();
        else lock?.release();
        tellTitle(stage ? title : null);
      }
      if (open === microphone) return;
      microphone = open;
      navigator.mediaSession?.setMicrophoneActive?.(open)?.catch?.(() => {});
    },
  };
}

function handle(action, act) {
  try {
    navigator.mediaSession?.setActionHandler(action, act);
  } catch {
    // An action that this browser does not know.
  }
}

function tellTitle(title) {
  if (!navigator.mediaSession || !globalThis.MediaMetadata) return;
  navigator.mediaSession.metadata = title === null ? null : new MediaMetadata({ title, artist: location.host });
}
