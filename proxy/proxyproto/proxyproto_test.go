// SPDX-License-Identifier: Apache-2.0

package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir.dev/weir/proxy/address"
)

func addr(t testing.TB, s string) address.Addr {
	t.Helper()
	if s == "" {
		return address.Addr{}
	}
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var equal = cmp.Options{cmp.Comparer(func(a, b address.Addr) bool { return a == b }), cmpopts.EquateEmpty()}

func TestV1(t *testing.T) {
	long := "PROXY TCP6 ffff:f:ffff:ffff:ffff:ffff:ffff:ffff 2001:fff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
	for _, tt := range []struct {
		in       string
		src, dst string
		local    bool
	}{
		{"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324", "198.51.100.2:443", false},
		{"PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n", "192.0.2.1:0", "198.51.100.2:65535", false},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "[2001:db8::1]:1", "[2001:db8::2]:2", false},
		{"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1", "[::1]:2", false},
		{"PROXY UNKNOWN\r\n", "", "", true},
		{"PROXY UNKNOWN ffff:: what ever\r\n", "", "", true},
		{"PROXY UNKNOWN " + strings.Repeat("x", MaxV1-16) + "\r\n", "", "", true},
	} {
		n, err := LengthV1([]byte(tt.in + "GET"))
		if n != len(tt.in) || err != nil {
			t.Errorf("%q: length %d, %v", tt.in, n, err)
		}
		h, err := ParseV1([]byte(tt.in))
		want := Header{Version: 1, Local: tt.local, Source: addr(t, tt.src), Destination: addr(t, tt.dst)}
		if d := cmp.Diff(want, h, equal); err != nil || d != "" {
			t.Errorf("%q: %v %s", tt.in, err, d)
		}
		for i := range tt.in { // No prefix is a header.
			if n, err := LengthV1([]byte(tt.in[:i])); n != 0 || err != nil {
				t.Errorf("%q: length %d, %v", tt.in[:i], n, err)
			}
			if _, err := ParseV1([]byte(tt.in[:i])); err == nil {
				t.Errorf("%q is taken", tt.in[:i])
			}
		}
	}
	if _, err := ParseV1([]byte(long)); err == nil {
		t.Error("a multicast source is taken")
	}
}

