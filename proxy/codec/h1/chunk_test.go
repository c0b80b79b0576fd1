// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/codec"
	"weir.dev/weir/proxy/header"
)

// decodeChunked runs a decoder over in, which arrives in pieces of size bytes, and
// returns the payload, the trailers and what is left.
func decodeChunked(c *Chunked, trailers *header.Map, in []byte, size int) (string, error) {
	var data strings.Builder
	start, end := 0, 0
	for {
		n, d, done, err := c.Next(in[start:end])
		start += n
		data.Write(d)
		switch {
		case err != nil:
			return data.String(), err
		case done:
			s := data.String()
			for name, v := range trailers.All() {
				s += fmt.Sprintf("|%s=%s", name, v)
			}
			return s + "|" + string(in[start:]), nil
		case n == 0 && end == len(in):
			return data.String() + " waits", nil
		case n == 0:
			end = min(end+size, len(in))
		}
	}
}

type chunkRow struct {
	in, want string
	err      *codec.Error
}

// chunkRows are read with at most 3 trailers of 100 bytes.
func chunkRows() []chunkRow {
	q := strings.Repeat("q", 4100)
	return []chunkRow{
		{"5\r\nhello\r\n0\r\n\r\nrest", "hello|rest", nil},
		{"0\r\n\r\n", "|", nil},
		{"000\r\n\r\n", "|", nil},
		{"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc|", nil},
		{"A\r\n0123456789\r\n0\r\n\r\n", "0123456789|", nil},
		{"a\r\n0123456789\r\n0\r\n\r\n", "0123456789|", nil},
		{"0000000000000001\r\nx\r\n0\r\n\r\n", "x|", nil},
		{"2\r\n\r\n\r\n0\r\n\r\n", "\r\n|", nil},
		{"1;a\r\nx\r\n0;b\r\n\r\n", "x|", nil},
		{"1;a=b;c;d=\"e;\\\" \t\xff\r\"\r\nx\r\n0\r\n\r\n", "", errChunkExt},
		{"1;a=b;c;d=\"e;\\\" \t\xff\"\r\nx\r\n0\r\n\r\n", "x|", nil},
		{"1 ; a = b ; c\t=\t\"d\" ;e\r\nx\r\n0\r\n\r\n", "x|", nil},
		{"0\r\nX-Sum: 1\r\nY:2\r\n\r\nrest", "|x-sum=1|y=2|rest", nil},
		{"0\r\nContent-Length: 1\r\nHost: a\r\nX-Forwarded-For: b\r\n\r\n", "|", nil},
		{"0\r\nTransfer-Encoding: chunked\r\nTE: a\r\nx-a: 1\r\n\r\n", "|x-a=1|", nil},
		{"0\r\nMax-Forwards: 1\r\nX-Envoy-Internal: 1\r\nSet-Cookie: 1\r\n\r\n", "|", nil},
		{"5\r\nhel", "hel waits", nil},
		{"5", " waits", nil},
		{"0\r\n\r", " waits", nil},
		{"0\r\nx: 1\r\n", " waits", nil},

		{"\r\n", "", errChunkSize},
		{";a\r\n", "", errChunkSize},
		{"g\r\n", "", errChunkSize},
		{" 5\r\nhello\r\n", "", errChunkSize},
		{"+5\r\nhello\r\n", "", errChunkSize},
		{"-5\r\nhello\r\n", "", errChunkSize},
		{"0x5\r\nhello\r\n", "", errChunkSize},
		{"5_0\r\nhello\r\n", "", errChunkSize},
		{"5.\r\nhello\r\n", "", errChunkSize},
		{"5,\r\nhello\r\n", "", errChunkSize},
		{"5\x00\r\nhello\r\n", "", errChunkSize},
		{"00000000000000005\r\nhello\r\n", "", errChunkSize},
		{"8000000000000000\r\n", "", errChunkSize},
		{"ffffffffffffffff\r\n", "", errChunkSize},
		{"10000000000000005\r\nhello\r\n", "", errChunkSize},
		{"5 \r\nhello\r\n", "", errChunkExt},
		{"5\t\r\nhello\r\n", "", errChunkExt},
		{"5 5\r\nhello\r\n", "", errChunkExt},
		{"5\nhello\r\n0\r\n\r\n", "", errBareLF},
		{"5\rhello\r\n0\r\n\r\n", "", errBareCR},
		{"5\r\r\nhello\r\n", "", errBareCR},
		{"5;\r\nhello\r\n", "", errChunkExt},
		{"5;a\nhello\r\n", "", errBareLF},
		{"5;\nhello\r\n", "", errBareLF},
		{"5;a=\r\nhello\r\n", "", errChunkExt},
		{"5;a \r\nhello\r\n", "", errChunkExt},
		{"5;=b\r\nhello\r\n", "", errChunkExt},
		{"5;a=b=c\r\nhello\r\n", "", errChunkExt},
		{"5;a b\r\nhello\r\n", "", errChunkExt},
		{"5;a=b c\r\nhello\r\n", "", errChunkExt},
		{"5;a=\"b\r\nhello\r\n", "", errChunkExt},
		{"5;a=\"b\nc\"\r\nhello\r\n", "", errBareLF},
		{"5;a=\"b\\\n\"\r\nhello\r\n", "", errBareLF},
		{"5;a=\"b\"c\r\nhello\r\n", "", errChunkExt},
		{"5;a\x00\r\nhello\r\n", "", errChunkExt},
		{"5;a=b\rX\r\nhello\r\n", "", errBareCR},
		{"5;a=\"\x0b\"\r\nhello\r\n", "", errChunkExt},
		{"5;a\x80=\r\nhello\r\n", "", errChunkExt},
		{"5;" + q + "\r\nhello\r\n", "", errChunkExts},
		{strings.Repeat("1;"+q[:1500]+"\r\nx\r\n", 3), "xx", errChunkExts},
		{"5\r\nhello0\r\n\r\n", "hello", errChunkEnd},
		{"5\r\nhello\n0\r\n\r\n", "hello", errChunkEnd},
		{"5\r\nhello\r0\r\n\r\n", "hello", errChunkEnd},
		{"5\r\nhelloXX0\r\n\r\n", "hello", errChunkEnd},
		{"5\r\nhello!\r\n0\r\n\r\n", "hello", errChunkEnd},
		{"0\r\n\n", "", errBareLF},
		{"0\r\n\rX", "", errBareCR},
		{"0\r\nx: 1\n\r\n", "", errBareLF},
		{"0\r\n x: 1\r\n\r\n", "", errFold},
		{"0\r\nx: 1\r\n y\r\n\r\n", "", errFold},
		{"0\r\nx : 1\r\n\r\n", "", errSpaceColon},
		{"0\r\nx\r\n\r\n", "", errNoColon},
		{"0\r\nx: \x00\r\n\r\n", "", errValue},
		{"0\r\nGET / HTTP/1.1\r\n\r\n", "", errSpaceColon},
		{"0\r\na:\r\nb:\r\nc:\r\nd:\r\n\r\n", "", errMany},
		{"0\r\na:" + q[:100] + "\r\n\r\n", "", errTrailers},
		{"0\r\n" + q[:101], "", errTrailers},
	}
}

