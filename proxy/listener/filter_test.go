// SPDX-License-Identifier: Apache-2.0

package listener_test

import (
	"strings"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// TestFilterDisabled: a filter that requires a header is passed by where its
// predicate says so.
func TestFilterDisabled(t *testing.T) {
	for disabled, want := range map[string]bool{
		"{any_match: true}":              true,
		"{not_match: {any_match: true}}": false,
		"{or_match: {rules: [{any_match: true}, {destination_port_range: {start: 1, end: 2}}]}}":              true,
		"{or_match: {rules: [{not_match: {any_match: true}}, {destination_port_range: {start: 1, end: 2}}]}}": false,
		"{and_match: {rules: [{any_match: true}, {destination_port_range: {start: 1, end: 2}}]}}":             false,
		"{and_match: {rules: [{any_match: true}, {destination_port_range: {start: 1, end: 65536}}]}}":         true,
		"{destination_port_range: {start: 1024, end: 65536}}":                                                 true,
		"{destination_port_range: {start: 1, end: 2}}":                                                        false,
	} {
		f := strings.Replace(proxytest.ListenerFilter("proxy_protocol.v3.ProxyProtocol", ""), "- {", "- {filter_disabled: "+disabled+", ", 1)
		p := proxytest.Start(t, proxytest.Told(f, ""), proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "served")})
		c := p.Dial()
		if !want {
			c.Send("no header")
			c.ExpectClosed()
		} else if got := c.ReadN(7); got != "served\n" {
			t.Errorf("%s: %q", disabled, got)
		}
	}
}

func TestFilterDisabledRefused(t *testing.T) {
	for disabled, want := range map[string]string{
		"{}":                 "filter_disabled",
		"{any_match: false}": "any_match",
		"{not_match: {}}":    "not_match",
		"{or_match: {rules: [{any_match: true}]}}":                                       "rules",
		"{and_match: {rules: [{any_match: true}, {}]}}":                                  "rules[1]",
		"{destination_port_range: {start: 2, end: 2}}":                                   "destination_port_range",
		"{or_match: {rules: [{any_match: true}, {destination_port_range: {start: 9}}]}}": "destination_port_range",
	} {
		f := strings.Replace(proxytest.ListenerFilter("proxy_protocol.v3.ProxyProtocol", ""), "- {", "- {filter_disabled: "+disabled+", ", 1)
		if _, err := proxytest.TryStart(t, proxytest.Told(f, ""), proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "")}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", disabled, err)
		}
	}
}

// TestUnsupportedFilter: what is not there is refused by name.
func TestUnsupportedFilter(t *testing.T) {
	for _, message := range []string{"original_src.v3.OriginalSrc", "set_filter_state.v3.Config"} {
		_, err := proxytest.TryStart(t, proxytest.Told(proxytest.ListenerFilter(message, ""), ""), proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "")})
		if err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: %v", message, err)
		}
	}
}

// TestNoChain: what no chain takes is no connection in the statistics.
func TestNoChain(t *testing.T) {
	p := proxytest.Start(t, proxytest.Told("", "", "{destination_port: 1}"), proxytest.Options{Extensions: proxytest.WithTeller(t, all.Extensions(), "")})
	p.Dial().ExpectClosed()
	p.WaitCounter("listener.l.no_filter_chain_match", 1)
	for _, name := range []string{"downstream_cx_total", "downstream_cx_destroy"} {
		if got := p.Counter("listener.l." + name); got != 0 {
			t.Errorf("%s is %d", name, got)
		}
	}
}
