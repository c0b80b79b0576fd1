// SPDX-License-Identifier: Apache-2.0

package fixedheap

import (
	_ "embed"
	"errors"
	"fmt"
	"time"

	fixedheapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/overload"

	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.resource_monitors.fixed_heap"

//go:embed fields.txt
var fields string

// Extension describes the monitor.
func Extension() extension.Plugin[overload.Maker] {
	return extension.Plugin[overload.Maker]{Name: Name, Config: &fixedheapv3.FixedHeapConfig{}, Fields: ledger.MustParse(fields), New: compile}
}

func compile(cfg proto.Message) (overload.Maker, error) {
	m, ok := cfg.(*fixedheapv3.FixedHeapConfig)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	most, key := m.GetMaxHeapSizeBytes(), m.GetMaxHeapSizeBytesRuntime()
	switch {
	case most > 0 && key != nil:
		return nil, errors.New("max_heap_size_bytes: max_heap_size_bytes_runtime is set, too: remove one")
	case key != nil && key.GetDefaultValue() == 0:
		return nil, errors.New("max_heap_size_bytes_runtime.default_value: is 0: set how many bytes the heap may have")
	case key != nil && key.GetRuntimeKey() == "":
		return nil, errors.New("max_heap_size_bytes_runtime.runtime_key: is empty: name the key, or use max_heap_size_bytes")
	case key == nil && most == 0:
		return nil, errors.New("max_heap_size_bytes: is not set: set how many bytes the heap may have")
	}
	return func(s *overload.Sources) (overload.Monitor, error) {
		h := &monitor{most: func() uint64 { return most }, memory: goMemory{}, now: time.Now}
		if key != nil {
			h.most = func() uint64 {
				if n, ok := s.Runtime.Int(key.GetRuntimeKey()); ok && n > 0 {
					return uint64(n)
				}
				return key.GetDefaultValue()
			}
		}
		return h, nil
	}, nil
}
