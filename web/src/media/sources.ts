/** Opens what a person wants to send: camera, screen, microphone alone, or the test pattern. */
import { startPattern } from './pattern';

export type SourceKind = 'camera' | 'screen' | 'audio' | 'flash';

export function isSourceKind(value: string | null): value is SourceKind {
  return value === 'camera' || value === 'screen' || value === 'audio' || value === 'flash';
}

export interface Source {
  kind: SourceKind;
  media: MediaStream;
  /** What is missing, in words; empty when all is there. */
  note: string;
  close: () => void;
}

export interface Choice {
  camera?: string;
  microphone?: string;
}

export async function openSource(kind: SourceKind, choice: Choice): Promise<Source> {
  switch (kind) {
    case 'flash': {
      const pattern = startPattern();
      return { kind, media: pattern.media, note: '', close: pattern.stop };
    }
    case 'audio':
      return plain(kind, await devices().getUserMedia({ audio: microphone(choice) }));
    case 'camera':
      return openCamera(choice);
    case 'screen':
      return openScreen(choice);
  }
}

function devices(): MediaDevices {
  // Absent on pages that are not secure.
  const found = navigator.mediaDevices as MediaDevices | undefined;
  if (found === undefined) throw new TypeError('');
  return found;
}

function plain(kind: SourceKind, media: MediaStream, note = ''): Source {
  return { kind, media, note, close: () => media.getTracks().forEach((track) => track.stop()) };
}

const microphone = ({ microphone: id }: Choice): MediaTrackConstraints => ({
  ...(id ? { deviceId: { exact: id } } : {}),
  echoCancellation: true,
  noiseSuppression: true,
});

async function openCamera(choice: Choice): Promise<Source> {
  const video: MediaTrackConstraints = {
    ...(choice.camera ? { deviceId: { exact: choice.camera } } : {}),
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 30 },
  };
  try {
    return plain('camera', await devices().getUserMedia({ video, audio: microphone(choice) }));
  } catch (error) {
    // Asked for both, a browser names no culprit. A camera without a microphone still has a picture.
    if (!(error instanceof DOMException) || error.name !== 'NotFoundError') throw error;
    return plain('camera', await devices().getUserMedia({ video }), 'No microphone was found: viewers see you, and hear nothing.');
  }
}

/**
 * Music and games as they are: what is made for a voice folds them into one channel. A microphone stays one that
 * cancels echoes.
 */
const SCREEN_SOUND: MediaTrackConstraints = {
  channelCount: { ideal: 2 },
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

async function openScreen(choice: Choice): Promise<Source> {
  const screen = await devices().getDisplayMedia({ video: { frameRate: { ideal: 30 } }, audio: SCREEN_SOUND });
  for (const track of screen.getVideoTracks()) track.contentHint = 'detail';
  let voice: MediaStream;
  try {
    voice = await devices().getUserMedia({ audio: microphone(choice) });
  } catch {
    return plain('screen', screen, screen.getAudioTracks().length > 0 ? '' : 'No microphone: viewers see your screen, and hear nothing.');
  }
  if (screen.getAudioTracks().length === 0) {
    voice.getAudioTracks().forEach((track) => screen.addTrack(track));
    return plain('screen', screen);
  }
  // Voice and the screen's own sound become one track.
  const audio = new AudioContext();
  const out = audio.createMediaStreamDestination();
  audio.createMediaStreamSource(voice).connect(out);
  audio.createMediaStreamSource(new MediaStream(screen.getAudioTracks())).connect(out);
  const media = new MediaStream([...screen.getVideoTracks(), ...out.stream.getAudioTracks()]);
  return {
    kind: 'screen',
    media,
    note: '',
    close: () => {
      for (const track of [...screen.getTracks(), ...voice.getTracks(), ...media.getTracks()]) track.stop();
      void audio.close();
    },
  };
}

export interface DeviceList {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
}

export async function listDevices(): Promise<DeviceList> {
  const all = (await (navigator.mediaDevices as MediaDevices | undefined)?.enumerateDevices().catch(() => [])) ?? [];
  return {
    cameras: all.filter(({ kind, deviceId }) => kind === 'videoinput' && deviceId !== ''),
    microphones: all.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId !== ''),
  };
}

/** Whether opening this source would ask the person nothing, because they agreed before. */
export async function agreedBefore(kind: SourceKind): Promise<boolean> {
  if (kind === 'flash') return true;
  if (kind === 'screen' || !('permissions' in navigator)) return false;
  try {
    const wanted = kind === 'camera' ? ['camera', 'microphone'] : ['microphone'];
    const states = await Promise.all(wanted.map((name) => navigator.permissions.query({ name: name as PermissionName })));
    return states.every(({ state }) => state === 'granted');
  } catch {
    return false;
  }
}
