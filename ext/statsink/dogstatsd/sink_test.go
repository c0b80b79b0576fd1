// SPDX-License-Identifier: Apache-2.0

package dogstatsd_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) { ledgertest.Run(t, "fields.txt", &metricsv3.DogStatsdSink{}) }

func edge(fields string) string {
	return proxytest.Edge{
		Bootstrap: `stats_flush_interval: 299s
stats_config: {stats_tags: [{tag_name: site, fixed_value: north}]}
stats_sinks: [{name: dog, typed_config: {"@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink, ` + fields + "}}]\n",
		Routes: "- {match: {prefix: /}, direct_response: {status: 200}}",
	}.YAML()
}

// sent are the datagrams of a proxy that has served some requests, up to the one that has a line of it.
func sent(t *testing.T, network, addr, fields, until string) (datagrams []string, line string) {
	t.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := proxytest.Start(t, edge(fields), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1", "to": c.LocalAddr().String()}})
	for range 3 {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	go p.Close() // A socket of Unix waits for its reader.
	if err := c.SetReadDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	for {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		datagrams = append(datagrams, string(b[:n]))
		for l := range strings.SplitSeq(string(b[:n]), "\n") {
			if strings.HasPrefix(l, until) {
				return datagrams, l
			}
		}
	}
}

func TestSink(t *testing.T) {
	datagrams, line := sent(t, "udp", "127.0.0.1:0", "address: {{to}}", "envoy.http.downstream_rq_total:")
	if want := "envoy.http.downstream_rq_total:3|c|#site:north,envoy.http_conn_manager_prefix:test"; line != want {
		t.Errorf("got %q, want %q", line, want)
	}
	for _, d := range datagrams {
		if strings.Contains(d, "\n") {
			t.Errorf("several lines in %q", d)
		}
	}
}

func TestSize(t *testing.T) {
	datagrams, line := sent(t, "udp", "127.0.0.1:0", "address: {{to}}, prefix: edge, max_bytes_per_datagram: 500", "edge.http.downstream_rq_total:3|c|#")
	if line == "" || len(datagrams) < 2 {
		t.Errorf("%d datagrams", len(datagrams))
	}
	several := false
	for _, d := range datagrams {
		several = several || strings.Contains(d, "\n")
		if len(d) > 500 {
			t.Errorf("a datagram of %d bytes", len(d))
		}
	}
	if !several {
		t.Error("no datagram has several lines")
	}
}

func TestPipe(t *testing.T) {
	_, line := sent(t, "unixgram", filepath.Join(t.TempDir(), "dsd"), "address: {{to}}", "envoy.http.downstream_rq_total:3|c|#")
	if line == "" {
		t.Error("nothing is sent")
	}
}

func TestRefused(t *testing.T) {
	for bad, want := range map[string]string{
		"prefix: a": "stats_sinks[0]",
		"address: {socket_address: {address: dog, port_value: 1}}": "typed_config.address.socket_address.address",
		"address: {{to}}, max_bytes_per_datagram: 0":               "max_bytes_per_datagram",
	} {
		_, err := proxytest.TryStart(t, edge(bad), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1", "to": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
