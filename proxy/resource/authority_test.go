// SPDX-License-Identifier: Apache-2.0

package resource

import (
	"strings"
	"testing"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"weir.dev/weir/xds"
)

// served is a config source with a server of its own for some authorities.
func served(kind corev3.ApiConfigSource_ApiType, cluster string, authorities ...string) *corev3.ConfigSource {
	cs := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: kind, ClusterNames: []string{cluster},
	}}}
	for _, a := range authorities {
		cs.Authorities = append(cs.Authorities, &xdscorev3.Authority{Name: a})
	}
	return cs
}

const (
	sotw   = corev3.ApiConfigSource_AGGREGATED_GRPC
	deltas = corev3.ApiConfigSource_AGGREGATED_DELTA_GRPC
)

// A name that says of which authority it is leads to the source of that.
func TestLocate(t *testing.T) {
	const routes = "/envoy.config.route.v3.RouteConfiguration/"
	a, other, own, peer := served(sotw, "a", "a", "a2"), served(deltas, "other"), served(sotw, "own"), served(sotw, "peer", "a", "p")
	d := NewDirectory(nil)
	if err := d.SetAuthorities([]*corev3.ConfigSource{a}, nil, nil); err != nil {
		t.Fatal(err)
	}
	withOther := NewDirectory(nil)
	if err := withOther.SetAuthorities([]*corev3.ConfigSource{a}, other, nil); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		d          *Directory
		given      *corev3.ConfigSource
		name, want string // want is the name, or what is wrong with it
		at         *corev3.ConfigSource
	}{
		"a plain name":              {d, own, "r", "r", own},
		"of the authority":          {d, own, "xdstp://a2" + routes + "r?y=2&x=1", "xdstp://a2" + routes + "r?x=1&y=2", a},
		"without a source":          {d, nil, "xdstp://a" + routes + "r", "xdstp://a" + routes + "r", a},
		"the given one lists it":    {d, peer, "xdstp://a" + routes + "r", "xdstp://a" + routes + "r", peer},
		"of another authority":      {d, own, "xdstp://b" + routes + "r", "xdstp://b" + routes + "r", own},
		"the default":               {withOther, own, "xdstp://b" + routes + "r", "xdstp://b" + routes + "r", other},
		"nobody has it":             {d, nil, "xdstp://b" + routes + "r", `the authority "b"`, nil},
		"another type":              {d, own, "xdstp://a/envoy.config.listener.v3.Listener/r", "is a name of a envoy.config.listener.v3.Listener: want xdstp://a" + routes + "r", nil},
		"a collection":              {d, own, "xdstp://a" + routes + "r/*", "is that of a collection", nil},
		"with directives":           {d, own, "xdstp://a" + routes + "r#entry=x", "directives", nil},
		"a name that cannot be one": {d, own, "xdstp://a", "has no type", nil},
	} {
		at, got, err := tt.d.Locate(tt.given, xds.KindRoutes, tt.name)
		switch {
		case tt.at == nil:
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
		case err != nil || got != tt.want || at != tt.at:
			t.Errorf("%s: %q at %v, %v; want %q at %v", name, got, at, err, tt.want, tt.at)
		}
	}
}

func TestCollection(t *testing.T) {
	const all = "xdstp://a/envoy.config.listener.v3.Listener/"
	d := NewDirectory(nil)
	d.Aggregated = true
	if err := d.SetAuthorities([]*corev3.ConfigSource{served(deltas, "a", "a"), served(sotw, "s", "s")}, nil, map[string]string{"zone": "node's", "id": "1"}); err != nil {
		t.Fatal(err)
	}
	byDelta := served(deltas, "x")
	at, name, err := d.Collection(byDelta, xds.KindListener, all+"edge/*?zone=own")
	if err != nil || at != byDelta || name != all+"edge/*?id=1&zone=own" {
		t.Errorf("%s at %v, %v", name, at, err)
	}
	if at, _, err = d.Collection(nil, xds.KindListener, all+"*"); err != nil || at != d.authorities.by["a"] {
		t.Errorf("asked at %v, %v", at, err)
	}
	for locator, want := range map[string]string{
		"file:///etc/listeners.yaml":                       "only xdstp:// is supported",
		all + "edge":                                       "end the path with /*",
		all + "edge/*#alt=x":                               "directives after a #",
		"xdstp://a/envoy.config.cluster.v3.Cluster/*":      "want envoy.config.listener.v3.Listener",
		"xdstp://b/envoy.config.listener.v3.Listener/*":    "nobody is known to have it",
		"xdstp://s/envoy.config.listener.v3.Listener/*":    "delivered as deltas only",
		"xdstp://a/envoy.config.listener.v3.Listener/%x/*": "no escape",
	} {
		if _, _, err := d.Collection(nil, xds.KindListener, locator); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", locator, err, want)
		}
	}
	if _, _, err := d.Collection(ads, xds.KindListener, all+"*"); err == nil || !strings.Contains(err.Error(), "ads_config to DELTA_GRPC") {
		t.Errorf("by states of the world: %v", err)
	}
}

func TestBadAuthorities(t *testing.T) {
	for want, sources := range map[string][]*corev3.ConfigSource{
		"config_sources[0].authorities: is empty":                          {served(sotw, "a")},
		`config_sources[1].authorities[1].name: "b" is there twice`:        {served(sotw, "a", "a"), served(sotw, "b", "b", "b")},
		"config_sources[0].api_config_source.api_type: must be AGGREGATED": {served(corev3.ApiConfigSource_GRPC, "a", "a")},
		"api_type: must be AGGREGATED_GRPC or":                             {{Authorities: []*xdscorev3.Authority{{Name: "a"}}}},
		"grpc_services: is empty": {{Authorities: []*xdscorev3.Authority{{Name: "a"}}, ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{
			ApiConfigSource: &corev3.ApiConfigSource{ApiType: sotw},
		}}},
	} {
		if err := NewDirectory(nil).SetAuthorities(sources, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := NewDirectory(nil).SetAuthorities(nil, served(corev3.ApiConfigSource_REST, "a"), nil); err == nil || !strings.Contains(err.Error(), "default_config_source.api_config_source.api_type") {
		t.Errorf("%v", err)
	}
}
