// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const upgrade = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// socket opens a WebSocket.
func socket(t *testing.T, s *Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, upgrade); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The value is that of the example in RFC 6455 §1.3.
	if got := resp.Header.Get("Sec-WebSocket-Accept"); resp.StatusCode != 101 || got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%s, accept %q", resp.Status, got)
	}
	return c, r
}

// masked is a client's frame whose mask is "abcd".
func masked(head byte, length []byte, payload string) string {
	b := append([]byte{head, length[0] | 0x80}, length[1:]...)
	b = append(b, "abcd"...)
	for i := range len(payload) {
		b = append(b, payload[i]^"abcd"[i%4])
	}
	return string(b)
}

func TestWebSocket(t *testing.T) {
	long, longer := strings.Repeat("x", 300), strings.Repeat("y", 70000)
	tests := []struct{ name, in, want string }{
		{"text", masked(0x81, []byte{5}, "hello"), "\x81\x05hello"},
		{"empty binary", masked(0x82, []byte{0}, ""), "\x82\x00"},
		{"two bytes of length", masked(0x82, []byte{126, 1, 44}, long), "\x82\x7e\x01\x2c" + long},
		{"eight bytes of length", masked(0x82, []byte{127, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, longer), "\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70" + longer},
		{"ping", masked(0x89, []byte{2}, "hi"), "\x8a\x02hi"},
		{"pong is not answered", masked(0x8a, []byte{2}, "hi") + masked(0x81, []byte{1}, "a"), "\x81\x01a"},
	}
	c, r := socket(t, start(t, "127.0.0.1:0"))
	for _, tt := range tests {
		if _, err := io.WriteString(c, tt.in); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(tt.want))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, []byte(tt.want)) {
			t.Errorf("%s: got %.40q, %v", tt.name, got, err)
		}
	}
	for name, in := range map[string]string{
		"close":      masked(0x88, []byte{2}, "\x03\xe8"),
		"not masked": "\x81\x01a",
		"too long":   masked(0x81, []byte{127, 0, 0, 0, 1, 0, 0, 0, 0}, ""),
	} {
		c, r := socket(t, start(t, "127.0.0.1:0"))
		if _, err := io.WriteString(c, in); err != nil {
			t.Fatal(err)
		}
		want := ""
		if name == "close" {
			want = "\x88\x02\x03\xe8"
		}
		// What of the input was not read may turn the end into a reset.
		if got, _ := io.ReadAll(r); string(got) != want {
			t.Errorf("%s: got %q, want %q and the end", name, got, want)
		}
	}
}

func TestCloseEndsWebSockets(t *testing.T) {
	s, err := Listen("orders", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, r := socket(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the WebSocket is still open")
	}
}