func TestHostileV1(t *testing.T) {
	for _, in := range []string{
		"PROXY \r\n", "PROXY TCP4\r\n", "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 99999999999999999999\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
		"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
		"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "PROXY TCP6 [::1] ::1 1 2\r\n",
		"PROXY TCP4 0.0.0.0 192.0.2.2 1 2\r\n", "PROXY TCP4 224.0.0.1 192.0.2.2 1 2\r\n", "PROXY TCP4 255.255.255.255 192.0.2.2 1 2\r\n",
		"PROXY TCP6 :: ::1 1 2\r\n", "PROXY TCP6 ff02::1 ::1 1 2\r\n", "PROXY TCP6 ::1 ::ffff:0.0.0.0 1 2\r\n",
		"PROXY UNKNOWNX\r\n", "PROXY unknown\r\n", "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\x00\r\n",
		"PROXY UNKNOWN " + strings.Repeat("x", MaxV1) + "\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
	} {
		if h, err := ParseV1([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, %v", in, h, err)
		}
	}
	for _, in := range []string{strings.Repeat("x", MaxV1), "PROXY TCP4\n", "\n"} {
		if n, err := LengthV1([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}

func TestDetect(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "P": 0, "PROXY": 0, "PROXY ": 1, "PROXY T": 1, "\r": 0, "\r\n\r\n": 0, signature2[:11]: 0, signature2: 2, signature2 + "x": 2,
	} {
		if got, err := Detect([]byte(in)); got != want || err != nil {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"G", "PROXy ", "PROXYX", "\r\nG", "\x16\x03", "\r\n\r\n\x00\r\nQUIT\r"} {
		if got, err := Detect([]byte(in)); !errors.Is(err, ErrNoHeader) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

// v2 is a header with whatever is wrong about it.
func v2(command, family byte, rest string) string {
	return signature2 + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const inet = "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb" // 192.0.2.1:56324, 198.51.100.2:443

func TestV2(t *testing.T) {
	path := func(s string) string { return s + strings.Repeat("\x00", unixPath-len(s)) }
	full := strings.Repeat("p", unixPath)
	for name, tt := range map[string]struct {
		in   string
		want Header
	}{
		"inet":     {v2(0x21, 0x11, inet), Header{Source: addr(t, "192.0.2.1:56324"), Destination: addr(t, "198.51.100.2:443")}},
		"datagram": {v2(0x21, 0x12, inet), Header{Source: addr(t, "192.0.2.1:56324"), Destination: addr(t, "198.51.100.2:443")}},
		"inet6": {v2(0x21, 0x21, strings.Repeat("\x20", 32)+"\x00\x01\x00\x02"),
			Header{Source: addr(t, "[2020:2020:2020:2020:2020:2020:2020:2020]:1"), Destination: addr(t, "[2020:2020:2020:2020:2020:2020:2020:2020]:2")}},
		"unix":            {v2(0x21, 0x31, path("/a")+path("\x00b")), Header{Source: address.Unix("/a"), Destination: address.Unix("@b")}},
		"unix, no end":    {v2(0x21, 0x31, full+path("")), Header{Source: address.Unix(full), Destination: address.Unix("@")}},
		"tlvs":            {v2(0x21, 0x11, inet+"\xea\x00\x02ab\x04\x00\x00"), Header{Source: addr(t, "192.0.2.1:56324"), Destination: addr(t, "198.51.100.2:443"), TLVs: []TLV{{0xea, []byte("ab")}, {4, nil}}}},
		"local":           {v2(0x20, 0, ""), Header{Local: true}},
		"local and more":  {v2(0x20, 0x55, "what ever"), Header{Local: true}},
		"unspec":          {v2(0x21, 0, ""), Header{Local: true}},
		"unspec and more": {v2(0x21, 0x01, "what ever"), Header{Local: true}},
	} {
		tt.want.Version = 2
		h, err := ParseV2([]byte(tt.in))
		if d := cmp.Diff(tt.want, h, equal); err != nil || d != "" {
			t.Errorf("%s: %v %s", name, err, d)
		}
		if n, err := LengthV2([]byte(tt.in[:PrefixV2])); n != len(tt.in) || err != nil {
			t.Errorf("%s: length %d, %v", name, n, err)
		}
		for i := range tt.in { // No prefix is a header.
			if _, err := ParseV2([]byte(tt.in[:i])); err == nil {
				t.Errorf("%s: the first %d bytes are taken", name, i)
			}
		}
	}
}

func TestHostileV2(t *testing.T) {
	for name, in := range map[string]string{
		"version 1":              v2(0x11, 0x11, inet),
		"version 3":              v2(0x31, 0x11, inet),
		"command 2":              v2(0x22, 0x11, inet),
		"family 4":               v2(0x21, 0x41, inet),
		"no transport":           v2(0x21, 0x10, inet),
		"transport 3":            v2(0x21, 0x13, inet),
		"addresses too short":    v2(0x21, 0x11, inet[:11]),
		"no addresses":           v2(0x21, 0x11, ""),
		"inet for inet6":         v2(0x21, 0x21, inet),
		"inet6 for unix":         v2(0x21, 0x31, strings.Repeat("x", lenInet6)),
		"bytes after":            v2(0x21, 0x11, inet) + "x",
		"65535 that are missing": signature2 + "\x21\x11\xff\xff" + inet,
		"half a TLV":             v2(0x21, 0x11, inet+"\x01\x00"),
		"a TLV over the end":     v2(0x21, 0x11, inet+"\x01\x00\x02a"),
		"a TLV of 65535":         v2(0x21, 0x11, inet+"\x01\xff\xffa"),
		"the second TLV over":    v2(0x21, 0x11, inet+"\x01\x00\x01a\x02\x00\x01"),
		"an unspecified source":  v2(0x21, 0x11, "\x00\x00\x00\x00"+inet[4:]),
		"a multicast source":     v2(0x21, 0x11, "\xe0\x00\x00\x01"+inet[4:]),
		"a broadcast target":     v2(0x21, 0x11, inet[:4]+"\xff\xff\xff\xff"+inet[8:]),
		"a checksum of 3 bytes":  v2(0x21, 0x11, inet+"\x03\x00\x03abc"),
		"a wrong checksum":       v2(0x21, 0x11, inet+"\x03\x00\x04abcd"),
	} {
		if h, err := ParseV2([]byte(in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
	if _, err := LengthV2([]byte("\r\n\r\n\x00\r\nQUIT\r0000")); !errors.Is(err, ErrNoHeader) {
		t.Errorf("another signature: %v", err)
	}
}

func TestChecksum(t *testing.T) {
	b := []byte(v2(0x21, 0x11, inet+"\x01\x00\x01a\x03\x00\x04\x00\x00\x00\x00\x02\x00\x01b"))
	at := len(b) - 8
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	h, err := ParseV2(b)
	if err != nil || len(h.TLVs) != 3 {
		t.Fatal(h, err)
	}
	for i := range b { // Whatever is changed is noticed, but that it is a checksum at all.
		if i == at-3 {
			continue
		}
		b[i] ^= 1
		if h, err := ParseV2(b); err == nil && !h.Local {
			t.Errorf("byte %d flipped: %v", i, h)
		}
		b[i] ^= 1
	}
}

func TestWrite(t *testing.T) {
	for _, tt := range []struct{ src, dst, v1 string }{
		{"192.0.2.1:1", "198.51.100.2:2", "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n"},
		{"[2001:db8::1]:1", "[::1]:2", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n"},
		{"[fe80::1%eth0]:1", "[::1]:2", "PROXY TCP6 fe80::1 ::1 1 2\r\n"},
		{"192.0.2.1:1", "[::1]:2", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"},
		{"/a", "@b", "PROXY UNKNOWN\r\n"},
		{"192.0.2.1:1", "/a", "PROXY UNKNOWN\r\n"},
		{"", "", "PROXY UNKNOWN\r\n"},
	} {
		src, dst := addr(t, tt.src), addr(t, tt.dst)
		b := AppendV1([]byte("x"), src, dst)
		if string(b) != "x"+tt.v1 {
			t.Errorf("%q", b)
		}
		local := src.IsUnix() != dst.IsUnix() || !src.IsValid()
		if src.Addr().Zone() != "" {
			src = address.IP(src.AddrPort())
			src = addr(t, strings.Replace(src.String(), "%eth0", "", 1))
		}
		want := Header{Version: 1, Local: local || src.IsUnix(), Source: src, Destination: dst}
		if want.Local {
			want.Source, want.Destination = address.Addr{}, address.Addr{}
		}
		h, err := ParseV1(b[1:])
		if d := cmp.Diff(want, h, equal); err != nil || d != "" {
			t.Errorf("%q: %v %s", b, err, d)
		}
		want = Header{Version: 2, Local: local, Source: src, Destination: dst, TLVs: []TLV{{1, []byte("a")}, {0xff, nil}}}
		if local {
			want.Source, want.Destination, want.TLVs = address.Addr{}, address.Addr{}, nil
		}
		b, complete := AppendV2([]byte("x"), addr(t, tt.src), dst, []TLV{{1, []byte("a")}, {0xff, nil}})
		h, err = ParseV2(b[1:])
		if d := cmp.Diff(want, h, equal); err != nil || d != "" || !complete {
			t.Errorf("%q: %v %s", b, err, d)
		}
	}
	if h, err := ParseV2(AppendLocalV2(nil)); err != nil || !h.Local {
		t.Error(h, err)
	}
}

// TestTooMuch: TLVs that do not fit are left out.
func TestTooMuch(t *testing.T) {
	big := make([]byte, 65535-lenInet-3)
	b, complete := AppendV2(nil, addr(t, "192.0.2.1:1"), addr(t, "192.0.2.2:1"), []TLV{{1, big}})
	if len(b) != MaxV2 || !complete {
		t.Error(len(b), complete)
	}
	b, complete = AppendV2(nil, addr(t, "192.0.2.1:1"), addr(t, "192.0.2.2:1"), []TLV{{1, big}, {2, nil}})
	if h, err := ParseV2(b); err != nil || len(h.TLVs) != 1 || complete {
		t.Error(len(h.TLVs), err, complete)
	}
}
