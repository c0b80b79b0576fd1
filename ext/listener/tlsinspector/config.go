// SPDX-License-Identifier: Apache-2.0

package tlsinspector

import (
	"fmt"

	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/stats"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.listener.tls_inspector"

// maxHello is the most, and by default, that is read for a ClientHello, in bytes.
const maxHello = 16 << 10

// Extension returns the filter's place in a registry.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{Name: Name, Config: &tlsinspectorv3.TlsInspector{}, New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.Network) (listener.Filter, error) {
	m, ok := cfg.(*tlsinspectorv3.TlsInspector)
	if !ok {
		return nil, fmt.Errorf("configuration is a %s, not a TlsInspector", cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	f := &filter{
		limit:  maxHello,
		ja3:    m.GetEnableJa3Fingerprinting().GetValue(),
		ja4:    m.GetEnableJa4Fingerprinting().GetValue(),
		strict: m.GetCloseConnectionOnClientHelloParsingErrors(),
	}
	if v := m.GetMaxClientHelloSize(); v != nil {
		if v.GetValue() > maxHello {
			return nil, fmt.Errorf("max_client_hello_size: %d is above the maximum of %d", v.GetValue(), maxHello)
		}
		f.limit = int(v.GetValue())
	}
	f.initial = f.limit
	if v := m.GetInitialReadBufferSize(); v != nil {
		f.initial = min(int(v.GetValue()), f.limit)
	}
	f.stats = stats.Register[Stats](c.Stats.Scope("tls_inspector."), len(c.Loops))
	c.Own(f.stats.Close)
	return f, nil
}
