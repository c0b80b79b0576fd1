// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/net/http2"
)

// FuzzRead reads one frame by both implementations.
func FuzzRead(f *testing.F) {
	for _, b := range [][]byte{
		AppendHeaders(nil, []byte("\x82\x86"), 1, MinMaxFrameSize, true),
		AppendHeader(nil, Header{6, Headers, Padded | EndHeaders, 1}),
		append(AppendHeader(nil, Header{8, Headers, WithPriority | Padded | EndHeaders, 1}), "\x01\x00\x00\x00\x01\x00\x82\x00"...),
		append(AppendHeader(nil, Header{3, Data, Padded | EndStream, 1}), "\x01a\x00"...),
		append(AppendHeader(nil, Header{2, Data, Padded, 1}), "\x02a"...),
		append(AppendHeader(nil, Header{5, Priority, 0, 1}), "\x00\x00\x00\x01\x00"...),
		AppendSettings(nil, Setting{EnablePush, 2}, Setting{InitialWindowSize, 1 << 31}),
		AppendSettingsAck(nil),
		AppendPing(nil, [8]byte{1, 2, 3}, false),
		AppendGoAway(nil, 5, EnhanceYourCalm, "debug"),
		AppendWindowUpdate(nil, 0, 0),
		AppendWindowUpdate(nil, 1, 0),
		AppendRSTStream(nil, 1, Cancel),
		AppendHeader(nil, Header{MinMaxFrameSize + 1, Data, 0, 1}),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, ok := Parse(in)
		if !ok || int(h.Length) > len(in)-HeaderLen && h.Length <= MinMaxFrameSize {
			return
		}
		err := h.Check(MinMaxFrameSize)
		if h.Length > MinMaxFrameSize {
			if err == nil || err.Code != FrameSizeError {
				t.Fatalf("%+v: %v", h, err)
			}
			return
		}
		payload := in[HeaderLen:][:h.Length]
		fr := http2.NewFramer(nil, bytes.NewReader(in))
		fr.AllowIllegalReads = true
		x, xerr := fr.ReadFrame()
		if err != nil {
			compare(t, h, err, xerr)
			return
		}
		compare(t, h, payloads(t, h, payload, x), xerr)
	})
}

// compare holds our verdict to x/net's, where that has one.
func compare(t *testing.T, h Header, err *Error, xerr error) {
	t.Helper()
	var conn http2.ConnectionError
	var stream http2.StreamError
	switch {
	case err == nil && xerr == nil:
	case err == nil && h.Type == PriorityUpdate:
		// Unknown here, and so skipped.
	case err == nil:
		t.Fatalf("%+v: x/net refuses: %v", h, xerr)
	case xerr == nil:
		// Left to x/net's connection: settings' values, a stream that depends on
		// itself. PUSH_PROMISE is read where it is allowed.
		if h.Type != Settings && err != errSelf && err != errPush {
			t.Fatalf("%+v: %v, x/net takes it", h, err)
		}
	case errors.As(xerr, &conn):
		// x/net makes these connection errors, of a stream RFC 9113 §6.3.
		if err == errPriority || err == errPush {
			return
		}
		// Of several wrong settings we report the first, x/net the window's size.
		if h.Type == Settings && err.Conn && conn == http2.ConnectionError(http2.ErrCodeFlowControl) {
			return
		}
		// Of a wrong stream and a wrong length we report the stream.
		if err == errOnStream || err == errOnZero {
			return
		}
		if !err.Conn || uint32(err.Code) != uint32(conn) {
			t.Fatalf("%+v: %v, x/net: %v", h, err, xerr)
		}
	case errors.As(xerr, &stream):
		if h.Type == Headers && err == errPad && stream.Code == http2.ErrCodeProtocol {
			return // RFC 9113 §6.2 has a connection error by way of §6.1.
		}
		if err == errPush {
			return
		}
		if err.Conn || uint32(err.Code) != uint32(stream.Code) {
			t.Fatalf("%+v: %v, x/net: %v", h, err, xerr)
		}
	default:
		// A payload that ends too early.
		if err != errPadMissing && err != errPrioMissing && err != errPush {
			t.Fatalf("%+v: %v, x/net: %v", h, err, xerr)
		}
	}
}