func TestChunked(t *testing.T) {
	o := &Options{EnableTrailers: true, MaxHeaders: 3, MaxTrailerBytes: 100}
	for _, tt := range chunkRows() {
		for _, size := range []int{len(tt.in), 1, 2, 3, 7} {
			var c Chunked
			var trailers header.Map
			c.Reset(o, &trailers, false)
			got, err := decodeChunked(&c, &trailers, []byte(tt.in), size)
			if tt.err != nil && !errors.Is(err, tt.err) && size == len(tt.in) || (err != nil) != (tt.err != nil) || got != tt.want {
				if len(tt.in) > 80 {
					tt.in = tt.in[:80]
				}
				t.Errorf("%q in pieces of %d: got %q %v want %q %v", tt.in, size, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestChunkedOptions(t *testing.T) {
	const in = "0\r\na_b: 1\r\nc: 2\r\n\r\n"
	for _, tt := range []struct {
		o        *Options
		response bool
		want     string
		status   int
	}{
		{nil, false, "|", 0},
		{&Options{}, false, "|", 0},
		{&Options{EnableTrailers: true}, false, "|a_b=1|c=2|", 0},
		{&Options{EnableTrailers: true, Underscores: codec.UnderscoresDrop}, false, "|c=2|", 0},
		{&Options{EnableTrailers: true, Underscores: codec.UnderscoresReject}, false, "", 400},
		{&Options{EnableTrailers: true, Underscores: codec.UnderscoresReject}, true, "|a_b=1|c=2|", 0},
		{&Options{MaxHeaders: 1}, true, "", 502},
	} {
		var c Chunked
		var trailers header.Map
		c.Reset(tt.o, &trailers, tt.response)
		got, err := decodeChunked(&c, &trailers, []byte(in), len(in))
		status := 0
		if err != nil {
			status = err.(*codec.Error).Status
			if _, _, _, again := c.Next([]byte("5")); again != err {
				t.Errorf("went on after an error: %v", again)
			}
		}
		if got != tt.want || status != tt.status {
			t.Errorf("%+v: got %q %v want %q %d", tt.o, got, err, tt.want, tt.status)
		}
	}
}

// TestChunkedIsLinear decodes a large body of one-byte chunks that arrive one
// byte at a time: each byte may be looked at only a few times.
func TestChunkedIsLinear(t *testing.T) {
	const chunks = 20000
	in := []byte(strings.Repeat("1\r\nx\r\n", chunks) + "0\r\n\r\n")
	var c Chunked
	var trailers header.Map
	c.Reset(nil, &trailers, false)
	calls, start := 0, 0
	for end := 1; end <= len(in); end++ {
		n, _, _, err := c.Next(in[start:end])
		if err != nil {
			t.Fatal(err)
		}
		if end-start > 2 {
			t.Fatalf("%d bytes were left over", end-start)
		}
		start += n
		calls++
	}
	if _, _, done, _ := c.Next(nil); !done || calls != len(in) {
		t.Fatalf("done %v after %d calls for %d bytes", done, calls, len(in))
	}
}

func TestAppendChunks(t *testing.T) {
	var trailers header.Map
	trailers.Add(header.NewName("x-sum"), "1")
	trailers.Add(header.ContentLength, "1")
	out := AppendChunk(nil, []byte(strings.Repeat("x", 300)))
	out = AppendChunk(out, nil)
	out, err := AppendLastChunk(out, &trailers, &Framing{Case: ProperCase})
	if want := "12c\r\n" + strings.Repeat("x", 300) + "\r\n0\r\nX-Sum: 1\r\n\r\n"; err != nil || string(out) != want {
		t.Fatalf("%q %v", out, err)
	}
	trailers.Add(header.NewName("x-bad"), "a\r\nb")
	if out, err := AppendLastChunk([]byte("k"), &trailers, nil); err == nil || string(out) != "k" {
		t.Fatalf("%q %v", out, err)
	}
	if out, err := AppendLastChunk(nil, nil, nil); err != nil || string(out) != "0\r\n\r\n" {
		t.Fatalf("%q %v", out, err)
	}
}
