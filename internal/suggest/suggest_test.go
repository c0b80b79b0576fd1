// SPDX-License-Identifier: Apache-2.0

package suggest

import (
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	fields := []string{"filters", "filter_chain_match", "name", "use_proxy_proto", "transport_socket"}
	for _, tt := range []struct {
		word, want string
	}{
		{"filterz", "filters"},
		{"fitlers", "filters"},
		{"filterChainMatch", "filter_chain_match"},
		{"nmae", "name"},
		{"FILTERS", "filters"},
		{"transport-sockets", "transport_socket"},
		{"zebra", ""},
		{"", ""},
		{strings.Repeat("x", 10_000), ""},
	} {
		got, ok := Nearest(tt.word, slices.Values(fields))
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Nearest(%.40q) = %q, %v; want %q", tt.word, got, ok, tt.want)
		}
	}
}

func TestNearestPrefersCloser(t *testing.T) {
	got, _ := Nearest("timeouts", slices.Values([]string{"timeout_xy", "timeout"}))
	if got != "timeout" {
		t.Errorf("got %q, want timeout", got)
	}
}
