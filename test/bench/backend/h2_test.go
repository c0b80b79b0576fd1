// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/test/bench/frame"
)

// client speaks HTTP/2 by prior knowledge, with the small windows that net/http begins with.
func client(t *testing.T) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestHTTP2Answers(t *testing.T) {
	s := start(t)
	c := client(t)
	for _, path := range []string{"/100", "/shop/00042/16k", "/1m", "/100"} {
		res, err := c.Get("http://" + s.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		want := Sizes()[path[bytes.LastIndexByte([]byte(path), '/')+1:]]
		if err != nil || res.ProtoMajor != 2 || res.StatusCode != 200 || n != int64(want) || res.ContentLength != n {
			t.Errorf("%s: %s %d, %d bytes, %v", path, res.Proto, res.StatusCode, n, err)
		}
	}
}

func TestCallsOfGRPC(t *testing.T) {
	s := start(t)
	c := client(t)
	for _, tc := range []struct {
		path     string
		messages int
	}{{UnaryPath, 1}, {StreamPath, StreamLen}, {UnaryPath, 1}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+tc.path, bytes.NewReader(grpcMessage()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/grpc" || res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: %v, trailers %v, %v", tc.path, res, res.Trailer, err)
		}
		if !bytes.Equal(body, bytes.Repeat(grpcMessage(), tc.messages)) {
			t.Errorf("%s: %d bytes that are not %d messages", tc.path, len(body), tc.messages)
		}
	}
}

// TestClientWithoutTable talks to the backend as nginx does, which allows no dynamic table.
func TestClientWithoutTable(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	b := frame.AppendSettings([]byte(frame.Preface), frame.Setting{ID: frame.HeaderTableSize, Value: 0})
	for _, id := range []uint32{1, 3} {
		block.Reset()
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":path", Value: UnaryPath}} {
			if err := enc.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		b = frame.Append(b, frame.Headers, frame.EndHeaders, id, block.Bytes())
		b = frame.Append(b, frame.Data, frame.EndStream, id, grpcMessage())
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	r := http2.NewFramer(nil, c)
	dec := hpack.NewDecoder(0, nil)
	dec.SetAllowedMaxDynamicTableSize(0)
	for blocks := 0; blocks < 4; {
		f, err := r.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		h, ok := f.(*http2.HeadersFrame)
		if !ok {
			continue
		}
		blocks++
		fields, err := dec.DecodeFull(h.HeaderBlockFragment())
		if err != nil {
			t.Fatal(err)
		}
		want := hpack.HeaderField{Name: "content-type", Value: "application/grpc"}
		if h.StreamEnded() {
			want = hpack.HeaderField{Name: "grpc-status", Value: "0"}
		}
		if got := fields[len(fields)-1]; got != want {
			t.Errorf("stream %d: %v, want %v", h.StreamID, got, want)
		}
	}
}

func TestBrokenHTTP2IsClosed(t *testing.T) {
	s := start(t)
	for name, b := range map[string][]byte{
		"preface":   []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\rx"),
		"too large": append([]byte(frame.Preface), 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1),
		"no path":   frame.Append([]byte(frame.Preface), frame.Headers, frame.EndHeaders|frame.EndStream, 1, []byte{0x82}),
		"no hpack":  frame.Append([]byte(frame.Preface), frame.Headers, frame.EndHeaders|frame.EndStream, 1, []byte{0xff, 0xff}),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
			// A reset instead of an end says the same.
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Log(err)
			}
		})
	}
}
