// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/test/bench/backend"
	"weir.dev/weir/test/bench/load"
	"weir.dev/weir/test/bench/peer"
)

func TestScenariosAreWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All() {
		if seen[s.Name] || s.Name == "" || !strings.HasSuffix(s.About, ".") {
			t.Errorf("scenario %q has no name of its own or no sentence", s.Name)
		}
		seen[s.Name] = true
		if got := served(s.Load); got != s.Load.Length {
			t.Errorf("%s asks for %s and expects %d bytes; the backend sends %d", s.Name, s.Load.Path, s.Load.Length, got)
		}
		for _, name := range s.Peers {
			if !slices.ContainsFunc(peer.All(""), func(p peer.Proxy) bool { return p.Name == name }) {
				t.Errorf("%s compares with %s, which nobody knows", s.Name, name)
			}
		}
		if both := s.Mode == peer.HTTP2 || s.Mode == peer.GRPC; both != (s.Load.Protocol == load.HTTP2) {
			t.Errorf("%s: the client's protocol is not the proxies'", s.Name)
		}
		for _, v := range s.Variants {
			if v.Setup.Hosts > 0 && (v.Setup.Hosts != s.Load.Spread || strings.ReplaceAll(s.Load.Host, "{n}", "00007") != peer.Host(7)) {
				t.Errorf("%s, %s: the client's hosts are not the proxy's", s.Name, v.Name)
			}
			if v.Setup.Routes > 0 && (v.Setup.Routes != s.Load.Spread || !strings.HasPrefix(strings.ReplaceAll(s.Load.Path, "{n}", "00007"), peer.Route(7))) {
				t.Errorf("%s, %s: the client's paths are not the proxy's", s.Name, v.Name)
			}
		}
	}
}

// served is the length of what the backend answers with: an echo has the length of what was sent.
func served(l load.Spec) int {
	switch {
	case l.Protocol == load.WebSocket && strings.HasSuffix(l.Path, "/ws"), l.Protocol == load.UDP:
		return l.Length
	case l.Path == backend.ChatPath && l.Chat, l.Path == backend.UnaryPath && l.Messages == 1, l.Path == backend.StreamPath && l.Messages == backend.StreamLen:
		return l.Messages * backend.MessageLen
	}
	return backend.Sizes()[l.Path[strings.LastIndexByte(l.Path, '/')+1:]]
}
