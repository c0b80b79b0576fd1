// SPDX-License-Identifier: Apache-2.0

package clienthello

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const limit = 16 << 10

func u16(n int) string               { return string([]byte{byte(n >> 8), byte(n)}) }
func block8(s string) string         { return string([]byte{byte(len(s))}) + s }
func block16(s string) string        { return u16(len(s)) + s }
func ext(id int, data string) string { return u16(id) + block16(data) }
func nums(n ...int) string {
	s := ""
	for _, v := range n {
		s += u16(v)
	}
	return s
}
func sni(names ...string) string {
	s := ""
	for _, n := range names {
		s += "\x00" + block16(n)
	}
	return ext(0, block16(s))
}
func alpn(ps ...string) string {
	s := ""
	for _, p := range ps {
		s += block8(p)
	}
	return ext(16, block16(s))
}

// body is a ClientHello without its header.
func body(version int, suites, extensions string) string {
	s := u16(version) + strings.Repeat("r", 32) + block8("") + block16(suites) + block8("\x00")
	if extensions != "" {
		s += block16(extensions)
	}
	return s
}

func message(body string) string {
	return "\x01" + string([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}) + body
}

// records splits a message into records of n bytes.
func records(msg string, n int) string {
	s := ""
	for len(msg) > 0 {
		k := min(n, len(msg))
		s += "\x16\x03\x01" + block16(msg[:k])
		msg = msg[k:]
	}
	return s
}

// read scans and parses s as it would arrive: byte by byte.
func read(t *testing.T, s string) (Hello, error) {
	t.Helper()
	for n, want := 1, 1; n <= len(s); n++ {
		b := []byte(s[:n])
		hello, used, w, err := Scan(b, limit)
		if err != nil {
			return Hello{}, err
		}
		if w == 0 {
			if used != n {
				t.Errorf("%d of %d bytes used", used, n)
			}
			return Parse(hello)
		}
		if w <= n || n >= want && w > len(s) {
			t.Fatalf("with %d of %d bytes it wants %d", n, len(s), w)
		}
		want = w
	}
	t.Fatalf("the ClientHello of %d bytes never ends", len(s))
	return Hello{}, nil
}

func TestRead(t *testing.T) {
	for _, size := range []int{1, 2, 3, 5, 100, maxRecord} {
		h, err := read(t, records(message(body(0x0303, nums(0x1301), sni("a.TEST")+alpn("h2", "http/1.1"))), size))
		if err != nil {
			t.Fatalf("records of %d: %v", size, err)
		}
		if h.ServerName() != "a.test" || cmp.Diff(h.Protocols(), []string{"h2", "http/1.1"}) != "" {
			t.Errorf("records of %d: %q, %q", size, h.ServerName(), h.Protocols())
		}
	}
}

// TestReal reads what crypto/tls says.
func TestReal(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _ = b.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := tls.Client(a, &tls.Config{ServerName: "Real.Example.com", NextProtos: []string{"h2"}, InsecureSkipVerify: true})
		if c.Handshake() == nil {
			t.Error("a handshake with nobody succeeded")
		}
		_ = a.Close()
	}()
	buf := make([]byte, 1<<14)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	hello, _, want, err := Scan(buf[:n], limit)
	if err != nil || want != 0 {
		t.Fatal(want, err)
	}
	h, err := Parse(hello)
	if err != nil || h.ServerName() != "real.example.com" || h.Protocols()[0] != "h2" || !strings.HasPrefix(h.JA4(), "t13d") {
		t.Errorf("%q %q %s %v", h.ServerName(), h.Protocols(), h.JA4(), err)
	}
	_ = b.Close()
	<-done
}

