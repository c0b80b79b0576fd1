// SPDX-License-Identifier: Apache-2.0

package filterstate

import (
	"testing"

	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/filter_state/v3"

	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

func TestPredicate(t *testing.T) {
	for _, c := range []struct {
		name         string
		state        streaminfo.FilterState
		absent, want bool
	}{
		{"true", streaminfo.FilterState{"k": {Value: true}}, false, true},
		{"false", streaminfo.FilterState{"k": {Value: false, Text: "true"}}, true, false},
		{"text", streaminfo.FilterState{"k": {Text: "true"}}, false, true},
		{"text of another kind", streaminfo.FilterState{"k": {Text: "maybe"}}, true, true},
		{"absent", nil, false, false},
		{"absent, which is yes", streaminfo.FilterState{"other": {Value: false}}, true, true},
	} {
		p, err := New(&filterstatev3.FilterStateConfig{RedirectEnabledKey: "k", RedirectIfAbsent: c.absent})
		if err != nil {
			t.Fatal(err)
		}
		if got := p(&route.RedirectTarget{State: c.state}); got != c.want {
			t.Errorf("%s: followed is %v", c.name, got)
		}
	}
	if _, err := New(&filterstatev3.FilterStateConfig{}); err == nil {
		t.Error("an empty key passes")
	}
}
