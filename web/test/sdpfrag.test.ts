import { describe, expect, it } from 'vitest';
import { applyRestart, buildFragment, credentialsOf } from '../src/client/sdpfrag';

const sdp = (lines: string[]): string => `${lines.join('\r\n')}\r\n`;

const LOCAL = sdp([
  'v=0',
  'o=- 46117 2 IN IP4 127.0.0.1',
  's=-',
  't=0 0',
  'a=group:BUNDLE 0 1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
  'c=IN IP4 0.0.0.0',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y',
  'a=mid:0',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=ice-ufrag:EsAw',
  'a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y',
  'a=mid:1',
]);

describe('a trickle fragment', () => {
  it('groups candidates by media section, with the credentials they belong to', () => {
    const fragment = buildFragment(
      LOCAL,
      [
        { candidate: 'candidate:1 1 udp 2 192.0.2.1 500 typ host', sdpMid: '0' },
        { candidate: 'candidate:2 1 udp 1 192.0.2.1 501 typ host', sdpMid: '1' },
        { candidate: 'candidate:3 1 udp 1 192.0.2.2 502 typ host', sdpMid: '0' },
      ],
      false,
    );
    expect(fragment).toBe(
      sdp([
        'a=group:BUNDLE 0 1',
        'a=ice-ufrag:EsAw',
        'a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y',
        'm=audio 9 UDP/TLS/RTP/SAVPF 111',
        'a=mid:0',
        'a=candidate:1 1 udp 2 192.0.2.1 500 typ host',
        'a=candidate:3 1 udp 1 192.0.2.2 502 typ host',
        'm=video 9 UDP/TLS/RTP/SAVPF 96',
        'a=mid:1',
        'a=candidate:2 1 udp 1 192.0.2.1 501 typ host',
      ]),
    );
  });

  it('says when there are no more, and may carry credentials alone', () => {
    const fragment = buildFragment(LOCAL, [], true);
    expect(fragment).toContain('a=mid:0\r\na=end-of-candidates\r\n');
    expect(fragment).not.toContain('a=mid:1');
    expect(buildFragment(LOCAL, [], false)).not.toContain('a=end-of-candidates');
    expect(credentialsOf(fragment)).toEqual({ ufrag: 'EsAw', pwd: 'bP+XJMM09aR8AiX1jdukzR6Y' });
  });

  it('cannot be made of a description without ICE', () => expect(() => buildFragment('v=0\r\n', [], false)).toThrow(/credentials/));
});

describe('an ICE restart', () => {
  const remote = sdp([
    'v=0',
    'o=- 1 9007199254740993 IN IP4 0.0.0.0',
    's=-',
    't=0 0',
    'a=ice-lite',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    'a=ice-ufrag:old',
    'a=ice-pwd:oldoldoldoldoldoldoldold',
    'a=mid:0',
    'a=candidate:1 1 udp 1 198.51.100.1 9 typ host',
    'a=end-of-candidates',
    'm=video 9 UDP/TLS/RTP/SAVPF 96',
    'a=ice-ufrag:old',
    'a=ice-pwd:oldoldoldoldoldoldoldold',
    'a=mid:1',
  ]);

  it('puts the new credentials and candidates in place of the old ones', () => {
    const out = applyRestart(remote, sdp(['a=ice-lite', 'a=ice-ufrag:new', 'a=ice-pwd:newnewnewnewnewnewnewnew', 'm=audio 9 UDP/TLS/RTP/SAVPF 0', 'a=mid:0', 'a=candidate:7 1 udp 1 203.0.113.9 4000 typ host', 'a=end-of-candidates']));
    expect(out.match(/a=ice-ufrag:new/g)).toHaveLength(2);
    expect(out).not.toContain('old');
    expect(out).not.toContain('198.51.100.1');
    expect(out.indexOf('203.0.113.9')).toBeLessThan(out.indexOf('m=video'));
    expect(out).toContain('o=- 1 9007199254740994 IN');
    expect(out.endsWith('a=mid:1\r\n')).toBe(true);
  });

  it('works with one media section', () => {
    const one = remote.slice(0, remote.indexOf('m=video'));
    const out = applyRestart(one, 'a=ice-ufrag:n\r\na=ice-pwd:p\r\na=candidate:7 1 udp 1 203.0.113.9 4000 typ host\r\n');
    expect(out.endsWith('typ host\r\n')).toBe(true);
  });

  it('needs credentials', () => expect(() => applyRestart(remote, 'a=ice-lite\r\n')).toThrow(/credentials/));
});
