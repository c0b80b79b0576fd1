// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Each of these is a violation of RFC 9113, as h2spec has them and beyond.
func TestProtocolErrors(t *testing.T) {
	setting := func(id http2.SettingID, v uint32) func(*wire) {
		return func(w *wire) { w.must(w.WriteSettings(http2.Setting{ID: id, Val: v})) }
	}
	raw := func(typ http2.FrameType, flags http2.Flags, id uint32, p string) func(*wire) {
		return func(w *wire) { w.must(w.WriteRawFrame(typ, flags, id, []byte(p))) }
	}
	done := func(w *wire) { // one exchange on stream 1
		w.headers(1, true, get()...)
		w.wants("HEADERS 1", "DATA 1 END")
	}
	tests := []struct {
		name string
		send func(w *wire)
		want string
	}{
		{"settings on a stream", raw(http2.FrameSettings, 0, 1, ""), "GOAWAY 0 PROTOCOL_ERROR"},
		{"settings of 5 bytes", raw(http2.FrameSettings, 0, 0, "12345"), "GOAWAY 0 FRAME_SIZE_ERROR"},
		{"settings ack with payload", raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "123456"), "GOAWAY 0 FRAME_SIZE_ERROR"},
		{"push 2", setting(http2.SettingEnablePush, 2), "GOAWAY 0 PROTOCOL_ERROR"},
		{"window 2^31", setting(http2.SettingInitialWindowSize, 1<<31), "GOAWAY 0 FLOW_CONTROL_ERROR"},
		{"frame size 1", setting(http2.SettingMaxFrameSize, 1), "GOAWAY 0 PROTOCOL_ERROR"},
		{"ping on a stream", raw(http2.FramePing, 0, 1, "12345678"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"ping of 7 bytes", raw(http2.FramePing, 0, 0, "1234567"), "GOAWAY 0 FRAME_SIZE_ERROR"},
		{"goaway on a stream", raw(http2.FrameGoAway, 0, 1, "12345678"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"rst on stream 0", raw(http2.FrameRSTStream, 0, 0, "1234"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"rst on an idle stream", raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"data on stream 0", raw(http2.FrameData, 0, 0, "x"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"data on an idle stream", raw(http2.FrameData, 0, 1, "x"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"data on a server's stream", raw(http2.FrameData, 0, 2, "x"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"headers on stream 0", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, "\x82"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"headers on an even stream", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x82"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"push promise", raw(http2.FramePushPromise, 0, 1, "\x00\x00\x00\x02\x82"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"continuation alone", raw(http2.FrameContinuation, 0, 1, "\x82"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"window update of an idle stream", raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x08"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"window update by 0", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"window beyond 2^31", func(w *wire) { w.must(w.WriteWindowUpdate(0, 1<<31-1)) }, "GOAWAY 0 FLOW_CONTROL_ERROR"},
		{"priority of 4 bytes", raw(http2.FramePriority, 0, 1, "1234"), "RST_STREAM 1 FRAME_SIZE_ERROR"},
		{"dependency on itself", raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x00"), "RST_STREAM 1 PROTOCOL_ERROR"},
		{"large frame", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, strings.Repeat("x", 16385)), "GOAWAY 0 FRAME_SIZE_ERROR"},
		{"padding", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPadded, 1, "\x09\x82"), "GOAWAY 0 PROTOCOL_ERROR"},
		{"bad hpack", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff\xff\xff"), "GOAWAY 1 COMPRESSION_ERROR"},
		{"frame within a block", func(w *wire) {
			raw(http2.FrameHeaders, 0, 1, "\x82")(w)
			raw(http2.FramePing, 0, 0, "12345678")(w)
		}, "GOAWAY 0 PROTOCOL_ERROR"},
		{"continuation of another", func(w *wire) {
			raw(http2.FrameHeaders, 0, 1, "\x82")(w)
			raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, "\x84")(w)
		}, "GOAWAY 0 PROTOCOL_ERROR"},
		{"lower stream", func(w *wire) {
			w.headers(5, true, get()...)
			w.wants("HEADERS 5", "DATA 5 END")
			w.headers(3, true, get()...)
		}, "GOAWAY 5 STREAM_CLOSED"},
		{"headers on a closed stream", func(w *wire) { done(w); w.headers(1, true, get()...) }, "GOAWAY 1 STREAM_CLOSED"},
		{"data on a closed stream", func(w *wire) { done(w); w.must(w.WriteData(1, true, []byte("x"))) }, "RST_STREAM 1 STREAM_CLOSED"},
	}
	x := newRig(t).site(Options{}, hello)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := x.wire()
			w.tb = t
			tt.send(w)
			if got := w.answer(); !strings.HasPrefix(got, tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if strings.HasPrefix(tt.want, "GOAWAY") {
				w.wants("EOF")
			} else {
				w.alive(11)
			}
		})
	}
}

func TestPreface(t *testing.T) {
	x := newRig(t).site(Options{}, hello)
	for _, tt := range []struct{ name, send, want string }{
		{"http/1", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GOAWAY 0 PROTOCOL_ERROR no connection preface"},
		{"nearly", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r ", "GOAWAY 0 PROTOCOL_ERROR"},
		{"no settings", http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "GOAWAY 0 PROTOCOL_ERROR the first frame"},
		{"ack first", http2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "GOAWAY 0 PROTOCOL_ERROR the first frame"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := x.bare()
			w.tb = t
			w.raw(tt.send)
			w.wants(tt.want, "EOF")
		})
	}
}

// A frame may come byte by byte, and idle connections keep little of it.
func TestByteByByte(t *testing.T) {
	x := newRig(t).site(Options{}, echo)
	w := x.bare()
	var all strings.Builder
	all.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&all, nil)
	w.must(f.WriteSettings())
	w.must(f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(post()...), EndHeaders: true}))
	w.must(f.WriteDataPadded(1, true, []byte("hello"), make([]byte, 9)))
	for _, b := range []byte(all.String()) {
		w.raw(string([]byte{b}))
	}
	w.wants("HEADERS 1 ", "DATA 1 END hello")
}

// What the server announces, and when.
func TestServerSettings(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name string
		o    Options
		want []string
	}{
		{"default", Options{}, []string{"SETTINGS MAX_CONCURRENT_STREAMS=1024 INITIAL_WINDOW_SIZE=262144", "WINDOW_UPDATE 0 983041", "SETTINGS ACK"}},
	} {
		x := r.site(tt.o, hello)
		w := x.wire()
		for _, want := range tt.want {
			got := w.next()
			got = strings.NewReplacer("3=", "MAX_CONCURRENT_STREAMS=", "4=", "INITIAL_WINDOW_SIZE=").Replace(got)
			if got != want {
				t.Errorf("%s: got %q, want %q", tt.name, got, want)
			}
		}
	}
}

// All 256 types of frames: those that are not known are skipped.
func TestUnknownFrames(t *testing.T) {
	x := newRig(t).site(Options{}, hello)
	w := x.wire()
	for typ := 10; typ < 256; typ++ {
		for _, n := range []int{0, 1, 9, 16384} {
			w.must(w.WriteRawFrame(http2.FrameType(typ), http2.Flags(typ), uint32(n%2), make([]byte, n)))
		}
	}
	w.alive(1)
}
