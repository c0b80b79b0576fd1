// SPDX-License-Identifier: Apache-2.0

package listener_test

import (
	"strings"
	"testing"
	"time"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// twoChains has one filter chain for 127.0.0.1 and one for all else. The first takes
// one connection only, so that it tells what it remembers.
func twoChains(name, first, other string) string {
	filters := func(limit string) string {
		return `[{name: limit, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, stat_prefix: ` +
			limit + `}}, {name: echo, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]`
	}
	return `static_resources:
  listeners:
  - name: test
    stat_prefix: test
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    additional_addresses: [{address: {socket_address: {address: 127.0.0.2, port_value: 0}}}]
    filter_chains:
    - {name: ` + name + `, filter_chain_match: {prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]}, filters: ` + filters("first, max_connections: "+first) + `}
    default_filter_chain: {filters: ` + filters("other, max_connections: "+other) + `}
`
}

func echoes(t *testing.T, c *proxytest.Client) {
	t.Helper()
	c.Send("x")
	if got := c.ReadN(1); got != "x" {
		t.Fatalf("%q", got)
	}
}

// TestUpdateOfOneChain: connections through a filter chain that an update leaves as it is
// go on, and its filters keep what they know; those of the changed one end.
func TestUpdateOfOneChain(t *testing.T) {
	p := proxytest.Start(t, twoChains("a", "1", "7"), proxytest.Options{Extensions: all.Extensions(), DrainTime: time.Second})
	addrs := p.Listeners()
	first, other := proxytest.Dial(t, addrs[0]), proxytest.Dial(t, addrs[1])
	echoes(t, first)
	echoes(t, other)
	for _, limit := range []string{"8", "9"} {
		if problems := p.Update(twoChains("a", "1", limit)); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
	other.ExpectClosed() // When the drain time is over.
	echoes(t, first)
	second := proxytest.Dial(t, addrs[0])
	second.ExpectClosed()
	p.WaitCounter("connection_limit.first.limited_connections", 1)
	echoes(t, proxytest.Dial(t, addrs[1]))

	// The first chain itself: its old connection ends, and its limit begins anew.
	if problems := p.Update(twoChains("b", "1", "9")); len(problems) > 0 {
		t.Fatal(problems)
	}
	next := proxytest.Dial(t, addrs[0])
	echoes(t, next)
	first.ExpectClosed()
	echoes(t, next)
}

// TestUpdateOfOneChainRefused: what is wrong in a changed chain is told with its place, and
// the configuration before it goes on.
func TestUpdateOfOneChainRefused(t *testing.T) {
	p := proxytest.Start(t, twoChains("a", "1", "7"), proxytest.Options{Extensions: all.Extensions()})
	c := proxytest.Dial(t, p.Listeners()[0])
	echoes(t, c)
	for _, bad := range []struct{ yaml, want string }{
		{strings.Replace(twoChains("a", "1", "7"), "default_filter_chain: {filters: [{name: limit", "default_filter_chain: {filters: [{name: echo, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}, {name: limit", 1), "default_filter_chain.filters[0]"},
		{strings.Replace(twoChains("a", "1", "7"), "default_filter_chain: {", "default_filter_chain: {transport_socket: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}, ", 1), "default_filter_chain.transport_socket"},
		{strings.Replace(twoChains("a", "1", "7"), "filter_chains:\n", "filter_chains:\n    - {name: z, filter_chain_match: {prefix_ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]}, filters: [{name: echo, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]}\n", 1), `same matching rules as "z"`},
	} {
		problems := p.Update(bad.yaml)
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), bad.want) {
			t.Errorf("%v, want %s", problems, bad.want)
		}
		echoes(t, c)
	}
}

// TestUpdateAsksForInspector: a new filter chain that matches names has them found out,
// though nothing but filter chains has changed.
func TestUpdateAsksForInspector(t *testing.T) {
	p := proxytest.Start(t, twoChains("a", "1", "7"), proxytest.Options{Extensions: all.Extensions()})
	echoes(t, proxytest.Dial(t, p.Listeners()[0]))
	named := strings.Replace(twoChains("a", "1", "7"), "filter_chain_match: {", "filter_chain_match: {server_names: [a.test], ", 1)
	if problems := p.Update(named); len(problems) > 0 {
		t.Fatal(problems)
	}
	c := proxytest.Dial(t, p.Listeners()[1])
	echoes(t, c)
	p.WaitCounter("tls_inspector.tls_not_found", 1)
}
