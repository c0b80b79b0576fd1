// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/header"
)

func TestExtract(t *testing.T) {
	whole := extractor{header: header.NewName("x")}
	second := extractor{header: header.NewName("x"), separator: []byte(";"), index: 1}
	byKey := extractor{header: header.NewName("x"), separator: []byte(","), byKey: true, key: []byte("t"), between: []byte("=")}
	for _, tt := range []struct {
		e           extractor
		value, want string
		ok          bool
	}{
		{whole, "a,b", "a,b", true},
		{whole, "", "", true},
		{second, "a;b;c", "b", true},
		{second, "a;", "", true},
		{second, "a", "", false},
		{byKey, "s=1,t=2,t=3", "2", true},
		{byKey, "t=a=b", "a=b", true},
		{byKey, "t", "", true},
		{byKey, "tt=1,s", "", false},
		{extractor{header: header.NewName("y")}, "a", "", false},
	} {
		h := &header.Map{}
		h.Set(header.NewName("x"), tt.value)
		h.Add(header.NewName("x"), "another line")
		if got, ok := tt.e.extract(h); string(got) != tt.want || ok != tt.ok {
			t.Errorf("%q: got %q %v, want %q %v", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

// Keys of other fragments are other keys, and to find a scope allocates nothing.
func TestFindScope(t *testing.T) {
	s := &scopes{builder: scopeKeyBuilder{{header: header.NewName("a")}, {header: header.NewName("b")}}, byKey: map[string]*routeScope{}}
	for i, k := range [][2]string{{"x", "yz"}, {"xy", "z"}, {"", "xyz"}} {
		s.byKey[string(appendFragment(appendFragment(nil, []byte(k[0])), []byte(k[1])))] = &routeScope{name: fmt.Sprint(i)}
	}
	h := &header.Map{}
	h.Set(header.NewName("a"), "xy")
	h.Set(header.NewName("b"), "z")
	if got := s.find(h); got == nil || got.name != "1" {
		t.Errorf("found %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { s.find(h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzScopeKey compares the extractors with what their fields say, whatever a request
// sends.
func FuzzScopeKey(f *testing.F) {
	f.Add("a=1,b=2", ",", "=", "b", uint32(1))
	f.Add("", "", "", "", uint32(0))
	f.Add("aaaa", "aa", "a", "", uint32(3))
	f.Fuzz(func(t *testing.T, value, separator, between, key string, index uint32) {
		h := &header.Map{}
		h.Set(header.NewName("x"), value)
		elements := []string{value}
		if separator != "" {
			elements = strings.Split(value, separator)
		}
		check := func(e extractor, want string, there bool) {
			t.Helper()
			e.header, e.separator = header.NewName("x"), []byte(separator)
			if got, ok := e.extract(h); string(got) != want || ok != there {
				t.Errorf("%+v of %q: got %q %v, want %q %v", e, value, got, ok, want, there)
			}
		}
		if int64(index) < int64(len(elements)) {
			check(extractor{index: index}, elements[index], true)
		} else {
			check(extractor{index: index}, "", false)
		}
		if between == "" {
			return
		}
		want, there := "", false
		for _, e := range elements {
			if k, v, _ := strings.Cut(e, between); k == key {
				want, there = v, true
				break
			}
		}
		check(extractor{byKey: true, key: []byte(key), between: []byte(between)}, want, there)
	})
}

// FuzzScopes reads scopes as servers may send them.
func FuzzScopes(f *testing.F) {
	f.Add(`{"scopedRouteConfigurations":[{"name":"a","key":{"fragments":[{"stringKey":"x"}]},"routeConfiguration":{}}]}`)
	f.Add(`{"scopedRouteConfigurations":[{"name":"a","routeConfigurationName":"r","key":{"fragments":[{}]}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var l hcmv3.ScopedRouteConfigurationsList
		if protojson.Unmarshal([]byte(text), &l) != nil {
			return
		}
		s := &scoped{feeder: feeder{services: &extension.Services{Registry: &extension.Registry{}}, log: slog.New(slog.DiscardHandler)}}
		defs, err := s.decode(&l)
		if err == nil && len(defs) != len(l.GetScopedRouteConfigurations()) {
			t.Errorf("%d scopes of %d", len(defs), len(l.GetScopedRouteConfigurations()))
		}
	})
}