// payloads parses the payload and compares with x/net's frame, if there is one.
func payloads(t *testing.T, h Header, payload []byte, x http2.Frame) (err *Error) {
	t.Helper()
	equal := func(got, want any) {
		t.Helper()
		if got != want {
			t.Fatalf("%+v: got %v, x/net has %v", h, got, want)
		}
	}
	switch h.Type {
	case Data:
		var b []byte
		b, err = ParseData(h, payload)
		if x, ok := x.(*http2.DataFrame); ok && err == nil {
			equal(string(b), string(x.Data()))
			equal(h.Flags.Has(EndStream), x.StreamEnded())
		}
	case Headers:
		var b []byte
		b, err = ParseHeaders(h, payload)
		if x, ok := x.(*http2.HeadersFrame); ok && err == nil {
			equal(string(b), string(x.HeaderBlockFragment()))
			equal(h.Flags.Has(EndHeaders), x.HeadersEnded())
		}
	case Priority:
		var w Weight
		w, err = ParsePriority(h, payload)
		if x, ok := x.(*http2.PriorityFrame); ok {
			equal(w, Weight{x.StreamDep, x.Exclusive, x.Weight})
		}
	case RSTStream:
		var c Code
		c, err = ParseRSTStream(payload)
		if x, ok := x.(*http2.RSTStreamFrame); ok {
			equal(uint32(c), uint32(x.ErrCode))
		}
	case Settings:
		err = CheckSettings(h, payload)
		if x, ok := x.(*http2.SettingsFrame); ok {
			i := 0
			for id, v := range AllSettings(payload) {
				equal(http2.Setting{ID: http2.SettingID(id), Val: v}, x.Setting(i))
				i++
			}
			equal(i, x.NumSettings())
		}
	case Ping:
		var d [8]byte
		d, err = ParsePing(payload)
		if x, ok := x.(*http2.PingFrame); ok {
			equal(d, x.Data)
			equal(h.Flags.Has(Ack), x.IsAck())
		}
	case GoAway:
		last, code, debug, gerr := ParseGoAway(payload)
		err = gerr
		if x, ok := x.(*http2.GoAwayFrame); ok {
			equal(last, x.LastStreamID)
			equal(uint32(code), uint32(x.ErrCode))
			equal(string(debug), string(x.DebugData()))
		}
	case WindowUpdate:
		var n uint32
		n, err = ParseWindowUpdate(h, payload)
		if x, ok := x.(*http2.WindowUpdateFrame); ok {
			equal(n, x.Increment)
		}
	}
	return err
}

// FuzzWrite reads by x/net what is written here.
func FuzzWrite(f *testing.F) {
	f.Add([]byte("block"), uint32(1), uint32(2), uint32(3), true)
	f.Add(make([]byte, 100), uint32(MaxWindow), uint32(99), uint32(1<<32-1), false)
	f.Fuzz(func(t *testing.T, block []byte, stream, limit, v uint32, flag bool) {
		stream = max(stream&MaxWindow, 1)
		limit = limit%MinMaxFrameSize + 1
		b := AppendHeaders(nil, block, stream, limit, flag)
		b = AppendSettings(b, Setting{HeaderTableSize, v}, Setting{MaxHeaderListSize, limit})
		b = AppendSettingsAck(b)
		b = AppendPing(b, [8]byte(append([]byte("12345678"), block...)[len(block):]), flag)
		b = AppendWindowUpdate(b, stream, max(v&MaxWindow, 1))
		b = AppendRSTStream(b, stream, Code(v))
		b = append(AppendDataHeader(b, stream, uint32(min(len(block), MinMaxFrameSize)), flag), block[:min(len(block), MinMaxFrameSize)]...)
		b = AppendGoAway(b, stream, Code(v), string(block[:min(len(block), 100)]))
		fr := http2.NewFramer(nil, bytes.NewReader(b))
		next := func() http2.Frame {
			t.Helper()
			x, err := fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		hf := next().(*http2.HeadersFrame)
		got, ended := bytes.Clone(hf.HeaderBlockFragment()), hf.HeadersEnded()
		if hf.StreamEnded() != flag || hf.StreamID != stream {
			t.Fatal(hf)
		}
		for !ended {
			c := next().(*http2.ContinuationFrame)
			got, ended = append(got, c.HeaderBlockFragment()...), c.HeadersEnded()
		}
		if !bytes.Equal(got, block) {
			t.Fatalf("got %q, want %q", got, block)
		}
		if s := next().(*http2.SettingsFrame); s.Setting(0).Val != v || s.NumSettings() != 2 {
			t.Fatal(s)
		}
		if s := next().(*http2.SettingsFrame); !s.IsAck() {
			t.Fatal(s)
		}
		if p := next().(*http2.PingFrame); p.IsAck() != flag {
			t.Fatal(p)
		}
		if w := next().(*http2.WindowUpdateFrame); w.Increment != max(v&MaxWindow, 1) || w.StreamID != stream {
			t.Fatal(w)
		}
		if r := next().(*http2.RSTStreamFrame); uint32(r.ErrCode) != v {
			t.Fatal(r)
		}
		if d := next().(*http2.DataFrame); !bytes.Equal(d.Data(), block[:min(len(block), MinMaxFrameSize)]) || d.StreamEnded() != flag {
			t.Fatal(d)
		}
		if g := next().(*http2.GoAwayFrame); uint32(g.ErrCode) != v || g.LastStreamID != stream {
			t.Fatal(g)
		}
	})
}
