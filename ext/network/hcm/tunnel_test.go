// SPDX-License-Identifier: Apache-2.0

package hcm_test

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/proxy/proxytest"
)

const websocket = "GET /ws HTTP/1.1\r\nhost: a.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n"

// switching grants an upgrade and then echoes.
func switching(s *proxytest.Session) {
	head, err := s.Head()
	if err != nil {
		return
	}
	s.Note(head)
	_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello")
	for {
		b, err := s.ReadN(4)
		if err != nil {
			return
		}
		_ = s.Send(strings.ToUpper(b))
	}
}

func TestUpgrade(t *testing.T) {
	p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: "upgrade_configs: [{upgrade_type: websocket}]"}, switching)
	c := p.Dial()
	c.Send(websocket + "ping")
	head := c.ReadHead()
	if !strings.HasPrefix(head, "HTTP/1.1 101 Switching Protocols\r\n") || proxytest.Field(head, "connection") != "upgrade" || proxytest.Field(head, "upgrade") != "websocket" {
		t.Fatalf("%q", head)
	}
	if proxytest.Field(head, "content-length")+proxytest.Field(head, "transfer-encoding") != "" {
		t.Errorf("101 with framing: %q", head)
	}
	if got := c.ReadN(9); got != "helloPING" {
		t.Errorf("%q", got)
	}
	c.Send("more")
	if got := c.ReadN(4); got != "MORE" {
		t.Errorf("%q", got)
	}
	if n := p.Gauge("http.test.downstream_cx_upgrades_active"); n != 1 {
		t.Errorf("downstream_cx_upgrades_active is %d", n)
	}
	got := up.WaitRequests(1)[0]
	if proxytest.Field(got, "connection") != "upgrade" || proxytest.Field(got, "upgrade") != "websocket" || proxytest.Field(got, "sec-websocket-key") != "k" {
		t.Errorf("the upstream got %q", got)
	}
	c.Close()
	wantLog(t, p, "GET 101 ")
	p.WaitGauge("http.test.downstream_cx_upgrades_active", 0)
	p.WaitGauge("cluster.up.upstream_cx_active", 0)
}

// TestUpgradeHalfClose: each side's end reaches the other, and the other
// direction goes on.
func TestUpgradeHalfClose(t *testing.T) {
	p, _ := start(t, proxytest.Edge{Manager: "upgrade_configs: [{upgrade_type: websocket}]"}, func(s *proxytest.Session) {
		if _, err := s.Head(); err != nil {
			return
		}
		_ = s.Send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
		b, err := s.ReadAll()
		if err != nil {
			return
		}
		late := time.NewTimer(1200 * time.Millisecond)
		defer late.Stop()
		<-late.C
		_ = s.Send("got " + b)
	})
	c := p.Dial()
	c.Send(websocket)
	c.ReadHead()
	c.Send("all")
	c.CloseWrite()
	if got, reset := c.ReadAll(); got != "got all" || reset {
		t.Errorf("%q, reset %v", got, reset)
	}
}

func TestUpgradeRefused(t *testing.T) {
	for _, tt := range []struct {
		name, manager, routes string
		status                int
	}{
		{"nowhere", "", "", 403},
		{"other type", "upgrade_configs: [{upgrade_type: spdy}]", "", 403},
		{"manager says no", "upgrade_configs: [{upgrade_type: websocket, enabled: false}]", "", 403},
		{"route says no", "upgrade_configs: [{upgrade_type: websocket}]",
			`- {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}`, 403},
		{"route says yes", "", `- {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: WebSocket}]}}`, 101},
		{"route says yes, manager no", "upgrade_configs: [{upgrade_type: websocket, enabled: false}]",
			`- {match: {prefix: /}, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket, enabled: true}]}}`, 101},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, up := start(t, proxytest.Edge{AccessLog: flags, Manager: tt.manager, Routes: tt.routes}, switching)
			c := p.Dial()
			c.Send(websocket)
			if r := c.Response("GET"); r.StatusCode != tt.status {
				t.Fatalf("%v", r)
			}
			if tt.status != 101 {
				if n := len(up.Received()); n > 0 {
					t.Errorf("the upstream got %q", up.Received())
				}
				wantLog(t, p, "GET 403 - upgrade_failed")
			}
		})
	}
}

