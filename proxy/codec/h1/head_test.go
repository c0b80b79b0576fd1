// SPDX-License-Identifier: Apache-2.0

package h1

import (
	"fmt"
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

// dump writes a parsed message in one line: the map's fields, then the framing.
func dump(h *Head, m *header.Map) string {
	var b strings.Builder
	for n, v := range m.All() {
		fmt.Fprintf(&b, "%s=%s|", n, v)
	}
	b.WriteString(strings.TrimPrefix(h.Version.String(), "HTTP/"))
	if h.ContentLength >= 0 {
		fmt.Fprintf(&b, " cl=%d", h.ContentLength)
	}
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"chunked", h.Chunked}, {"untilclose", h.UntilClose}, {"body", h.HasBody}, {"close", !h.KeepAlive},
		{"upgrade", h.Upgrade}, {"tunnel", h.Tunnel}, {"100", h.Expect100}, {"absolute", h.Absolute},
	} {
		if f.on {
			b.WriteString(" " + f.name)
		}
	}
	return b.String()
}

// readRequest parses a request given in one piece.
func readRequest(t testing.TB, o *Options, in string) (string, error) {
	t.Helper()
	var p Parser
	var m header.Map
	p.Reset(o)
	n, done, err := p.Request([]byte(in), &m)
	if err != nil {
		return "", err
	}
	if !done {
		return fmt.Sprintf("waits after %d", n), nil
	}
	if n != p.Head().Size || n > len(in) {
		t.Errorf("consumed %d of %d, size %d", n, len(in), p.Head().Size)
	}
	return dump(p.Head(), &m), nil
}
