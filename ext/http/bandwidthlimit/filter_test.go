// SPDX-License-Identifier: Apache-2.0

package bandwidthlimit

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", Extension().Config) }

const (
	name = "slow.http_bandwidth_limit."
	both = `{"stat_prefix":"slow","enable_mode":"REQUEST_AND_RESPONSE","limit_kbps":10,"fill_interval":"0.02s"`
)

// second is what passes at once, and rest a tenth of a second's more.
var second, rest = strings.Repeat("x", 10<<10), strings.Repeat("y", 1<<10)

// TestLimits: each direction waits if it is limited, and no other does.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name, config, route string
		request, response   bool
	}{
		{name: "both", config: both + `}`, request: true, response: true},
		{name: "requests", config: strings.Replace(both, "_AND_RESPONSE", "", 1) + `}`, request: true},
		{name: "responses", config: strings.Replace(both, "REQUEST_AND_", "", 1) + `}`, response: true},
		{name: "neither", config: strings.Replace(both, "REQUEST_AND_RESPONSE", "DISABLED", 1) + `}`},
		{name: "no limit", config: strings.Replace(both, `"limit_kbps":10,`, "", 1) + `}`},
		{name: "off by runtime", config: both + `,"runtime_enabled":{"default_value":true,"runtime_key":"off"}}`},
		{name: "by route", config: `{"stat_prefix":"own"}`, route: both + `}`, request: true, response: true},
		{name: "not by route", config: both + `}`, route: `{"stat_prefix":"own","limit_kbps":100000}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, response := range []bool{false, true} {
				rig := streamtest.New(t)
				rig.Add(Extension(), tt.config)
				rig.Route(streamtest.Route{Filter: Extension(), Entry: tt.route})
				rig.SetRuntime(map[string]string{"off": "false"})
				req, up, way := streamtest.Request{Method: "POST", Body: streamtest.Pieces(second, rest)}, streamtest.Upstream{}, "request"
				limited := tt.request
				if response {
					req, up.Body, way, limited = streamtest.Request{}, req.Body, "response", tt.response
				}
				start := time.Now()
				res := rig.Run(req, up)
				took := time.Since(start)
				if got := res.Body + res.Upstream.Body; got != second+rest {
					t.Fatalf("%d bytes", len(got))
				}
				if limited && took < 90*time.Millisecond {
					t.Errorf("%s took %v", way, took)
				}
				count := func(what string) int64 { return rig.Counter(name + way + "_" + what) }
				if limited && (count("enabled") != 1 || count("enforced") != 1 || count("allowed_total_size") != 11<<10 || count("incoming_total_size") != 11<<10 || count("pending") != 0 || count("allowed_size") == 0) {
					t.Errorf("%s: the statistics are wrong", way)
				}
				if !limited && count("enabled") != 0 {
					t.Errorf("%s is limited", way)
				}
			}
		})
	}
}

// TestShared: what one stream takes, another has not.
func TestShared(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), both+`}`)
	rig.Run(streamtest.Request{}, streamtest.Upstream{Body: streamtest.Pieces(second)})
	start := time.Now()
	rig.Run(streamtest.Request{}, streamtest.Upstream{Body: streamtest.Pieces(rest)})
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

// TestTrailers: those that tell of delays come behind those that there are, if there were delays.
func TestTrailers(t *testing.T) {
	for _, trailer := range [][]string{nil, {"x-t: 1"}} {
		rig := streamtest.New(t)
		rig.Add(Extension(), both+`,"enable_response_trailers":true,"response_trailer_prefix":"x"}`)
		res := rig.Run(streamtest.Request{Method: "POST", Body: streamtest.Pieces(second, rest)}, streamtest.Upstream{Body: streamtest.Pieces(rest), Trailer: trailer})
		for _, name := range []string{"request-delay", "request-filter-delay", "response-delay", "response-filter-delay"} {
			if ms, err := strconv.Atoi(res.Trailer.Get("x-bandwidth-" + name + "-ms")); err != nil || ms < 20 || ms > 60_000 {
				t.Errorf("%s: %v", name, res.Trailer)
			}
		}
		if trailer != nil && res.Trailer.Get("x-t") != "1" {
			t.Errorf("%v", res.Trailer)
		}
		rig = streamtest.New(t)
		rig.Add(Extension(), both+`,"enable_response_trailers":true}`)
		res = rig.Run(streamtest.Request{}, streamtest.Upstream{Body: streamtest.Pieces("a"), Trailer: trailer})
		if res.Trailer.Has("bandwidth-response-filter-delay-ms") || res.Body != "a" {
			t.Errorf("nothing waited: %v", res.Trailer)
		}
	}
}

// TestBrokenOff: a body that a client does not wait for leaves nothing behind.
func TestBrokenOff(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), strings.Replace(both, `"limit_kbps":10`, `"limit_kbps":1`, 1)+`,"enable_response_trailers":true}`)
	begun := make(chan struct{})
	first := true
	call := rig.Start(streamtest.Request{OnPiece: func(string) {
		if first {
			first = false
			close(begun)
		}
	}}, streamtest.Upstream{Body: streamtest.Pieces(second)})
	<-begun
	call.Cancel()
	call.Wait()
	if n := rig.Counter(name + "response_pending"); n != 0 {
		t.Errorf("%d responses are pending", n)
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	for _, bad := range []string{
		`{}`, `{"stat_prefix":"a","limit_kbps":0}`, `{"stat_prefix":"a","fill_interval":"0.01s"}`, `{"stat_prefix":"a","fill_interval":"2s"}`,
		`{"stat_prefix":"a","limit_kbps":8796093022209}`, `{"stat_prefix":"a","response_trailer_prefix":"a\nb"}`,
	} {
		if _, err := rig.Compile(Extension(), bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, err := rig.CompileRoute(Extension(), `{"stat_prefix":"a"}`); err == nil || !strings.Contains(err.Error(), "limit_kbps is missing") {
		t.Errorf("a route without limit: %v", err)
	}
}
