// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"
	"testing"

	"weir.dev/weir/test/bench/backend"
	"weir.dev/weir/test/bench/peer"
)

func TestScenariosAreWhole(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range All() {
		if seen[s.Name] || s.Name == "" || !strings.HasSuffix(s.About, ".") {
			t.Errorf("scenario %q has no name of its own or no sentence", s.Name)
		}
		seen[s.Name] = true
		last := s.Load.Path[strings.LastIndexByte(s.Load.Path, '/')+1:]
		if size, ok := backend.Sizes()[last]; !ok || size != s.Load.Length {
			t.Errorf("%s asks for %s and expects %d bytes; the backend sends %d", s.Name, s.Load.Path, s.Load.Length, size)
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