func TestHostile(t *testing.T) {
	suites := nums(0x1301)
	good := body(0x0303, suites, sni("a"))
	for name, tt := range map[string]struct {
		in   string
		want error
	}{
		"cleartext":               {"GET / HTTP/1.1\r\n", ErrNotTLS},
		"another version":         {"\x16\x02\x01\x00\x10", ErrNotTLS},
		"an alert":                {"\x15\x03\x01\x00\x02\x01\x00", ErrNotTLS},
		"an empty record":         {"\x16\x03\x01\x00\x00", ErrNotTLS},
		"a record too long":       {"\x16\x03\x01\x40\x01", ErrNotTLS},
		"a ServerHello":           {records("\x02\x00\x00\x01x", 100), ErrMalformed},
		"an alert between":        {records(message(good), 10)[:15] + "\x15\x03\x01\x00\x02\x01\x00", ErrMalformed},
		"an empty record between": {records(message(good), 10)[:15] + "\x16\x03\x01\x00\x00", ErrMalformed},
		"16 MiB":                  {"\x16\x03\x01\x40\x00\x01\xff\xff\xff", ErrTooLarge},
		"too large":               {"\x16\x03\x01\x40\x00\x01\x00\x3f\xf8", ErrTooLarge},
		"many records":            {records("\x01\x00\x3f\xf0"+strings.Repeat("x", 4000), 1), ErrTooLarge},
		"nothing":                 {records(message(""), 100), ErrMalformed},
		"no suites":               {records(message(body(0x0303, "", "")), 100), ErrMalformed},
		"half a suite":            {records(message(body(0x0303, "\x13", "")), 100), ErrMalformed},
		"bytes after":             {records(message(good+"x"), 100), ErrMalformed},
		"extensions overlap":      {records(message(body(0x0303, suites, "\x00\x00\xff\xff\x00")), 100), ErrMalformed},
		"half an extension":       {records(message(body(0x0303, suites, "\x00\x00\x00")), 100), ErrMalformed},
		"two lists of names":      {records(message(body(0x0303, suites, sni("a")+sni("b"))), 100), ErrMalformed},
		"two names":               {records(message(body(0x0303, suites, sni("a", "b"))), 100), ErrMalformed},
		"a name of another type":  {records(message(body(0x0303, suites, ext(0, block16("\x01"+block16("a"))))), 100), ErrMalformed},
		"an empty name":           {records(message(body(0x0303, suites, sni(""))), 100), ErrMalformed},
		"no name":                 {records(message(body(0x0303, suites, ext(0, ""))), 100), ErrMalformed},
		"a list too long":         {records(message(body(0x0303, suites, ext(0, "\x00\xff\x00\x00\x01a"))), 100), ErrMalformed},
		"a list too short":        {records(message(body(0x0303, suites, ext(0, "\x00\x03\x00\x00\x01a"))), 100), ErrMalformed},
		"a name with NUL":         {records(message(body(0x0303, suites, sni("a\x00b"))), 100), ErrMalformed},
		"a name of 256 bytes":     {records(message(body(0x0303, suites, sni(strings.Repeat("a", 256)))), 1000), ErrMalformed},
		"SSL 2 in it":             {records(message(body(0x0002, suites, "")), 100), ErrMalformed},
		"a session of 33 bytes":   {records(message(u16(0x0303)+strings.Repeat("r", 32)+block8(strings.Repeat("s", 33))+block16(suites)+block8("\x00")), 1000), ErrMalformed},
	} {
		if _, err := read(t, tt.in); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// TestTruncated: a body that ends anywhere is never taken for a whole one.
func TestTruncated(t *testing.T) {
	whole := body(0x0303, nums(0x1301, 0x1302), sni("a.test")+alpn("h2"))
	for n := range whole {
		_, err := Parse([]byte(whole[:n]))
		// Without extensions it is whole again: RFC 8446 §4.1.2.
		if bare := len(body(0x0303, nums(0x1301, 0x1302), "")); (err == nil) != (n == bare) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"A.Test": "a.test", "a.test.": "a.test.", "192.0.2.1": "192.0.2.1", "2001:DB8::1": "2001:db8::1", "\xff\x01": "\xff\x01",
	} {
		h, err := read(t, records(message(body(0x0301, nums(1), sni(in))), 1000))
		if got := h.ServerName(); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestProtocols(t *testing.T) {
	for data, want := range map[string][]string{
		block16(block8("h2")):       {"h2"},
		"":                          nil,
		block16(""):                 nil,
		block16("\x00"):             nil,
		block16("\x05h2"):           nil,
		block16(block8("h2")) + "x": nil,
		u16(9) + block8("h2"):       nil,
	} {
		h, err := Parse([]byte(body(0x0303, nums(1), ext(16, data))))
		if d := cmp.Diff(want, h.Protocols()); err != nil || d != "" {
			t.Errorf("%q: %v %s", data, err, d)
		}
	}
}

// TestJA3 has the examples of the JA3 specification.
func TestJA3(t *testing.T) {
	for _, tt := range []struct{ hello, want string }{
		{body(769, nums(0x4a4a, 47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4),
			ext(0x5a5a, "")+sni("a")+ext(10, block16(nums(0x1a1a, 23, 24, 25)))+ext(11, block8("\x00"))), "ada70206e40642a3e4461f35503241d5"},
		{body(769, nums(4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99), ""), "de350869b8c85de67a350c8d186f11e6"},
	} {
		h, err := Parse([]byte(tt.hello))
		if got := h.JA3(); err != nil || got != tt.want {
			t.Errorf("%s, %v, want %s", got, err, tt.want)
		}
	}
}

// TestJA4 has the example of the JA4 specification, and what is at its edges.
func TestJA4(t *testing.T) {
	suites := nums(0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x9c, 0x9d, 0x2f, 0x35)
	rest := ext(0x17, "") + ext(0xff01, "\x00") + ext(10, block16(nums(0x0a0a, 29))) + ext(11, block8("\x00")) + ext(0x23, "") +
		ext(5, "x") + ext(0x0d, block16(nums(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601))) + ext(0x12, "") +
		ext(0x33, "") + ext(0x2d, "") + ext(43, block8(nums(0x9a9a, 0x0304, 0x0303))) + ext(0x1b, "") + ext(0x4469, "") + ext(0x15, "")
	for _, tt := range []struct{ hello, want string }{
		{body(0x0303, suites, ext(0x7a7a, "")+sni("a.test")+alpn("h2", "http/1.1")+rest), "t13d1516h2_8daaf6152771_e5627efa2ab1"},
		{body(0x0303, suites, alpn("\xab\xcd")+rest), "t13i1515ad_8daaf6152771_e5627efa2ab1"},
		{body(0x0301, nums(0x0a0a), ""), "t10i000000_000000000000_000000000000"},
		{body(0x0300, strings.Repeat(nums(1), 120), alpn("x")), "ts3i9901xx_"},
		{body(0x0303, nums(1), ext(43, "")), "t12i010100_"},
	} {
		h, err := Parse([]byte(tt.hello))
		if got := h.JA4(); err != nil || !strings.HasPrefix(got, tt.want) || len(got) != 36 {
			t.Errorf("%s, %v, want %s", got, err, tt.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	s := []byte(records(message(body(0x0303, nums(0x1301), sni("a.test")+alpn("h2"))), 40))
	b := make([]byte, len(s))
	got := testing.AllocsPerRun(100, func() {
		copy(b, s)
		hello, _, _, err := Scan(b, limit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(hello); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}
