// SPDX-License-Identifier: Apache-2.0

package graphitestatsd_test

import (
	"net"
	"strings"
	"testing"
	"time"

	graphitestatsdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/stat_sinks/graphite_statsd/v3"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/proxytest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &graphitestatsdv3.GraphiteStatsdSink{})
}

func edge(fields string) string {
	return proxytest.Edge{
		Bootstrap: `stats_sinks: [{name: graphite, typed_config: {"@type": type.googleapis.com/envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink, ` + fields + "}}]\n",
		Routes:    "- {match: {prefix: /}, direct_response: {status: 200}}",
	}.YAML()
}

func TestSink(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := proxytest.Start(t, edge("address: {{to}}, max_bytes_per_datagram: 1400"), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1", "to": c.LocalAddr().String()}})
	for range 3 {
		if r := p.Do("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 200 {
			t.Fatal(r)
		}
	}
	p.Close()
	if err := c.SetReadDeadline(time.Now().Add(proxytest.Patience)); err != nil {
		t.Fatal(err)
	}
	const want = "envoy.http.downstream_rq_total;envoy.http_conn_manager_prefix=test:3|c"
	b := make([]byte, 1<<16)
	for found := false; !found; {
		n, _, err := c.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		found = strings.Contains("\n"+string(b[:n])+"\n", "\n"+want+"\n")
	}
}

func TestRefused(t *testing.T) {
	for bad, want := range map[string]string{
		"prefix: a": "stats_sinks[0]",
		"address: {socket_address: {address: graphite, port_value: 1}}": "typed_config.address.socket_address.address",
	} {
		_, err := proxytest.TryStart(t, edge(bad), proxytest.Options{Extensions: all.Extensions(), Backends: map[string]string{"up": "127.0.0.1:1"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", bad, err, want)
		}
	}
}
