// SPDX-License-Identifier: Apache-2.0

package httpinspector

import (
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/listener"
	"weir.dev/weir/proxy/stats"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.listener.http_inspector"

// Extension returns the filter's place in a registry. Its message has no fields.
func Extension() extension.ListenerFilter {
	return extension.ListenerFilter{Name: Name, Config: &httpinspectorv3.HttpInspector{}, New: newFilter}
}

func newFilter(_ proto.Message, c *extension.Network) (listener.Filter, error) {
	f := &filter{stats: stats.Register[Stats](c.Stats.Scope("http_inspector."), len(c.Loops))}
	c.Own(f.stats.Close)
	return f, nil
}
