// SPDX-License-Identifier: Apache-2.0

// Package static is the discovery of clusters whose endpoints stand in their
// configuration with their addresses. It is Envoy's STATIC.
package static

import "weir.dev/weir/proxy/upstream"

// Discovery tells fixed endpoints, once.
type Discovery struct{ endpoints []upstream.Endpoint }

// New returns the discovery of some endpoints.
func New(endpoints []upstream.Endpoint) *Discovery { return &Discovery{endpoints} }

// Start implements upstream.Discovery.
func (d *Discovery) Start(update func([]upstream.Endpoint, error)) error {
	update(d.endpoints, nil)
	return nil
}

// Close implements upstream.Discovery.
func (*Discovery) Close() {}
