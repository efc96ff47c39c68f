/**
 * `application/trickle-ice-sdpfrag` (RFC 8840) as RFC 9725 uses it: candidates on their way to the
 * server, and new credentials in both directions when ICE restarts.
 */

export interface IceCredentials {
  ufrag: string;
  pwd: string;
}

export interface LocalCandidate {
  candidate: string;
  sdpMid: string | null;
}

/** The session's ICE credentials: of the first media section, else of the session part. */
export function credentialsOf(sdp: string): IceCredentials | null {
  const ufrag = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];
  const pwd = /^a=ice-pwd:(\S+)/m.exec(sdp)?.[1];
  return ufrag !== undefined && pwd !== undefined ? { ufrag, pwd } : null;
}

interface Section {
  media: string;
  mid: string;
}

function sectionsOf(sdp: string): Section[] {
  return sdp
    .split(/^m=/m)
    .slice(1)
    .flatMap((block) => {
      const kind = /^(\S+)\s+\S+\s+(\S+)\s+(\S+)/.exec(block);
      const mid = /^a=mid:(\S+)/m.exec(block)?.[1];
      if (kind === null || mid === undefined) return [];
      return [{ media: `m=${kind[1]} 9 ${kind[2]} ${kind[3]}`, mid }];
    });
}

/**
 * A fragment that names `candidates`, grouped by media section in the order of `localSdp`. With no
 * candidates it carries the credentials alone, on the first section, which is what a restart needs.
 */
export function buildFragment(localSdp: string, candidates: LocalCandidate[], complete: boolean): string {
  const credentials = credentialsOf(localSdp);
  const sections = sectionsOf(localSdp);
  const first = sections[0];
  if (credentials === null || first === undefined) throw new Error('the local description has no ICE credentials or no media section');
  const group = /^a=group:BUNDLE[^\r\n]*/m.exec(localSdp)?.[0];
  const lines: string[] = [];
  if (group !== undefined) lines.push(group);
  lines.push(`a=ice-ufrag:${credentials.ufrag}`, `a=ice-pwd:${credentials.pwd}`);
  const byMid = new Map<string, string[]>();
  for (const { candidate, sdpMid } of candidates) {
    const line = candidate.replace(/^a=/, '');
    if (line === '') continue;
    const mid = sdpMid ?? first.mid;
    byMid.set(mid, [...(byMid.get(mid) ?? []), `a=${line}`]);
  }
  for (const section of sections) {
    const own = byMid.get(section.mid);
    if (own === undefined && section !== first) continue;
    lines.push(section.media, `a=mid:${section.mid}`, ...(own ?? []));
    if (complete) lines.push('a=end-of-candidates');
  }
  return `${lines.join('\r\n')}\r\n`;
}

/**
 * The remote description after an ICE restart: the one in force, with the credentials and the
 * candidates of the server's fragment in place of its own.
 */
export function applyRestart(remoteSdp: string, fragment: string): string {
  const fresh = credentialsOf(fragment);
  if (fresh === null) throw new Error("the server's answer to the ICE restart has no credentials");
  const candidates = fragment.match(/^a=(?:candidate:[^\r\n]*|end-of-candidates)/gm) ?? [];
  const kept = remoteSdp
    .split(/\r?\n/)
    .filter((line) => line !== '' && !/^a=(?:candidate:|end-of-candidates)/.test(line))
    .map((line) => {
      if (line.startsWith('a=ice-ufrag:')) return `a=ice-ufrag:${fresh.ufrag}`;
      if (line.startsWith('a=ice-pwd:')) return `a=ice-pwd:${fresh.pwd}`;
      return line.replace(/^(o=\S+ \S+ )(\d+)/, (_all, head: string, version: string) => `${head}${BigInt(version) + 1n}`);
    });
  // Candidates stand in the first media section, the one that carries the bundle.
  const second = kept.findIndex((line, at) => line.startsWith('m=') && kept.slice(0, at).some((before) => before.startsWith('m=')));
  kept.splice(second < 0 ? kept.length : second, 0, ...candidates);
  return `${kept.join('\r\n')}\r\n`;
}
