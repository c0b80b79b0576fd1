// SPDX-License-Identifier: Apache-2.0

package proxytest_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestKit(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("one"), proxytest.OK("two")))
	p := proxytest.Start(t, proxytest.Edge{AccessLog: "%REQ(:METHOD)% %RESPONSE_CODE%"}.YAML(), proxytest.Options{
		Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()},
	})
	c := p.Dial()
	if r := c.Do("GET /a HTTP/1.1\r\nhost: x\r\n\r\n"); r.StatusCode != 200 || r.Content != "one" || r.Err != nil {
		t.Errorf("first response: %v %v", r, r.Err)
	}
	if r := c.Do("POST /b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"); r.Content != "two" {
		t.Errorf("second response: %v", r)
	}
	reqs := up.WaitRequests(2)
	if !strings.HasPrefix(reqs[0], "GET /a HTTP/1.1\r\nhost: x\r\n") || !strings.HasSuffix(reqs[1], "\r\n\r\n3\r\nabc\r\n0\r\n\r\n") {
		t.Errorf("requests: %q", reqs)
	}
	if got := up.Received(); len(got) != 1 || got[0] != reqs[0]+reqs[1] {
		t.Errorf("received %q, but the requests are %q", got, reqs)
	}
	p.WaitCounter("http.test.downstream_rq_2xx", 2)
	if got := p.LogLines(2); len(got) != 2 || got[0] != "GET 200" || got[1] != "POST 200" {
		t.Errorf("access log: %q", got)
	}
	c.Close()
	p.WaitGauge("http.test.downstream_cx_active", 0)
}

func TestUpdate(t *testing.T) {
	up := proxytest.NewUpstream(t, proxytest.Answer(proxytest.OK("ok")))
	o := proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": up.Addr()}}
	p := proxytest.Start(t, proxytest.Edge{}.YAML(), o)
	c := p.Dial()
	if r := c.Do("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); r.StatusCode != 200 {
		t.Fatalf("before the update: %v", r)
	}
	problems := p.Update(proxytest.Edge{Routes: `- {match: {prefix: /}, direct_response: {status: 204}}`}.YAML())
	if len(problems) > 0 {
		t.Fatalf("update: %v", problems)
	}
	if r := p.Do("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); r.StatusCode != 204 {
		t.Errorf("after the update: %v", r)
	}
	if _, err := proxytest.TryStart(t, proxytest.Edge{Manager: "codec_type: HTTP3"}.YAML(), o); err == nil {
		t.Error("a bootstrap with a codec that is not served was not refused")
	}
}
