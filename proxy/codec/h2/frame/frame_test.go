// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/net/http2"
)

func TestParse(t *testing.T) {
	for _, h := range []Header{
		{},
		{Length: LimitMaxFrameSize, Type: 0xff, Flags: 0xff, StreamID: MaxWindow},
		{Length: 0x010203, Type: Headers, Flags: EndStream | EndHeaders, StreamID: 0x04050607},
	} {
		b := AppendHeader([]byte("x"), h)
		if len(b) != 1+HeaderLen {
			t.Fatalf("%d bytes", len(b))
		}
		if got, ok := Parse(b[1:]); !ok || got != h {
			t.Errorf("got %+v, %t, want %+v", got, ok, h)
		}
		b[1+5] |= 0x80
		if got, ok := Parse(append(b[1:], 7)); !ok || got != h {
			t.Errorf("with the reserved bit got %+v, %t, want %+v", got, ok, h)
		}
		if _, ok := Parse(b[2:]); ok {
			t.Error("eight bytes are a header")
		}
	}
}

func TestCheck(t *testing.T) {
	const limit = MinMaxFrameSize
	for _, tt := range []struct {
		name string
		h    Header
		want *Error
	}{
		{"data", Header{limit, Data, 0, 1}, nil},
		{"data too large", Header{limit + 1, Data, 0, 1}, errLargeStream},
		{"priority too large", Header{limit + 1, Priority, 0, 1}, errLargeStream},
		{"headers too large", Header{limit + 1, Headers, 0, 1}, errLarge},
		{"continuation too large", Header{limit + 1, Continuation, 0, 1}, errLarge},
		{"settings too large", Header{limit + 2, Settings, 0, 0}, errLarge},
		{"unknown too large", Header{limit + 1, 0xf0, 0, 1}, errLarge},
		{"data on 0", Header{1, Data, 0, 0}, errOnZero},
		{"headers on 0", Header{1, Headers, 0, 0}, errOnZero},
		{"continuation on 0", Header{1, Continuation, 0, 0}, errOnZero},
		{"priority on 0", Header{5, Priority, 0, 0}, errOnZero},
		{"priority", Header{5, Priority, 0, 1}, nil},
		{"priority of 4", Header{4, Priority, 0, 1}, errPriority},
		{"priority of 6", Header{6, Priority, 0, 1}, errPriority},
		{"reset on 0", Header{4, RSTStream, 0, 0}, errOnZero},
		{"reset", Header{4, RSTStream, 0, 1}, nil},
		{"reset of 3", Header{3, RSTStream, 0, 1}, errReset},
		{"settings", Header{12, Settings, 0, 0}, nil},
		{"settings of 11", Header{11, Settings, 0, 0}, errSettings},
		{"settings on a stream", Header{6, Settings, 0, 1}, errOnStream},
		{"settings ack", Header{0, Settings, Ack, 0}, nil},
		{"settings ack of 6", Header{6, Settings, Ack, 0}, errSettingsAck},
		{"push promise", Header{8, PushPromise, 0, 1}, errPush},
		{"ping", Header{8, Ping, 0, 0}, nil},
		{"ping of 7", Header{7, Ping, 0, 0}, errPing},
		{"ping on a stream", Header{8, Ping, 0, 3}, errOnStream},
		{"goaway", Header{9, GoAway, 0, 0}, nil},
		{"goaway of 7", Header{7, GoAway, 0, 0}, errGoAway},
		{"goaway on a stream", Header{8, GoAway, 0, 1}, errOnStream},
		{"window update", Header{4, WindowUpdate, 0, 0}, nil},
		{"window update of a stream", Header{4, WindowUpdate, 0, 9}, nil},
		{"window update of 5", Header{5, WindowUpdate, 0, 9}, errWindow},
		{"unknown", Header{77, 0xf0, 0xff, 9}, nil},
		{"priority update", Header{4, PriorityUpdate, 0, 0}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.h.Check(limit); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestPadding(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		flags          Flags
		err            *Error
	}{
		{"none", "abc", "abc", 0, nil},
		{"empty", "", "", 0, nil},
		{"zero", "\x00abc", "abc", Padded, nil},
		{"two", "\x02abc\x00\x00", "abc", Padded, nil},
		{"not zero", "\x02abcde", "abc", Padded, nil},
		{"all", "\x03abc", "", Padded, nil},
		{"too much", "\x04abc", "", Padded, errPad},
		{"only its length", "\x01", "", Padded, errPad},
		{"without its length", "", "", Padded, errPadMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, typ := range []Type{Data, Headers} {
				h := Header{uint32(len(tt.in)), typ, tt.flags, 1}
				parse := ParseData
				if typ == Headers {
					parse = ParseHeaders
				}
				got, err := parse(h, []byte(tt.in))
				if string(got) != tt.want || err != tt.err {
					t.Errorf("%s: got %q, %v", typ, got, err)
				}
			}
		})
	}
}

func TestHeadersPriority(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		flags          Flags
		err            *Error
	}{
		{"priority", "\x80\x00\x00\x03\x10abc", "abc", WithPriority, nil},
		{"priority and padding", "\x01\x00\x00\x00\x03\x10abc\x00", "abc", WithPriority | Padded, nil},
		{"on itself", "\x80\x00\x00\x01\x10abc", "abc", WithPriority, errSelf},
		{"cut", "\x80\x00\x00\x01", "", WithPriority, errPrioMissing},
		{"padding within priority", "\x01\x80\x00\x00\x01\x00", "", WithPriority | Padded, errPad},
		{"padded and cut", "\x01\x80\x00\x00\x01", "", WithPriority | Padded, errPrioMissing},
		{"padded, without its length", "", "", WithPriority | Padded, errPadMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseHeaders(Header{uint32(len(tt.in)), Headers, tt.flags, 1}, []byte(tt.in))
			if string(got) != tt.want || err != tt.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	w, err := ParsePriority(Header{5, Priority, 0, 1}, []byte("\x80\x00\x00\x03\x10"))
	if want := (Weight{3, true, 16}); w != want || err != nil {
		t.Errorf("got %v, %v", w, err)
	}
	if _, err := ParsePriority(Header{5, Priority, 0, 3}, []byte("\x00\x00\x00\x03\x10")); err != errSelf || err.Conn || err.Code != ProtocolError {
		t.Errorf("got %v", err)
	}
	if _, err := ParsePriority(Header{4, Priority, 0, 3}, []byte("\x00\x00\x00\x03")); err != errPriority {
		t.Errorf("got %v", err)
	}
}

func TestSmallPayloads(t *testing.T) {
	if c, err := ParseRSTStream([]byte{0, 0, 0, 8}); c != Cancel || err != nil {
		t.Errorf("got %v, %v", c, err)
	}
	if _, err := ParseRSTStream([]byte{0, 0, 8}); err != errReset {
		t.Errorf("got %v", err)
	}
	if d, err := ParsePing([]byte("12345678")); string(d[:]) != "12345678" || err != nil {
		t.Errorf("got %v, %v", d, err)
	}
	if _, err := ParsePing([]byte("1234567")); err != errPing {
		t.Errorf("got %v", err)
	}
	last, code, debug, err := ParseGoAway([]byte("\x80\x00\x00\x07\x00\x00\x00\x0bwhy"))
	if last != 7 || code != EnhanceYourCalm || string(debug) != "why" || err != nil {
		t.Errorf("got %d, %v, %q, %v", last, code, debug, err)
	}
	if _, _, _, err := ParseGoAway(make([]byte, 7)); err != errGoAway {
		t.Errorf("got %v", err)
	}
	for _, tt := range []struct {
		in     []byte
		stream uint32
		want   uint32
		err    *Error
	}{
		{[]byte{0x80, 0, 0, 5}, 0, 5, nil},
		{[]byte{0x7f, 0xff, 0xff, 0xff}, 1, MaxWindow, nil},
		{[]byte{0x80, 0, 0, 0}, 0, 0, errNoIncrement0},
		{[]byte{0, 0, 0, 0}, 1, 0, errNoIncrement},
		{[]byte{0, 0, 0}, 1, 0, errWindow},
	} {
		if n, err := ParseWindowUpdate(Header{StreamID: tt.stream}, tt.in); n != tt.want || err != tt.err {
			t.Errorf("% x on %d: got %d, %v", tt.in, tt.stream, n, err)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		id    SettingID
		value uint32
		want  *Error
	}{
		{HeaderTableSize, 1<<32 - 1, nil}, {EnablePush, 1, nil}, {EnablePush, 2, errEnablePush},
		{InitialWindowSize, MaxWindow, nil}, {InitialWindowSize, MaxWindow + 1, errWindowSize},
		{MaxFrameSize, MinMaxFrameSize - 1, errFrameSize}, {MaxFrameSize, MinMaxFrameSize, nil},
		{MaxFrameSize, LimitMaxFrameSize, nil}, {MaxFrameSize, LimitMaxFrameSize + 1, errFrameSize},
		{EnableConnectProtocol, 1, nil}, {EnableConnectProtocol, 2, errConnect}, {NoRFC7540Priorities, 2, errPriorities},
		{0xf0f0, 1<<32 - 1, nil}, {MaxHeaderListSize, 0, nil}, {MaxConcurrentStreams, 0, nil},
	} {
		in := []Setting{{MaxConcurrentStreams, 7}, {tt.id, tt.value}}
		b := AppendSettings(nil, in...)
		h, _ := Parse(b)
		if err := h.Check(MinMaxFrameSize); err != nil || int(h.Length) != len(b)-HeaderLen {
			t.Fatalf("%v: %v", h, err)
		}
		var out []Setting
		for id, v := range AllSettings(b[HeaderLen:]) {
			out = append(out, Setting{id, v})
		}
		if !slices.Equal(in, out) {
			t.Errorf("got %v, want %v", out, in)
		}
		if err := CheckSettings(h, b[HeaderLen:]); err != tt.want {
			t.Errorf("%s %d: got %v, want %v", tt.id, tt.value, err, tt.want)
		}
		for range AllSettings(b[HeaderLen:]) {
			break
		}
	}
	if err := CheckSettings(Header{Type: Settings, Flags: Ack}, make([]byte, 6)); err != errSettingsAck {
		t.Errorf("got %v", err)
	}
	if err := CheckSettings(Header{Type: Settings}, make([]byte, 7)); err != errSettings {
		t.Errorf("got %v", err)
	}
}

// TestNames holds the names to x/net's, which writes the settings' alike.
func TestNames(t *testing.T) {
	for i := range Code(0x10) {
		if want := http2.ErrCode(i).String(); i <= HTTP11Required && i.String() != want {
			t.Errorf("code %d is %s, want %s", i, i, want)
		}
	}
	for i := range Type(0xa) {
		if want := http2.FrameType(i).String(); i.String() != want {
			t.Errorf("type %d is %s, want %s", i, i, want)
		}
	}
	for i := range SettingID(0xa) {
		if want := http2.SettingID(i).String(); i != 0 && i != 7 && i.String() != want {
			t.Errorf("setting %d is %s, want %s", i, i, want)
		}
	}
	for got, want := range map[string]string{
		Code(14).String(): "UNKNOWN_14", Type(10).String(): "UNKNOWN_10", PriorityUpdate.String(): "PRIORITY_UPDATE",
		SettingID(7).String(): "UNKNOWN_7", errPing.Error(): "http/2: FRAME_SIZE_ERROR: PING whose length is not 8",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestSplit cuts blocks of all sizes around the limit.
func TestSplit(t *testing.T) {
	for limit := 1; limit <= 5; limit++ {
		for n := range 23 {
			block := []byte("abcdefghijklmnopqrstuvw")[:n]
			for _, room := range []int{0, 300} {
				b := AppendHeaders(append(make([]byte, 0, room), "xy"...), block, 5, uint32(limit), n%2 == 0)
				if string(b[:2]) != "xy" {
					t.Fatalf("what was there is %q", b[:2])
				}
				var got []byte
				frames := 0
				for b = b[2:]; len(b) > 0; frames++ {
					h, ok := Parse(b)
					if !ok || int(h.Length) > limit || int(h.Length) > len(b)-HeaderLen || h.StreamID != 5 {
						t.Fatalf("limit %d, block of %d: frame %d is %+v", limit, n, frames, h)
					}
					got = append(got, b[HeaderLen:][:h.Length]...)
					b = b[HeaderLen+h.Length:]
					want := Flags(0)
					if len(b) == 0 {
						want |= EndHeaders
					}
					if frames == 0 && n%2 == 0 {
						want |= EndStream
					}
					if h.Flags != want || (h.Type == Headers) != (frames == 0) || frames > 0 && h.Type != Continuation {
						t.Fatalf("limit %d, block of %d: frame %d is %+v", limit, n, frames, h)
					}
				}
				if !bytes.Equal(got, block) || frames != max(1, (n+limit-1)/limit) {
					t.Fatalf("limit %d: got %q in %d frames, want %q", limit, got, frames, block)
				}
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	b := make([]byte, 0, 4096)
	block := make([]byte, 300)
	settings := AppendSettings(nil, Setting{EnablePush, 0}, Setting{MaxFrameSize, 16384})
	if n := testing.AllocsPerRun(100, func() {
		b = AppendHeaders(b[:0], block, 1, 128, true)
		b = AppendSettings(b, Setting{EnablePush, 0}, Setting{InitialWindowSize, 1 << 20})
		b = AppendGoAway(AppendPing(AppendDataHeader(b, 1, 5, false), [8]byte{}, true), 1, NoError, "bye")
		h, _ := Parse(settings)
		if h.Check(16384) != nil || CheckSettings(h, settings[HeaderLen:]) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