// TestUpgradeIgnoredByUpstream: an upstream that answers 200 has refused, and
// what the client sent behind its request is the next request.
func TestUpgradeIgnoredByUpstream(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "upgrade_configs: [{upgrade_type: websocket}]"}, mirror)
	c := p.Dial()
	c.Send(websocket + get("/second"))
	if r := c.Response("GET"); r.StatusCode != 200 || r.Content != "GET /ws HTTP/1.1|" {
		t.Fatalf("%v", r)
	}
	if r := c.Response("GET"); r.StatusCode != 200 || r.Content != "GET /second HTTP/1.1|" {
		t.Errorf("%v", r)
	}
	got := up.WaitRequests(2)
	if strings.Contains(got[0], "/second") || !strings.HasPrefix(got[1], "GET /second HTTP/1.1\r\n") {
		t.Errorf("the upstream got %q", got)
	}
}

// TestUpgradeNotAsked: an upstream cannot switch protocols by itself.
func TestUpgradeNotAsked(t *testing.T) {
	p, _ := start(t, proxytest.Edge{AccessLog: flags, Manager: "upgrade_configs: [{upgrade_type: websocket}]"}, switching)
	if r := p.Do(get("/")); r.StatusCode != 502 {
		t.Errorf("%v", r)
	}
	wantLog(t, p, "GET 502 UPE ")
}

const h2cOffer = "GET /first HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: "

// TestH2CIgnored: an offer to go on in HTTP/2 is as if it were not there where the
// configuration does not have it, and where it is not as it should be.
func TestH2CIgnored(t *testing.T) {
	const on = "upgrade_configs: [{upgrade_type: h2c}, {upgrade_type: websocket}]"
	for _, tt := range []struct{ name, manager, offer string }{
		{"not configured", "upgrade_configs: [{upgrade_type: websocket}]", "AAMAAABkAAQCAAAAAAIAAAAA\r\n"},
		{"disabled", "upgrade_configs: [{upgrade_type: h2c, enabled: false}]", "AAMAAABkAAQCAAAAAAIAAAAA\r\n"},
		{"HTTP/1 alone", "codec_type: HTTP1\n" + on, "AAMAAABkAAQCAAAAAAIAAAAA\r\n"},
		{"not base64url", on, "AAM+\r\n"},
		{"half a setting", on, "AAMAAA\r\n"},
		{"a window too large", on, "AAT_____\r\n"},
		{"two", on, "AAMAAABk\r\nhttp2-settings: AAMAAABk\r\n"},
		{"with content", on, "AAMAAABk\r\ncontent-length: 1\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, up := start(t, proxytest.Edge{Manager: tt.manager}, mirror)
			c := p.Dial()
			c.Send(h2cOffer+tt.offer+"\r\n", "x"[:strings.Count(tt.offer, "content-length")])
			if r := c.Response("GET"); r.StatusCode != 200 {
				t.Errorf("%v", r)
			}
			got := up.WaitRequests(1)[0]
			for _, n := range []string{"upgrade", "http2-settings", "connection"} {
				if v := proxytest.Field(got, n); v != "" {
					t.Errorf("the upstream got %s: %s", n, v)
				}
			}
		})
	}
}

