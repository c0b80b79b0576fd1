// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", &corev3.Http2ProtocolOptions{})
}

// TestResets compiles the limits of resets, which a client's codec has no use for.
func TestResets(t *testing.T) {
	p := &corev3.Http2ProtocolOptions{StreamResetBurst: wrapperspb.UInt64(500), StreamResetRate: wrapperspb.UInt64(1 << 40)}
	var warned []string
	warn := func(path, _ string) { warned = append(warned, path) }
	o, err := Downstream(p, "x", warn)
	if err != nil || o.MaxPrematureResets != 500 || o.PrematureResetRate != 1<<31 || warned != nil {
		t.Errorf("downstream: %+v, %v, warned of %v", o, err, warned)
	}
	if o, err = Downstream(&corev3.Http2ProtocolOptions{StreamResetBurst: wrapperspb.UInt64(0)}, "x", warn); err != nil || o.MaxPrematureResets != 1 {
		t.Errorf("a burst of 0: %+v, %v", o, err)
	}
	if o, err = Upstream(p, "x", warn); err != nil || o.MaxPrematureResets != 0 || o.PrematureResetRate != 0 {
		t.Errorf("upstream: %+v, %v", o, err)
	}
	if d := cmp.Diff([]string{"x.stream_reset_burst", "x.stream_reset_rate"}, warned); d != "" {
		t.Errorf("wrong warnings (-want +got):\n%s", d)
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		path string
		p    *corev3.Http2ProtocolOptions
	}{
		{"x.allow_metadata", &corev3.Http2ProtocolOptions{AllowMetadata: true}},
		{"x.custom_settings_parameters[0].identifier", &corev3.Http2ProtocolOptions{
			CustomSettingsParameters: []*corev3.Http2ProtocolOptions_SettingsParameter{{Identifier: wrapperspb.UInt32(4), Value: wrapperspb.UInt32(1)}},
		}},
	}
	for _, tt := range tests {
		var p xds.Problem
		if _, err := Downstream(tt.p, "x", nil); !errors.As(err, &p) || p.Path != tt.path {
			t.Errorf("%s: %v", tt.path, err)
		}
	}
}
