// SPDX-License-Identifier: Apache-2.0

package injectedresource

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	injectedresourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"

	"weir.dev/weir/proxy/overload"
)

func TestMonitor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pressure")
	made, err := compile(&injectedresourcev3.InjectedResourceConfig{Filename: file})
	if err != nil {
		t.Fatal(err)
	}
	m, err := made(&overload.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pressure(); err == nil {
		t.Error("no error without the file")
	}
	for text, want := range map[string]float64{"0": 0, "0.95\n": 0.95, " 1 ": 1, "": -1, "1.1": -1, "-0.1": -1, "NaN": -1, "x": -1, strings.Repeat("0", 100) + "1": 0} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := m.Pressure(); (err != nil) != (want < 0) || err == nil && p != want {
			t.Errorf("%q: pressure %v (%v), want %v", text, p, err, want)
		}
	}
	if _, err := compile(&injectedresourcev3.InjectedResourceConfig{}); err == nil {
		t.Error("no file is taken")
	}
}