// TestH2CUpgrade: the request that offers to go on in HTTP/2 is the first stream, and
// others follow.
func TestH2CUpgrade(t *testing.T) {
	p, up := start(t, proxytest.Edge{Manager: "upgrade_configs: [{upgrade_type: h2c}]"}, proxytest.Answer(proxytest.OK("hello")))
	c := p.Dial()
	// The client's preface may come right behind.
	c.Send(h2cOffer+"AAMAAABkAAQAAP__\r\n\r\n", http2.ClientPreface)
	r := bufio.NewReader(c.Conn())
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("upgrade") != "h2c" {
		t.Fatalf("%v %v", res, err)
	}
	w := http2.NewFramer(c.Conn(), r)
	if err := w.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/second"}} {
		if err := e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		t.Fatal(err)
	}
	bodies := map[uint32]string{}
	for ended := 0; ended < 2; {
		f, err := w.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*http2.DataFrame); ok {
			bodies[d.StreamID] += string(d.Data())
		}
		if f.Header().Flags.Has(http2.FlagDataEndStream) && (f.Header().Type == http2.FrameData || f.Header().Type == http2.FrameHeaders) {
			ended++
		}
	}
	if bodies[1] != "hello" || bodies[3] != "hello" {
		t.Errorf("%v", bodies)
	}
	got := up.WaitRequests(2)
	slices.Sort(got)
	if !strings.HasPrefix(got[0], "GET /first ") || !strings.HasPrefix(got[1], "GET /second ") || proxytest.Field(got[0], "upgrade") != "" {
		t.Errorf("%q", got)
	}
	if n := p.Counter("http.test.downstream_cx_http2_total"); n != 1 {
		t.Errorf("%d connections of HTTP/2", n)
	}
}

func TestConnect(t *testing.T) {
	p, up := start(t, proxytest.Edge{
		Manager: "upgrade_configs: [{upgrade_type: CONNECT}]",
		Routes:  `- {match: {connect_matcher: {}}, route: {cluster: up}}`,
	}, func(s *proxytest.Session) {
		head, err := s.Head()
		if err != nil {
			return
		}
		s.Note(head)
		_ = s.Send("HTTP/1.1 200 OK\r\n\r\nhi")
		b, _ := s.ReadN(4)
		_ = s.Send(b + b)
	})
	c := p.Dial()
	c.Send("CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n\r\nping")
	head := c.ReadHead()
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || proxytest.Field(head, "transfer-encoding")+proxytest.Field(head, "content-length") != "" {
		t.Fatalf("%q", head)
	}
	if got, _ := c.ReadAll(); got != "hipingping" {
		t.Errorf("%q", got)
	}
	if got := up.WaitRequests(1)[0]; !strings.HasPrefix(got, "CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n") {
		t.Errorf("the upstream got %q", got)
	}
}

// TestConnectTerminated: the proxy answers by itself and passes raw bytes.
func TestConnectTerminated(t *testing.T) {
	p, up := start(t, proxytest.Edge{
		Routes: `- {match: {connect_matcher: {}}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}`,
	}, func(s *proxytest.Session) {
		b, _ := s.ReadN(4)
		_ = s.Send("<" + b + ">")
	})
	c := p.Dial()
	c.Send("CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n\r\nping")
	if head := c.ReadHead(); !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") {
		t.Fatalf("%q", head)
	}
	if got, _ := c.ReadAll(); got != "<ping>" {
		t.Errorf("%q", got)
	}
	if got := up.Received(); len(got) != 1 || got[0] != "ping" {
		t.Errorf("the upstream got %q", got)
	}
}

func TestConnectRefused(t *testing.T) {
	p, up := start(t, proxytest.Edge{AccessLog: flags}, mirror)
	c := p.Dial()
	c.Send("CONNECT b.test:443 HTTP/1.1\r\nhost: b.test:443\r\n\r\n" + get("/hidden"))
	r := c.Response("GET")
	if r.StatusCode != 404 && r.StatusCode != 403 {
		t.Errorf("%v", r)
	}
	// What follows a CONNECT that was refused is the next request.
	if r.Close {
		c.ExpectClosed()
	} else if r := c.Response("GET"); r.StatusCode != 200 {
		t.Errorf("%v", r)
	}
	if got := up.Requests(); len(got) > 1 {
		t.Errorf("the upstream got %q", got)
	}
}
