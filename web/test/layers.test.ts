import { describe, expect, it } from 'vitest';
import { LayerControl, layerWords, readLayers } from '../src/client/layers';

describe('layers', () => {
  it('are read as the server tells them, and nothing else is', () => {
    const line = [{ rid: 'f', bitrate: 2_000_000, current: true }, { rid: 'q', bitrate: 0, current: false }];
    expect(readLayers(JSON.stringify({ '1': line }))).toEqual(line);
    expect(readLayers('{"0":[{"rid":"f","bitrate":5},7,null,{"rid":3,"bitrate":1}]}')).toEqual([{ rid: 'f', bitrate: 5, current: false }]);
    for (const bad of ['', '{', '[]', 'null', '7', '{"0":{}}', '{}']) expect(readLayers(bad)).toEqual([]);
    const many = Array.from({ length: 99 }, (_, at) => ({ rid: `r${at}`, bitrate: 1 }));
    expect(readLayers(JSON.stringify({ '0': many }))).toHaveLength(16);
  });

  it('are called by their place where there are few', () => {
    const layers = ['a', 'b', 'c', 'd'].map((rid) => ({ rid, bitrate: 1, current: false }));
    expect(layerWords(layers.slice(0, 3))).toEqual(['High', 'Medium', 'Low']);
    expect(layerWords(layers.slice(0, 2))).toEqual(['High', 'Low']);
    expect(layerWords(layers)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('are picked at the URL that the answer links to', async () => {
    const calls: [string, string][] = [];
    const fetch = (async (url: RequestInfo | URL, init?: RequestInit) => {
      calls.push([String(url), String(init?.body)]);
      return new Response(null, { status: 200 });
    }) as typeof globalThis.fetch;
    const link = '</s/1/sse>; rel="urn:ietf:params:whep:ext:core:server-sent-events"; events="layers", </s/1/layer>; rel="urn:ietf:params:whep:ext:core:layer"';
    const control = new LayerControl({ fetch }, link, 'https://a.test/s/1');
    expect(control.offered).toBe(true);
    await control.pick('h');
    await control.pick(null);
    expect(calls).toEqual([
      ['https://a.test/s/1/layer', '{"rid":"h"}'],
      ['https://a.test/s/1/layer', '{}'],
    ]);
    const none = new LayerControl({ fetch }, null, 'https://a.test/s/1');
    expect(none.offered).toBe(false);
    await none.pick('h');
    await none.follow(() => expect.fail('nothing is told'), AbortSignal.timeout(1_000));
    expect(calls).toHaveLength(2);
  });
});
