// SPDX-License-Identifier: Apache-2.0

package streaminfo

import "testing"

func TestFlags(t *testing.T) {
	f := UpstreamConnectionFailure | UpstreamRetryLimitExceeded
	if got := string(f.Append(nil)); got != "UF,URX" {
		t.Errorf("short: %s", got)
	}
	if got := string(f.AppendLong(nil)); got != "UpstreamConnectionFailure,UpstreamRetryLimitExceeded" {
		t.Errorf("long: %s", got)
	}
	if got := string(Flags(0).Append(nil)); got != "-" {
		t.Errorf("none: %s", got)
	}
	for i := range flagNames {
		if g, ok := ParseFlag(flagNames[i].short); !ok || g != 1<<i {
			t.Errorf("%s parses to %b", flagNames[i].short, g)
		}
	}
	if _, ok := ParseFlag("XX"); ok {
		t.Error("XX is no flag")
	}
}

func TestMetadataLookup(t *testing.T) {
	m := Metadata{"envoy.lb": {"a": map[string]any{"b": "c"}}}
	tests := []struct {
		ns   string
		path []string
		want any
		ok   bool
	}{
		{"envoy.lb", []string{"a", "b"}, "c", true},
		{"envoy.lb", []string{"a", "x"}, nil, false},
		{"envoy.lb", []string{"a", "b", "c"}, nil, false},
		{"none", nil, nil, false},
	}
	for _, tt := range tests {
		if v, ok := m.Lookup(tt.ns, tt.path...); ok != tt.ok || ok && v != tt.want {
			t.Errorf("%s %v: %v %v", tt.ns, tt.path, v, ok)
		}
	}
}
