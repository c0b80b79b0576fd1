// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"net/http"
	"strings"
	"testing"

	"weir.dev/weir/proxy/proxytest"
)

// TestRefusedStream: a request that the codec of HTTP/2 refuses is answered, counted
// and logged like one of HTTP/1, and its connection goes on.
func TestRefusedStream(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%"}, proxytest.Answer(proxytest.OK("")))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	for _, tt := range []struct {
		header string
		status int
	}{{strings.Repeat("x", 61<<10), 431}, {"x", 200}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+p.Addr()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-long", tt.header)
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("status %d, want %d", res.StatusCode, tt.status)
		}
	}
	want := []string{"HTTP/2 431 http2.headers_too_large", "HTTP/2 200 via_upstream"}
	for i, line := range p.LogLines(2) {
		if line != want[i] {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
	if n := p.Counter("http.test.downstream_cx_http2_total"); n != 1 {
		t.Errorf("%d connections", n)
	}
}
