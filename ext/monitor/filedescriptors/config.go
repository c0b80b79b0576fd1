// SPDX-License-Identifier: Apache-2.0

package filedescriptors

import (
	"fmt"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"
	"weir.dev/weir/xds/typedstruct"
)

// Name is what the monitor is usually called. Envoy has none like it.
const Name = "weir.resource_monitors.file_descriptors"

// Type is the type that a TypedStruct names to configure the monitor.
const Type = "weir.dev.resource_monitors.FileDescriptors"

// settings are the fields of the configuration.
type settings struct {
	// MaxFileDescriptors is how many the process is to have open at most. The default, 0,
	// is as many as the system lets it (ulimit -n); a higher number counts as that.
	MaxFileDescriptors uint32 `field:"max_file_descriptors"`
}

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: typedstruct.New(Type), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*xdstypev3.TypedStruct)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	var s settings
	if err := typedstruct.Decode(m, &s); err != nil {
		return nil, err
	}
	return func(*overload.Sources) (overload.Monitor, error) {
		return &monitor{most: uint64(s.MaxFileDescriptors), open: countOpen, limit: limit}, nil
	}, nil
}
