// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
)

// masked is a client's frame of b with the given opcode.
func masked(op byte, b []byte) []byte {
	key := [4]byte{1, 2, 3, 4}
	out := []byte{0x80 | op, 0x80 | byte(len(b))}
	if len(b) > 125 {
		out = []byte{0x80 | op, 0x80 | 126, byte(len(b) >> 8), byte(len(b))}
	}
	out = append(out, key[:]...)
	for i, c := range b {
		out = append(out, c^key[i&3])
	}
	return out
}

func TestWebSocketEcho(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The key and what answers it are the example of RFC 6455 §1.3.
	ask := "GET /chat/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := io.WriteString(c, ask); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v, %v", res, err)
	}
	long := bytes.Repeat([]byte("long"), 100)
	sent := append(append(masked(1, []byte("short")), masked(2, long)...), masked(8, nil)...)
	for _, part := range [][]byte{sent[:3], sent[3:20], sent[20:]} {
		if _, err := c.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(r)
	want := append([]byte{0x81, 5}, "short"...)
	want = append(append(want, 0x82, 126, 1, 0x90), long...)
	want = append(want, 0x88, 0)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func TestWebSocketWithoutKey(t *testing.T) {
	s := start(t)
	res, err := http.Get("http://" + s.Addr().String() + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if res.StatusCode != 400 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestDatagramsAreEchoed(t *testing.T) {
	s := start(t)
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "datagram"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "datagram" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func FuzzUnmask(f *testing.F) {
	f.Add(masked(1, []byte("text")))
	f.Add(masked(2, bytes.Repeat([]byte("b"), 300)))
	f.Add([]byte{0x81, 0x7f, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n := unmask(b)
		if n > len(b) || len(frame) > n || (n > 0 && len(frame) < 2) {
			t.Fatalf("a frame of %d bytes out of %d, of %d", len(frame), n, len(b))
		}
	})
}
