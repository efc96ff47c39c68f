// A small WHIP and WHEP server on Pion, for the tests of the load harness: a stack that shares no code with it.
//
// POST /whip/{room} publishes into a room, POST /whep/{room} watches it, DELETE of the Location ends either. Packets go
// from the publisher to the viewers as they are; what Pion's interceptors do about NACK and reports is left to them.
// Prints the address it listens on. Ends with its standard input.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

const largestOffer = 1 << 18

// What a room's publisher sends, by kind, and how it is asked for a keyframe.
type room struct {
	publisher *webrtc.PeerConnection
	tracks    map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP
	keyframe  func()
}

type server struct {
	api      *webrtc.API
	lock     sync.Mutex
	rooms    map[string]*room
	sessions map[string]*webrtc.PeerConnection
	next     int
}

func main() {
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() && ip.To4() != nil })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	made := &server{
		api:      webrtc.NewAPI(webrtc.WithSettingEngine(settings)),
		rooms:    map[string]*room{},
		sessions: map[string]*webrtc.PeerConnection{},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		// Who started it holds the other end: it goes when they go.
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /whip/{room}", func(w http.ResponseWriter, r *http.Request) { made.join(w, r, made.publish) })
	mux.HandleFunc("POST /whep/{room}", func(w http.ResponseWriter, r *http.Request) { made.join(w, r, made.watch) })
	mux.HandleFunc("DELETE /sessions/{id}", made.leave)
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}

var errNobody = errors.New("nobody publishes in this room")

func (s *server) join(w http.ResponseWriter, r *http.Request, as func(string, *webrtc.PeerConnection) error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/sdp") {
		http.Error(w, "an offer is application/sdp", http.StatusUnsupportedMediaType)
		return
	}
	offer, err := io.ReadAll(io.LimitReader(r.Body, largestOffer))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	connection, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := s.negotiate(r.PathValue("room"), connection, string(offer), as)
	if err != nil {
		_ = connection.Close()
		status := http.StatusBadRequest
		if errors.Is(err, errNobody) {
			w.Header().Set("Retry-After", "1")
			status = http.StatusConflict
		}
		http.Error(w, err.Error(), status)
		return
	}
	s.lock.Lock()
	s.next++
	id := fmt.Sprint(s.next)
	s.sessions[id] = connection
	s.lock.Unlock()
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", "/sessions/"+id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer)
}

func (s *server) negotiate(name string, connection *webrtc.PeerConnection, offer string, as func(string, *webrtc.PeerConnection) error) (string, error) {
	remote := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}
	// A viewer's tracks have to be there before the offer is, so that they go into its media sections.
	if err := as(name, connection); err != nil {
		return "", err
	}
	if err := connection.SetRemoteDescription(remote); err != nil {
		return "", err
	}
	answer, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

func (s *server) publish(name string, connection *webrtc.PeerConnection) error {
	made := &room{publisher: connection, tracks: map[webrtc.RTPCodecType]*webrtc.TrackLocalStaticRTP{}, keyframe: func() {}}
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		local, err := webrtc.NewTrackLocalStaticRTP(track.Codec().RTPCodecCapability, track.Kind().String(), "stream")
		if err != nil {
			return
		}
		s.lock.Lock()
		made.tracks[track.Kind()] = local
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			made.keyframe = func() {
				_ = connection.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(track.SSRC())}})
			}
		}
		s.lock.Unlock()
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			// Extensions were negotiated with the publisher alone.
			packet.Extension, packet.Extensions = false, nil
			_ = local.WriteRTP(packet)
		}
	})
	s.lock.Lock()
	s.rooms[name] = made
	s.lock.Unlock()
	return nil
}

func (s *server) watch(name string, connection *webrtc.PeerConnection) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	found := s.rooms[name]
	// Sound and picture, or who comes first would see half of it.
	if found == nil || len(found.tracks) < 2 {
		return errNobody
	}
	for kind, track := range found.tracks {
		sender, err := connection.AddTrack(track)
		if err != nil {
			return err
		}
		go s.obey(found, kind, sender)
	}
	return nil
}

// What viewers say: interceptors answer NACK by themselves, a lost picture is for the publisher.
func (s *server) obey(of *room, kind webrtc.RTPCodecType, sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			if _, lost := packet.(*rtcp.PictureLossIndication); lost && kind == webrtc.RTPCodecTypeVideo {
				s.lock.Lock()
				ask := of.keyframe
				s.lock.Unlock()
				ask()
			}
		}
	}
}

func (s *server) leave(w http.ResponseWriter, r *http.Request) {
	s.lock.Lock()
	connection := s.sessions[r.PathValue("id")]
	delete(s.sessions, r.PathValue("id"))
	s.lock.Unlock()
	if connection == nil {
		http.NotFound(w, r)
		return
	}
	_ = connection.Close()
}
