"""A small WHIP and WHEP server on aiortc, for the tests of the load harness: a stack that shares no code with it.

POST /whip/{room} publishes into a room, POST /whep/{room} watches it, DELETE of the Location ends either. aiortc would
decode and encode again what it passes on; here each frame's payloads go on as they came, under aiortc's own RTP, RTCP,
SRTP, DTLS and ICE. Prints the address it listens on. Ends with its standard input.
"""

import asyncio
import sys

import aioice.ice
import aiortc.rtcrtpreceiver
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtcrtpsender import RTCEncodedFrame, RTCRtpSender

LARGEST_OFFER = 1 << 18
KINDS = {"audio", "video"}


class Room:
    """What a publisher sends, and who gets it."""

    def __init__(self):
        self.seen = set()
        self.frames = {}
        self.viewers = set()
        self.video = None

    def packet(self, receiver, kind, packet):
        self.seen.add(kind)
        if kind == "video":
            self.video = (receiver, packet.ssrc)
        frame = self.frames.setdefault(kind, [])
        frame.append(packet.payload)
        if packet.marker or kind == "audio":
            self.frames[kind] = []
            for track in self.viewers:
                if track.kind == kind:
                    track.put(frame, packet.timestamp)

    def keyframe(self):
        if self.video:
            receiver, ssrc = self.video
            asyncio.ensure_future(receiver._send_rtcp_pli(ssrc))


class RawTrack(MediaStreamTrack):
    """Frames that nobody decodes."""

    def __init__(self, kind, room):
        super().__init__()
        self.kind = kind
        self.room = room
        # None until the connection asks: what came before is nobody's.
        self.queue = None
        room.viewers.add(self)

    def put(self, payloads, timestamp):
        if self.queue is not None:
            self.queue.put_nowait((payloads, timestamp))

    async def next(self):
        if self.queue is None:
            self.queue = asyncio.Queue()
        return await self.queue.get()

    async def recv(self):
        raise NotImplementedError("its frames go out as they came in")

    def stop(self):
        super().stop()
        self.room.viewers.discard(self)


def take_packets_as_they_are():
    """Puts RawTrack into aiortc's senders, and rooms behind its receivers."""
    encoded, keyframe, received = (
        RTCRtpSender._next_encoded_frame,
        RTCRtpSender._send_keyframe,
        RTCRtpReceiver._handle_rtp_packet,
    )

    async def next_encoded_frame(self, codec):
        if isinstance(self.track, RawTrack):
            payloads, timestamp = await self.track.next()
            return RTCEncodedFrame(payloads, timestamp, None)
        return await encoded(self, codec)

    def send_keyframe(self):
        if isinstance(self.track, RawTrack):
            self.track.room.keyframe()
        else:
            keyframe(self)

    async def handle_rtp_packet(self, packet, arrival_time_ms):
        room = getattr(self, "room", None)
        codec = self._RTCRtpReceiver__codecs.get(packet.payload_type)
        if room is not None and codec is not None and codec.name.lower() != "rtx":
            room.packet(self, self.track.kind, packet)
        await received(self, packet, arrival_time_ms)

    def decode_nothing(_loop, frames, *_rest):
        while frames.get() is not None:
            pass

    RTCRtpSender._next_encoded_frame = next_encoded_frame
    RTCRtpSender._send_keyframe = send_keyframe
    RTCRtpReceiver._handle_rtp_packet = handle_rtp_packet
    aiortc.rtcrtpreceiver.decoder_worker = decode_nothing
    # It would look for a network; these tests have none.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


def peer():
    # No ICE servers: by itself it would ask one on the internet.
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


class Server:
    def __init__(self):
        self.rooms = {}
        self.sessions = {}
        self.next = 0

    async def publish(self, request):
        room = Room()
        self.rooms[request.match_info["room"]] = room
        return await self.join(request, peer(), room)

    async def watch(self, request):
        room = self.rooms.get(request.match_info["room"])
        # Sound and picture, or who comes first would see half of it.
        if room is None or room.seen != KINDS:
            return web.Response(status=409, text="nobody publishes in this room", headers={"Retry-After": "1"})
        connection = peer()
        for kind in KINDS:
            connection.addTrack(RawTrack(kind, room))
        return await self.join(request, connection, None)

    async def join(self, request, connection, room):
        if request.content_type != "application/sdp":
            await connection.close()
            return web.Response(status=415, text="an offer is application/sdp")
        try:
            offer = RTCSessionDescription(sdp=await request.text(), type="offer")
            await connection.setRemoteDescription(offer)
            if room is not None:
                for transceiver in connection.getTransceivers():
                    transceiver.receiver.room = room
            await connection.setLocalDescription(await connection.createAnswer())
        except Exception as error:
            await connection.close()
            return web.Response(status=400, text=str(error))
        self.next += 1
        name = str(self.next)
        self.sessions[name] = connection
        headers = {"Location": f"../sessions/{name}"}
        answer = connection.localDescription.sdp
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def leave(self, request):
        connection = self.sessions.pop(request.match_info["id"], None)
        if connection is None:
            return web.Response(status=404)
        for sender in connection.getSenders():
            if isinstance(sender.track, RawTrack):
                sender.track.stop()
        await connection.close()
        return web.Response(status=200)


async def main():
    take_packets_as_they_are()
    server = Server()
    app = web.Application(client_max_size=LARGEST_OFFER)
    app.add_routes(
        [
            web.post("/whip/{room}", server.publish),
            web.post("/whep/{room}", server.watch),
            web.delete("/sessions/{id}", server.leave),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = site._server.sockets[0].getsockname()[:2]
    print(f"{host}:{port}", flush=True)
    # Who started it holds the other end: it goes when they go.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
