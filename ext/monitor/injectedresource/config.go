// SPDX-License-Identifier: Apache-2.0

package injectedresource

import (
	_ "embed"
	"errors"
	"fmt"

	injectedresourcev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/injected_resource/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"

	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.resource_monitors.injected_resource"

//go:embed fields.txt
var fields string

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: &injectedresourcev3.InjectedResourceConfig{}, Fields: ledger.MustParse(fields), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*injectedresourcev3.InjectedResourceConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	if m.GetFilename() == "" {
		return nil, errors.New("filename: is empty: name the file that the pressure stands in")
	}
	return func(*overload.Sources) (overload.Monitor, error) { return &monitor{file: m.GetFilename()}, nil }, nil
}
